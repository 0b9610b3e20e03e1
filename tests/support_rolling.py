"""An owner of the log's partitions, without the log: what it is given it stores and rolls, by the
same code as the consumers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from support_envelopes import seal
from support_query import BEGIN, Spool

from naiad_consumers.roller import Roller
from naiad_consumers.writer import Writer
from naiad_consumers.writer.marks import Marks
from naiad_consumers.writer.parsing import Parsed, _parse
from naiad_consumers.writer.pending import Pending
from naiad_consumers.writer.tenure import take
from naiad_consumers.writer.writerbook import WriterBook
from naiad_eventlog import Record, TopicPartition
from naiad_eventlog.partitioning import partition_of
from naiad_eventlog.topics import RECORDS, run_key
from naiad_proto.steps import MAX_MICRO_STEP
from naiad_proto.v1 import records_pb2 as pb
from naiad_store import Store, StoreUnavailable
from naiad_store.selects.pieces import Pieces, Zone
from naiad_store.selects.rolled import Rolled, Series, Stretch, stretches
from naiad_store.selects.rolling import TIERS

PARTITIONS = 8


def parsed(batches: Sequence[pb.Batch], partition: int | None = None) -> list[Parsed]:
    found = []
    for batch in batches:
        key = run_key(batch.project, batch.run_id)
        where = partition_of(key, PARTITIONS) if partition is None else partition
        value = seal(batch, received_at=BEGIN)
        found.append(_parse(Record(RECORDS.name, where, 0, key, value, 0)))
    return found


class Owner:
    """Of all partitions, or some, from when it is made until another one is."""

    def __init__(
        self, store: Any, *, long: int = 64, owned: Sequence[int] = range(PARTITIONS)
    ) -> None:
        self.store = store
        self.marks = Marks(store, long=long)
        where = [TopicPartition(RECORDS.name, number) for number in owned]
        self.epoch = take(store, where)
        self.marks.begin(self.epoch, owned, PARTITIONS)
        self.writer = Writer(None, store, marks=self.marks)  # type: ignore[arg-type]
        self.writer._writers = WriterBook(store, self.epoch)
        self.writer._pending = Pending(store, self.writer._writers)
        self.roller = Roller(store, self.marks)

    def write(self, *spools: Spool, partition: int | None = None) -> list[pb.Batch]:
        """What the spools have; returns it, to be written again."""
        batches = [batch for spool in spools for batch in spool.batches]
        for spool in spools:
            spool.batches.clear()
        self.store_batches(batches, partition)
        return batches

    def store_batches(self, batches: Sequence[pb.Batch], partition: int | None = None) -> None:
        if batches:
            self.writer._insert(parsed(batches, partition))
            self.say()

    def say(self) -> None:
        self.writer._pending.insert()
        self.writer._pending.clear()

    def roll(self) -> None:
        self.roller.roll_all()


class Failing:
    """`store`, but the next insert into `table` fails, before it or after it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.table = ""
        self.after = False

    def insert(self, table: str, rows: pa.Table) -> None:
        if table == self.table and not self.after:
            raise StoreUnavailable("the store is away")
        self._store.insert(table, rows)
        if table == self.table:
            raise StoreUnavailable("the store is away")

    @contextlib.contextmanager
    def fails(self, table: str, *, after: bool = False) -> Iterator[None]:
        self.table, self.after = table, after
        try:
            yield
        finally:
            self.table = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def raster(
    points: Sequence[tuple[float, float]], low: float, width: float, columns: int, rows: int
) -> set[tuple[int, int]]:
    """Pixels of the line through these points, on so many columns from `low` on, which the
    greatest and the least of them fill from top to bottom."""
    if not points:
        return set()
    least = min(y for _, y in points)
    most = max(y for _, y in points)
    scale = (rows - 1) / (most - least) if most > least and math.isfinite(most - least) else 0.0

    def row(y: float) -> int:
        return round((y - least) * scale)

    pixels: set[tuple[int, int]] = set()
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[-1]], strict=True):
        first = min(columns - 1, int((x0 - low) // width))
        last = min(columns - 1, int((x1 - low) // width))
        for column in range(first, last + 1):
            begin = max(x0, low + column * width)
            end = min(x1, low + (column + 1) * width)
            ya = y0 if x1 == x0 else y0 + (y1 - y0) * ((begin - x0) / (x1 - x0))
            yb = y0 if x1 == x0 else y0 + (y1 - y0) * ((end - x0) / (x1 - x0))
            a, b = sorted((row(ya), row(yb)))
            pixels |= {(column, one) for one in range(a, b + 1)}
    return pixels


# (run, path, k, edition, bucket)
Row = tuple[int, str, int, int, int]


def rows_of(store: Any, project: str) -> set[Row]:
    """Of `rollups`."""
    found = store.query(
        "SELECT run, path, k, edition, bucket FROM rollups WHERE project = {project:String}",
        {"project": project},
    )
    return set(zip(*(column.to_pylist() for column in found.columns), strict=True))


def counted(store: Any, project: str, rows: set[Row]) -> set[Row]:
    """Those of these rows that a chart can be made of, whatever it shows."""
    keys = {(row[0], row[1]) for row in rows}
    known = stretches(
        store, project, sorted({run for run, _ in keys}), sorted({path for _, path in keys})
    )
    return {row for row in rows if _is_read(row, known)}


def _is_read(row: Row, known: dict[Series, list[Stretch]]) -> bool:
    run, path, k, edition, bucket = row
    for stretch in known.get((run, path), []):
        if stretch.edition != edition or k - stretch.k not in TIERS:
            continue
        pieces = Pieces(k, 0, MAX_MICRO_STEP + 1, [], [])
        zone = Zone(run, 0, MAX_MICRO_STEP + 1, 0, False)
        pieces.add(0, path, zone, Rolled([stretch], []), None)
        if any(one.k == k and one.low <= bucket < one.high for one in pieces.rows):
            return True
    return False


def assert_nothing_superseded(store: Any, project: str) -> None:
    """Rows of `rollups` and of `dirty_stretches` are those that count, and those that lie where the
    last stretch of a series may go on."""
    rows = rows_of(store, project)
    runs, paths = sorted({row[0] for row in rows}), sorted({row[1] for row in rows})
    known = stretches(store, project, runs, paths)
    for row in rows - counted(store, project, rows):
        run, path, k, edition, bucket = row
        assert (run, path) in known, row
        last = known[run, path][-1]
        assert edition == last.edition, row
        assert (bucket + 1) << k > last.end, row
    marks = store.query(
        "SELECT run, path, generation FROM dirty_stretches FINAL WHERE project = {project:String}",
        {"project": project},
    ).to_pylist()
    for mark in marks:
        of_series = known.get((mark["run"], mark["path"]), [])
        assert any(one.marks_through < mark["generation"] for one in of_series), mark
