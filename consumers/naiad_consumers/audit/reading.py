"""The log, read from its first record to its last, for one project or run."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from naiad_consumers.audit.account import RunAccount
from naiad_consumers.writer.writer import GROUP
from naiad_eventlog import EventLog, Record, StartFrom, Subscription, TopicPartition
from naiad_eventlog.topics import DEAD, RECORDS, run_key
from naiad_proto.changes import is_change
from naiad_proto.v1.log_pb2 import DeadLetter, Envelope
from naiad_proto.v1.records_pb2 import Batch
from naiad_store.lives import CHANGES, Lives

# A log says by an empty poll that nothing more is there; a group that is just being formed says
# it too.
_EMPTY_POLLS = 3


@dataclass
class LogAccount:
    """Of a project's runs, what the log holds between its start and `ends`."""

    # By run id and incarnation; changes of a run have one of their own.
    runs: dict[tuple[str, int], RunAccount] = field(default_factory=dict)
    lives: Mapping[str, Lives] = field(default_factory=dict)
    # By partition: what was dropped stood below the first, the writer has got to the second,
    # and the log went on to the third.
    starts: dict[int, int] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)

    def run(self, run_id: str, incarnation: int = 0) -> RunAccount:
        if (run_id, incarnation) not in self.runs:
            lives = self.lives.get(run_id)
            purged = lives is not None and lives.is_purged(incarnation)
            self.runs[run_id, incarnation] = RunAccount(run_id, incarnation, purged)
        return self.runs[run_id, incarnation]

    def of(self, run_id: str, batch: Batch | None) -> RunAccount:
        """Of the life that the batch belongs to."""
        if batch is not None and is_change(batch):
            return self.run(run_id, CHANGES)
        lives = self.lives.get(run_id)
        return self.run(run_id, lives.incarnation(batch.epoch) if lives and batch else 0)


async def read_log(
    log: EventLog,
    project: str,
    run_ids: Iterable[str] = (),
    lives: Mapping[str, Lives] | None = None,
) -> LogAccount:
    """All runs of the project, or these. `lives`: of those that were ever deleted."""
    keys = {run_key(project, run_id) for run_id in run_ids}
    account = LogAccount(lives=lives or {})
    # In this order: what is committed was stored before it was asked.
    account.committed = _numbers(await log.committed(RECORDS.name, GROUP))
    account.ends = _numbers(await log.end_offsets(RECORDS.name))
    account.starts = _numbers(await log.start_offsets(RECORDS.name))
    dead = await _dead_letters(log)

    def take(records: list[Record]) -> None:
        for record in records:
            if record.offset >= account.ends.get(record.partition, 0):
                continue
            if (record.key in keys) if keys else _of_project(record.key, project):
                _take(account, record, dead.get((record.partition, record.offset)))

    group = f"naiad.audit.{uuid.uuid4().hex}"
    async with await log.subscribe(RECORDS.name, group, StartFrom.EARLIEST) as reading:
        at, empty = dict(account.starts), 0
        while empty < _EMPTY_POLLS and any(at.get(n, 0) < end for n, end in account.ends.items()):
            records = await _some(reading)
            empty = 0 if records else empty + 1
            for record in records:
                at[record.partition] = record.offset + 1
            await asyncio.to_thread(take, records)
    return account


async def _some(reading: Subscription) -> list[Record]:
    return await reading.poll(wait=0.1) or await reading.poll(wait=0)


def _take(account: LogAccount, record: Record, dead: str | None) -> None:
    run_id = record.key.decode("utf-8", "replace").rpartition("/")[2]
    waiting = record.offset >= account.committed.get(record.partition, 0)
    batch: Batch | None = None
    try:
        envelope = Envelope.FromString(record.value)
        batch = Batch.FromString(envelope.batch)
        run = account.of(run_id, batch)
        run.add(record, envelope, batch, waiting=waiting, dead=dead)
    except (DecodeError, ValueError) as error:
        run = account.of(run_id, batch)
        run.unreadable.append((record.offset, dead or str(error) or type(error).__name__))


def _of_project(key: bytes, project: str) -> bool:
    return key.rpartition(b"/")[0] == project.encode()


async def _dead_letters(log: EventLog) -> dict[tuple[int, int], str]:
    """Why the writer put a record aside, by its partition and offset."""
    found = {}
    group = f"naiad.audit.{uuid.uuid4().hex}"
    async with await log.subscribe(DEAD.name, group, StartFrom.EARLIEST) as reading:
        while records := await _some(reading):
            for record in records:
                letter = DeadLetter.FromString(record.value)
                if letter.topic == RECORDS.name and letter.consumer == GROUP:
                    found[letter.partition, letter.offset] = letter.reason
    return found


def _numbers(offsets: dict[TopicPartition, int]) -> dict[int, int]:
    return {where.partition: offset for where, offset in offsets.items()}
