"""What is asked of dead letters and what is answered, in JSON: by a server for a command, or by a
command itself where no server has the log."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from naiad_consumers.writer.deadbox import DeadBox, Letter, NoSuchLetter
from naiad_eventlog import EventLog
from naiad_proto.v1.log_pb2 import Envelope
from naiad_proto.v1.records_pb2 import Batch

# Bytes of a record that is shown.
_SHOWN = 256


async def review(log: EventLog, request: dict[str, Any]) -> dict[str, Any]:
    """`action` is list, show, replay or discard; `numbers` the letters, or None for all. Raises
    NoSuchLetter and EventLogError."""
    box = DeadBox(log)
    numbers: list[int] | None = request.get("numbers")
    match request["action"]:
        case "list":
            found = await box.waiting()
        case "show":
            found = [one for one in await box.waiting() if set(numbers or ()) & set(one.numbers)]
            if not found:
                raise NoSuchLetter(f"no dead letter {numbers} waits; see: naiad dead list")
            return {"letters": [_plain(one) | _inside(one) for one in found]}
        case "replay":
            found = await box.replay(numbers)
        case "discard":
            found = await box.discard(numbers)
        case other:
            raise ValueError(f"dead letters can't be asked to {other!r}")
    return {"letters": [_plain(one) for one in found]}


def _plain(letter: Letter) -> dict[str, Any]:
    return {
        "number": letter.number,
        "at": letter.at,
        "project": letter.project,
        "run": letter.run_id,
        "topic": letter.origin.topic,
        "partition": letter.origin.partition,
        "offset": letter.origin.offset,
        "size_bytes": len(letter.value),
        "consumer": letter.consumer,
        "reason": letter.reason,
    }


def _inside(letter: Letter) -> dict[str, Any]:
    """What can be read of the record."""
    told: dict[str, Any] = {"begins": letter.value[:_SHOWN].hex()}
    try:
        envelope = Envelope.FromString(letter.value)
        told |= {"sent_by": envelope.principal, "received_at": envelope.received_at}
        batch = Batch.FromString(envelope.batch)
    except DecodeError as error:
        return told | {"unreadable": " ".join(str(error).split()) or "it can't be decoded"}
    return told | {
        "writer_id": batch.writer_id,
        "records": [batch.records.first, batch.records.last],
        "metrics": sum(len(group.paths) for group in batch.groups),
        "string_series": len(batch.string_series),
        "items": len(batch.items),
    }
