"""Batches and changes of runs, and a writer that takes them one block after the other, so that a
test decides what comes together and what is done again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from naiad_consumers.writer.block import Block
from naiad_consumers.writer.changing import Changing, stretches
from naiad_consumers.writer.parsing import Parcel, Parsed
from naiad_consumers.writer.pending import Pending
from naiad_consumers.writer.runbook import RunBook
from naiad_consumers.writer.tenure import FIRST_EPOCH
from naiad_consumers.writer.writerbook import WriterBook
from naiad_eventlog import Record
from naiad_eventlog.topics import RECORDS, run_key
from naiad_proto.changes import READER_VERSION
from naiad_proto.series import build_group
from naiad_proto.v1 import records_pb2 as pb
from naiad_proto.v1.log_pb2 import Envelope
from naiad_store import Store


def writer_id(number: int) -> str:
    return f"{number:032x}"


def points_batch(
    project: str, run_id: str, epoch: int, steps: Sequence[int], *, first: int = 1
) -> pb.Batch:
    """A creation, unless it begins later, and a point of `loss` a step whose value is the epoch."""
    items = []
    record = first
    if first == 1:
        items.append(pb.Item(record=1, timestamp=1, create_run=pb.CreateRun(created_at=1)))
        record += 1
    group = build_group(
        ["loss"], steps=[step * 1_000_000 for step in steps], timestamps=[1] * len(steps),
        values=[[float(epoch)] * len(steps)], first_record=record,
    )  # fmt: skip
    return pb.Batch(
        project=project, run_id=run_id, writer_id=writer_id(epoch), epoch=epoch,
        records=pb.RecordInterval(first=first, last=record + len(steps) - 1), items=items,
        groups=[group],
    )  # fmt: skip


def change_batch(project: str, run_id: str, epoch: int, **change: object) -> pb.Batch:
    """`change`: a kind of item and its message."""
    return pb.Batch(
        project=project, run_id=run_id, writer_id=writer_id(epoch), epoch=epoch,
        records=pb.RecordInterval(first=1, last=1),
        items=[pb.Item(record=1, timestamp=1, **change)],
    )  # fmt: skip


def sealed(batch: pb.Batch, at: int = 5000) -> bytes:
    return Envelope(
        min_reader_version=READER_VERSION, received_at=at, principal="ann",
        batch=batch.SerializeToString(),
    ).SerializeToString()  # fmt: skip


def parsed(batches: Sequence[pb.Batch]) -> list[Parsed]:
    parcel = Parcel()
    parcel.add(
        Record(RECORDS.name, 0, offset, run_key(one.project, one.run_id), sealed(one), 0)
        for offset, one in enumerate(batches)
    )
    assert not parcel.poison
    return parcel.parsed


class Stepping:
    """The writer's parts, put together as the writer does it; `begin` is a new tenure."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._epoch = FIRST_EPOCH
        self.begin()

    def begin(self) -> None:
        self._epoch += 1
        self.runs = RunBook(self.store)
        self.writers = WriterBook(self.store, self._epoch)
        self.pending = Pending(self.store, self.writers)

    def take(self, records: Sequence[Parsed]) -> None:
        for changes, found in stretches(records):
            if changes:
                self.pending.flush()
                Changing(self.store, self.runs, self.writers).apply(found)
            else:
                self._insert(found)

    def say(self) -> None:
        self.pending.insert()
        self.pending.clear()

    def _insert(self, records: Sequence[Parsed]) -> None:
        block = Block(self.runs, self.writers, self.pending.projects, self.pending.paths)
        block.add(records)
        assert not block.refused
        insert = partial(self.store.insert)
        for table, part in block.tables():
            insert(table, part)
        block.settle()
        self.pending.take(block, 0)
