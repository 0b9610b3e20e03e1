"""What the log holds of a run and of each of its spools."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from naiad_consumers.audit.pointlog import PointLog
from naiad_consumers.writer.intervals import Intervals, covers, inside, merge
from naiad_consumers.writer.itemrows import value_row
from naiad_eventlog import Record
from naiad_proto.changes import is_edit
from naiad_proto.rejections import Rejected
from naiad_proto.series import group_arrays, string_arrays
from naiad_proto.v1.log_pb2 import Envelope
from naiad_proto.v1.records_pb2 import Batch, ClientCounts, Item, SeriesGroup, StringSeries
from naiad_proto.versions import high_word, low_word, version, writer_hash


@dataclass(slots=True)
class LoggedBatch:
    first: int
    last: int
    offset: int
    # Of records that had not come before.
    points: int
    attributes: int


@dataclass(slots=True)
class SpoolAccount:
    """One writer's records, as the log has them."""

    writer_id: str
    # Record numbers that came.
    have: Intervals = ()
    batches: list[LoggedBatch] = field(default_factory=list)
    # The client's own counts that go furthest, and all that were said.
    counts: ClientCounts | None = None
    claims: dict[int, tuple[int, int]] = field(default_factory=dict)
    # Points in batches, each record once: what was logged, and what ingest took of it.
    points: int = 0
    accepted: int = 0
    attributes: int = 0
    # As the writer counts them: rejections of batches that brought something new.
    rejections: int = 0
    resent: int = 0
    # What the writer has not come to yet.
    waiting: list[tuple[int, int]] = field(default_factory=list)
    # Put aside by the writer: first and last record, and why.
    dead: list[tuple[int, int, str]] = field(default_factory=list)

    def claim(self, counts: ClientCounts) -> None:
        if self.counts is None:
            self.counts = ClientCounts()
        best = self.counts
        self.claims[counts.through] = (counts.points, counts.attributes)
        if counts.through >= best.through:
            best.through, best.points = counts.through, counts.points
            best.attributes = counts.attributes
        best.acknowledged = max(best.acknowledged, counts.acknowledged)
        best.dropped = max(best.dropped, counts.dropped)
        if len(counts.set_aside) >= len(best.set_aside):
            del best.set_aside[:]
            best.set_aside.extend(counts.set_aside)


@dataclass
class RunAccount:
    """Of one life of a run."""

    run_id: str
    incarnation: int = 0
    # Its rows are gone, and what comes of it later is dropped: only records are accounted for.
    purged: bool = False
    # Whether anything came of it but edits, which make no run.
    logged: bool = False
    # Where its newest record stands, and all where it has some: more than one once partitions
    # were added.
    partition: int = 0
    partitions: set[int] = field(default_factory=set)
    first_offset: int = -1
    last_offset: int = -1
    spools: dict[str, SpoolAccount] = field(default_factory=dict)
    points: PointLog = field(default_factory=PointLog)
    # (table, path, type or element) -> version of single values and elements of sets.
    singles: dict[tuple[str, str, str], int] = field(default_factory=dict)
    # Records of the log that can't be read at all: offset and reason.
    unreadable: list[tuple[int, str]] = field(default_factory=list)

    def spool(self, writer_id: str) -> SpoolAccount:
        if writer_id not in self.spools:
            self.spools[writer_id] = SpoolAccount(writer_id)
        return self.spools[writer_id]

    def add(
        self, record: Record, envelope: Envelope, batch: Batch, *, waiting: bool, dead: str | None
    ) -> None:
        """Raises ValueError for columns that can't be read, as the writer does; nothing of the
        batch counts then."""
        self.partition = record.partition
        self.partitions.add(record.partition)
        if self.first_offset < 0:
            self.first_offset = record.offset
        self.last_offset = record.offset
        spool = self.spool(batch.writer_id)
        if batch.HasField("counts"):
            spool.claim(batch.counts)
        if not batch.HasField("records"):
            return
        self.logged = self.logged or not is_edit(batch)
        first, last = batch.records.first, batch.records.last
        if waiting:
            spool.waiting.append((first, last))
        if dead is not None:
            spool.dead.append((first, last, dead))
            return
        _Reader(self, spool, envelope, batch).read(record.offset)


