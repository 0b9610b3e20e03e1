"""What ingest would have logged, made by hand: batches of one writer and their envelopes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from naiad_eventlog import EventLog, Position, Record
from naiad_eventlog.topics import RECORDS, run_key
from naiad_proto.series import build_group
from naiad_proto.steps import to_micro
from naiad_proto.v1 import log_pb2, records_pb2

RUNNING = records_pb2.WRITER_STATE_RUNNING
FINISHED = records_pb2.WRITER_STATE_FINISHED
KILLED = records_pb2.WRITER_STATE_KILLED

_WRITERS = itertools.count(1)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Pen:
    """One writer of one run; numbers its records as a spool does."""

    project: str = "team/vision"
    run_id: str = "run-1"
    writer_id: str = field(default_factory=lambda: f"{next(_WRITERS):032x}")
    epoch: int = 1_700_000_000_000_000
    record: int = 0

    def metrics(
        self,
        data: Mapping[str, Sequence[float]],
        *,
        first_step: float = 0,
        preview: bool = False,
    ) -> records_pb2.Batch:
        """All series of `data` are of one length and take consecutive steps."""
        rows = len(next(iter(data.values())))
        steps = [to_micro(first_step + row) for row in range(rows)]
        group = build_group(
            list(data),
            steps=steps,
            timestamps=[now_ms()] * rows,
            values=list(data.values()),
            first_record=self.record + 1,
            preview=preview,
        )
        batch = self._batch(rows)
        batch.groups.append(group)
        return batch

    def status(self, state: int = RUNNING, *, host: str = "box", pid: int = 7) -> records_pb2.Batch:
        batch = self._batch(1)
        item = batch.items.add(record=self.record, timestamp=now_ms())
        item.writer_status.state = state
        item.writer_status.host = host
        item.writer_status.pid = pid
        return batch

    def experiment(self, name: str) -> records_pb2.Batch:
        batch = self._batch(1)
        item = batch.items.add(record=self.record, timestamp=now_ms())
        item.set_attribute.path = "sys/name"
        item.set_attribute.value.string_value = name
        return batch

    def heartbeat(self) -> records_pb2.Batch:
        return self._batch(0)

    def _batch(self, records: int) -> records_pb2.Batch:
        batch = records_pb2.Batch(
            project=self.project,
            run_id=self.run_id,
            writer_id=self.writer_id,
            epoch=self.epoch,
        )
        if records:
            batch.records.first, batch.records.last = self.record + 1, self.record + records
            self.record += records
        return batch


def seal(
    batch: records_pb2.Batch,
    *,
    rejections: Iterable[records_pb2.Rejection] = (),
    received_at: int | None = None,
    min_reader_version: int = 1,
) -> bytes:
    return log_pb2.Envelope(
        min_reader_version=min_reader_version,
        received_at=now_ms() if received_at is None else received_at,
        principal="test",
        rejections=rejections,
        batch=batch.SerializeToString(),
    ).SerializeToString()


async def append(log: EventLog, *batches: records_pb2.Batch, among: int | None = None) -> Position:
    """Appends each as ingest does; the position of the last."""
    position: Position | None = None
    for batch in batches:
        key = run_key(batch.project, batch.run_id)
        position = await log.append(RECORDS.name, key, seal(batch), among=among)
    assert position
    return position


def as_records(*batches: records_pb2.Batch, first_offset: int = 0) -> list[Record]:
    """As a log with one partition would give them."""
    return [
        Record(RECORDS.name, 0, first_offset + n, run_key(b.project, b.run_id), seal(b), now_ms())
        for n, b in enumerate(batches)
    ]
