"""Dead letters that wait for somebody to look at them: what they are, to be replayed or let go.

What is at the front has been dealt with up to the offset that the review group has committed.
Who deals with letters out of their order has the others before them put at the end of the topic
again, first; so none is lost, and after a crash one may stand there twice, which is shown once.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from naiad_consumers.writer.dead import REVIEW_GROUP
from naiad_eventlog import EventLog, Position, StartFrom, TopicPartition
from naiad_eventlog.topics import DEAD
from naiad_proto.v1.log_pb2 import DeadLetter


class NoSuchLetter(ValueError):
    """The message names it."""


@dataclass(frozen=True, slots=True)
class Letter:
    """`numbers`: its offsets on the dead-letter topic; the last is what people call it by."""

    numbers: tuple[int, ...]
    key: bytes
    # Where the record stood that could not be read.
    origin: Position
    consumer: str
    reason: str
    # When it was put aside: milliseconds since the Unix epoch, UTC.
    at: int
    value: bytes

    @property
    def number(self) -> int:
        return self.numbers[-1]

    @property
    def project(self) -> str:
        return self.key.decode(errors="replace").rpartition("/")[0]

    @property
    def run_id(self) -> str:
        return self.key.decode(errors="replace").rpartition("/")[2]


class DeadBox:
    """Not for several processes at once: one could deal with what another is dealing with."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    async def waiting(self) -> list[Letter]:
        """The oldest first. Raises EventLogError."""
        committed = await self._log.committed(DEAD.name, REVIEW_GROUP)
        found: dict[Position, Letter] = {}
        # A group of its own, which commits nothing and leaves no trace.
        group = f"{REVIEW_GROUP}.{uuid.uuid4().hex}"
        async with await self._log.subscribe(DEAD.name, group, StartFrom.EARLIEST) as reading:
            for where, offset in committed.items():
                if where in reading.owned:
                    await reading.seek(where, offset)
            while records := await reading.poll(wait=0):
                for record in records:
                    where = TopicPartition(record.topic, record.partition)
                    if record.offset < committed.get(where, 0):
                        continue
                    letter = _letter(record.offset, record.key, record.value, record.timestamp)
                    before = found.pop(letter.origin, None)
                    if before:
                        numbers = (*before.numbers, *letter.numbers)
                        letter = Letter(
                            numbers, letter.key, letter.origin, letter.consumer, letter.reason,
                            before.at, letter.value,
                        )  # fmt: skip
                    found[letter.origin] = letter
        return sorted(found.values(), key=lambda letter: letter.number)

    async def replay(self, numbers: Collection[int] | None = None) -> list[Letter]:
        """Appends their records once more where they stood, as if they had just come: what is
        readable now, or what the store takes now, is stored. `None`: all.

        Raises NoSuchLetter, having done nothing, and EventLogError, having done it for some,
        which wait still.
        """
        waiting = await self.waiting()
        chosen = _chosen(waiting, numbers)
        for letter in chosen:
            await self._log.append(letter.origin.topic, letter.key, letter.value)
        await self._take_away(waiting, chosen)
        return chosen

    async def discard(self, numbers: Collection[int] | None = None) -> list[Letter]:
        """Lets them go: nobody is going to store them. Raises as `replay`."""
        waiting = await self.waiting()
        chosen = _chosen(waiting, numbers)
        await self._take_away(waiting, chosen)
        return chosen

    async def _take_away(self, waiting: Sequence[Letter], chosen: Sequence[Letter]) -> None:
        if not chosen:
            return
        last = max(letter.number for letter in chosen)
        for letter in waiting:
            # One of which a later copy stands behind the last needs no further one.
            if letter not in chosen and letter.number < last:
                again = DeadLetter(
                    topic=letter.origin.topic,
                    partition=letter.origin.partition,
                    offset=letter.origin.offset,
                    consumer=letter.consumer,
                    reason=letter.reason,
                    at=letter.at,
                    value=letter.value,
                )
                await self._log.append(DEAD.name, letter.key, again.SerializeToString())
        async with await self._log.subscribe(DEAD.name, REVIEW_GROUP) as review:
            await review.commit({TopicPartition(DEAD.name, 0): last + 1})


def _chosen(waiting: Sequence[Letter], numbers: Collection[int] | None) -> list[Letter]:
    if numbers is None:
        return list(waiting)
    there = {number: letter for letter in waiting for number in letter.numbers}
    absent = sorted(set(numbers) - there.keys())
    if absent:
        raise NoSuchLetter(
            f"no dead letter {', '.join(map(str, absent))} waits; see: naiad dead list"
        )
    wanted = {there[number].number for number in numbers}
    return [letter for letter in waiting if letter.number in wanted]


def _letter(number: int, key: bytes, value: bytes, timestamp: int) -> Letter:
    try:
        read = DeadLetter.FromString(value)
    except DecodeError:
        # Nobody but us writes there; still it must be seen, and can be let go.
        place = Position(DEAD.name, 0, number)
        return Letter((number,), key, place, "", "not a dead letter", timestamp, value)
    origin = Position(read.topic, read.partition, read.offset)
    return Letter((number,), key, origin, read.consumer, read.reason, read.at, read.value)