class _Reader:
    """One batch."""

    def __init__(
        self, run: RunAccount, spool: SpoolAccount, envelope: Envelope, batch: Batch
    ) -> None:
        self.run, self.spool, self.batch = run, spool, batch
        self.envelope = envelope
        self.rejected = Rejected.of(envelope.rejections)
        self.hash = writer_hash(batch.writer_id)
        self.logged = self.accepted = self.attributes = self.resent = 0

    def read(self, offset: int) -> None:
        for index, group in enumerate(self.batch.groups):
            self._group(index, group)
        for index, series in enumerate(self.batch.string_series):
            self._strings(index, series)
        for index, item in enumerate(self.batch.items):
            self._item(index, item)
        spool, first, last = self.spool, self.batch.records.first, self.batch.records.last
        if not covers(spool.have, first, last):
            spool.rejections += len(self.envelope.rejections)
        spool.have = merge([*spool.have, (first, last)])
        spool.points += self.logged
        spool.accepted += self.accepted
        spool.attributes += self.attributes
        spool.resent += self.resent
        spool.batches.append(LoggedBatch(first, last, offset, self.logged, self.attributes))

    def _count(self, new: int, accepted_new: int, all_: int) -> None:
        self.logged += new
        self.accepted += accepted_new
        self.resent += all_ - new

    def _group(self, index: int, group: SeriesGroup) -> None:
        rows = len(group.steps) // 8
        paths = list(group.paths)
        if self.rejected.whole_group(index):
            # Its columns need not be readable; what it says of itself counts as logged.
            new = not covers(self.spool.have, group.first_record, group.first_record)
            self._count(new * len(paths) * rows, 0, len(paths) * rows)
            return
        arrays = group_arrays(group)
        fresh = ~inside(self.spool.have, arrays.records)
        left_out = self.rejected.group_mask(index, len(paths), rows)
        left = 0 if left_out is None else int(np.count_nonzero(left_out & fresh))
        count = len(paths) * int(np.count_nonzero(fresh))
        self._count(count, count - left, len(paths) * rows)
        high = high_word(self.batch.epoch, committed=not group.preview)
        # Copies: views would keep the whole batch.
        steps = arrays.steps.copy()
        low = arrays.records + np.uint64(low_word(self.hash, 0))
        for number, path in enumerate(paths):
            if left_out is None or not left_out[number].any():
                self.run.points.add("points", path, steps, high, low)
            else:
                rows_kept = ~left_out[number]
                self.run.points.add("points", path, steps[rows_kept], high, low[rows_kept])

    def _strings(self, index: int, series: StringSeries) -> None:
        rows = len(series.values)
        if self.rejected.whole_string_series(index):
            new = not covers(self.spool.have, series.first_record, series.first_record)
            self._count(new * rows, 0, rows)
            return
        arrays = string_arrays(series)
        fresh = ~inside(self.spool.have, arrays.records)
        left_out = self.rejected.string_rows(index, rows)
        kept = np.ones(rows, np.bool_) if left_out is None else ~left_out
        self._count(int(np.count_nonzero(fresh)), int(np.count_nonzero(fresh & kept)), rows)
        self.run.points.add(
            "string_points",
            series.path,
            arrays.steps[kept],
            high_word(self.batch.epoch),
            arrays.records[kept] + np.uint64(low_word(self.hash, 0)),
        )

    def _item(self, index: int, item: Item) -> None:
        record, taken = item.record, not self.rejected.item(index)
        new = not covers(self.spool.have, record, record)
        kind = item.WhichOneof("kind")
        number = version(self.batch.epoch, self.batch.writer_id, record)
        if kind in ("histogram_point", "file_point"):
            point = getattr(item, kind)
            self._count(int(new), int(new and taken), 1)
            if taken:
                self.run.points.add(
                    f"{kind}s",
                    point.path,
                    np.array([point.step], np.int64),
                    high_word(self.batch.epoch),
                    np.array([low_word(self.hash, record)], np.uint64),
                )
        elif kind == "set_attribute":
            self.attributes += new
            change = item.set_attribute
            value = value_row(change.value)
            if taken and value is not None:
                self._single("attributes", change.path, str(value["type"]), number)
        elif kind == "update_string_set":
            self.attributes += new
            update = item.update_string_set
            if taken:
                for element in {*update.add, *update.remove}:
                    self._single("string_sets", update.path, element, number)

    def _single(self, table: str, path: str, part: str, number: int) -> None:
        key = (table, path, part)
        self.run.singles[key] = max(self.run.singles.get(key, 0), number)
