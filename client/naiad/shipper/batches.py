"""From spooled rows to batches of the wire: rows of equal paths become columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from naiad.spool.layout import Header
from naiad.spool.reader import ItemRow, MetricRows, Row, ShapeKey, StringRow, TornRow
from naiad.tally import Tally
from naiad_proto.limits import TARGET_BATCH_BYTES
from naiad_proto.rejections import Rejected
from naiad_proto.series import build_group, build_string_series
from naiad_proto.v1 import records_pb2 as pb
from naiad_proto.v1.ingest_pb2 import WriteBatchRequest

# Enough for full speed of the writer behind; more only delays what stands in front.
TARGET_POINTS = 100_000


@dataclass
class BatchBuilder:
    """Gathers rows until a batch is full; `build` makes it."""

    header: Header
    epoch: int
    first: int = 0
    last: int = 0
    points: int = 0
    size: int = 0
    # Of what is added: for the ledger, points of any series, and single values set.
    tally: Tally = field(default_factory=Tally)
    torn: list[str] = field(default_factory=list)
    # Ends of a writer's life among the items.
    ended: bool = False
    _metrics: dict[ShapeKey, list[MetricRows]] = field(default_factory=dict)
    _strings: dict[str, list[StringRow]] = field(default_factory=dict)
    _items: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        return not self.last

    @property
    def full(self) -> bool:
        return self.points >= TARGET_POINTS or self.size >= TARGET_BATCH_BYTES

    def add(self, row: Row) -> None:
        self.first = self.first or row.first
        self.last = row.last
        self.tally += tally_of(row)
        if isinstance(row, MetricRows):
            rows = self._metrics.setdefault(row.shape, [])
            if not rows:
                # Once for all of its rows, and many shapes of long names are as large as rows.
                self.size += sum(map(len, row.shape.paths)) + 4 * len(row.shape.paths)
            rows.append(row)
            self.points += row.values.size
            self.size += row.values.nbytes + 16 * len(row.steps)
        elif isinstance(row, StringRow):
            self._strings.setdefault(row.path, []).append(row)
            self.points += 1
            self.size += len(row.value.encode()) + 20
        elif isinstance(row, ItemRow):
            self._items.append((row.first, row.item))
            self.size += len(row.item) + 8
        elif isinstance(row, TornRow):
            self.torn.append(row.reason)

    def build(self) -> pb.Batch:
        """The batch of everything added."""
        batch = pb.Batch(
            project=self.header.project,
            run_id=self.header.run_id,
            writer_id=self.header.writer_id,
            epoch=self.epoch,
            records=pb.RecordInterval(first=self.first, last=self.last),
        )
        for shape, rows in self._metrics.items():
            batch.groups.append(_group(shape, rows))
        for path, strings in self._strings.items():
            batch.string_series.append(_strings(path, strings))
        for record, item in self._items:
            message = batch.items.add()
            message.MergeFromString(item)
            message.record = record
            if message.WhichOneof("kind") == "writer_status":
                self.ended = message.writer_status.state != pb.WRITER_STATE_RUNNING
        return batch


def tally_of(row: Row) -> Tally:
    """What a row is for the ledger."""
    if isinstance(row, MetricRows):
        return Tally(len(row.steps), int(row.values.size), 0)
    if isinstance(row, StringRow):
        return Tally(1, 1, 0)
    if isinstance(row, ItemRow):
        return Tally(1, *_kinds(pb.Item.FromString(row.item)))
    return Tally(1, 0, 0)


def _kinds(item: pb.Item) -> tuple[int, int]:
    """(points, attributes) of an item; a run's creation and its end are neither."""
    kind = item.WhichOneof("kind")
    return (
        int(kind in ("histogram_point", "file_point")),
        int(kind in ("set_attribute", "update_string_set")),
    )


def tally_of_rejected(request: bytes, rejections: Sequence[pb.Rejection]) -> Tally:
    """How much of a batch its rejections leave out; `records` counts the rejections."""
    batch = WriteBatchRequest.FromString(request).batch
    rejected = Rejected.of(rejections)
    points = attributes = 0
    for index, group in enumerate(batch.groups):
        paths, rows = len(group.paths), len(group.steps) // 8
        if rejected.whole_group(index):
            points += paths * rows
        elif (mask := rejected.group_mask(index, paths, rows)) is not None:
            points += int(mask.sum())
    for index, series in enumerate(batch.string_series):
        if rejected.whole_string_series(index):
            points += len(series.values)
        elif (rows_out := rejected.string_rows(index, len(series.values))) is not None:
            points += int(rows_out.sum())
    for index, item in enumerate(batch.items):
        if rejected.item(index):
            more_points, more_attributes = _kinds(item)
            points += more_points
            attributes += more_attributes
    return Tally(len(rejections), points, attributes)


def after(row: Row, record: int) -> Row | None:
    """What of `row` comes after `record`: a shipper that goes on where another one was killed
    neither sends nor counts the rest again."""
    if row.first > record or not isinstance(row, MetricRows):
        return row if row.last > record else None
    if row.last <= record:
        return None
    begin = record + 1 - row.first
    return replace(
        row,
        first=record + 1,
        steps=row.steps[begin:],
        timestamps=row.timestamps[begin:],
        values=row.values[begin:],
        completions=None if row.completions is None else row.completions[begin:],
    )


def _group(shape: ShapeKey, rows: list[MetricRows]) -> pb.SeriesGroup:
    records = np.concatenate([np.arange(row.first, row.last + 1, dtype=np.uint64) for row in rows])
    offsets = records - records[0]
    contiguous = int(offsets[-1]) == len(offsets) - 1
    completions = None
    if shape.preview:
        completions = np.concatenate(
            [row.completions for row in rows if row.completions is not None]
        )
    return build_group(
        shape.paths,
        steps=np.concatenate([row.steps for row in rows]),
        timestamps=np.concatenate([row.timestamps for row in rows]),
        values=np.concatenate([row.values for row in rows]).T,
        first_record=int(records[0]),
        record_offsets=None if contiguous else offsets,
        preview=shape.preview,
        completions=completions,
    )


def _strings(path: str, rows: list[StringRow]) -> pb.StringSeries:
    offsets = [row.first - rows[0].first for row in rows]
    return build_string_series(
        path,
        [row.value for row in rows],
        steps=[row.step for row in rows],
        timestamps=[row.timestamp for row in rows],
        first_record=rows[0].first,
        record_offsets=None if offsets[-1] == len(offsets) - 1 else offsets,
    )


def heartbeat(header: Header, epoch: int) -> pb.Batch:
    """A batch without records: the writer lives."""
    return pb.Batch(
        project=header.project, run_id=header.run_id, writer_id=header.writer_id, epoch=epoch
    )


def end_of_life(
    header: Header, epoch: int, record: int, state: pb.WriterState.ValueType, reason: str, at: int
) -> pb.Batch:
    """What the shipper says for a writer that can't any more."""
    status = pb.WriterStatus(state=state, host=header.host, pid=header.pid, reason=reason)
    batch = heartbeat(header, epoch)
    batch.records.first = batch.records.last = record
    batch.items.append(pb.Item(record=record, timestamp=at, writer_status=status))
    return batch


def request_of(batch: pb.Batch) -> bytes:
    return WriteBatchRequest(batch=batch).SerializeToString()
