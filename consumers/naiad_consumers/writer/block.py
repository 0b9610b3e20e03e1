"""A block: records of the log that go into the store together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from naiad_consumers.writer.batchrows import BatchRows
from naiad_consumers.writer.itemrows import ItemRows
from naiad_consumers.writer.names import Names
from naiad_consumers.writer.parsing import Parsed
from naiad_consumers.writer.pointrows import PointRows
from naiad_consumers.writer.runbook import RunBook
from naiad_consumers.writer.seriesrows import SeriesRows
from naiad_consumers.writer.writerbook import WriterBook, WriterRow
from naiad_proto.v1.records_pb2 import Warning


@dataclass
class Block:
    """Rows of some records; `tables` gives them in the order of their insertion.

    The books are only read until `settle`, but for what `runs` has met, so that a block
    that failed leaves no trace and can be made again.
    """

    runs: RunBook
    writers: WriterBook
    projects: Names
    paths: Names
    # What was looked at and can't be stored, and why.
    refused: list[tuple[Parsed, str]] = field(default_factory=list)
    changed: dict[tuple[int, str], WriterRow] = field(default_factory=dict)
    warnings: dict[str, list[Warning]] = field(default_factory=lambda: defaultdict(list))
    # Runs that this block gives their first row: key -> (project, run id).
    met: dict[int, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.points = PointRows(self.projects, self.paths)
        # Not among `tables`: the rows of `series` and `writers` may wait for more of theirs.
        self.series = SeriesRows(self.projects, self.paths)
        self.items = ItemRows()

    def add(self, records: Iterable[Parsed]) -> None:
        """Raises StoreError when the store can't be asked about runs and writers."""
        records = list(records)
        self.runs.load((one.batch.project, one.batch.run_id) for one in records)
        keyed: list[tuple[Parsed, int]] = []
        for one in records:
            try:
                keyed.append((one, self.runs.key(one.batch.project, one.batch.run_id)))
            except ValueError as error:
                self.refused.append((one, str(error)))
        self.writers.load(
            (one.batch.project, one.batch.run_id, run, one.batch.writer_id) for one, run in keyed
        )
        for one, run in keyed:
            try:
                BatchRows(self, one, run).add()
            except ValueError as error:
                self.refused.append((one, str(error)))

    def writer(self, run: int, writer_id: str) -> WriterRow:
        return self.changed.get((run, writer_id)) or self.writers.get(run, writer_id)

    def tables(self) -> list[tuple[str, pa.Table]]:
        """Runs first, so that no reader finds rows of an unnamed run."""
        found = self.items.tables()
        if self.points.count:
            found["points"] = self.points.table()
        order = ["runs", *sorted(found.keys() - {"runs"})]
        return [(name, found[name]) for name in order if name in found]

    def settle(self) -> None:
        """All of `tables` is stored."""
        self.runs.settle((key, *names) for key, names in self.met.items())
        self.writers.settle(self.changed.values(), self.warnings)

    def forget(self) -> None:
        """It isn't: what was met on the way is asked of the store again."""
        for run, _ in self.changed:
            self.runs.forget(run)
