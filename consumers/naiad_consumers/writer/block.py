"""A block: records of the log that go into the store together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import pyarrow as pa

from naiad_consumers.writer.batchrows import BatchRows
from naiad_consumers.writer.itemrows import ItemRows
from naiad_consumers.writer.marks import Touch
from naiad_consumers.writer.names import Names
from naiad_consumers.writer.parsing import Parsed
from naiad_consumers.writer.pointrows import PointRows
from naiad_consumers.writer.runbook import Life, RunBook
from naiad_consumers.writer.seriesrows import SeriesRows
from naiad_consumers.writer.writerbook import Spool, WriterBook, WriterRow
from naiad_proto.changes import is_edit
from naiad_proto.limits import shorten
from naiad_proto.v1.records_pb2 import REJECTION_REASON_RUN_GONE, Rejection

_PURGED = (
    "run {run!r} of project {project} was deleted and purged: what this process logs to it is no"
    " longer kept. The process itself goes on; log to a new run to keep what it does"
)
_NO_RUN = "there is no run {run!r} in project {project} that could be changed"


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
    changed: dict[Spool, WriterRow] = field(default_factory=dict)
    # Runs that this block gives their first row: key -> (project, run id).
    met: dict[int, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.points = PointRows(self.projects, self.paths)
        # Where committed points go, for the marks.
        self.touches: list[Touch] = []
        # Not among `tables`: the rows of `series` and `writers` may wait for more of theirs.
        self.series = SeriesRows(self.projects, self.paths)
        self.items = ItemRows()

    def add(self, records: Iterable[Parsed]) -> None:
        """Raises StoreError when the store can't be asked about runs and writers."""
        records = list(records)
        self.runs.load((one.batch.project, one.batch.run_id, one.batch.epoch) for one in records)
        keyed: list[tuple[Parsed, Life, Spool]] = []
        for one in records:
            batch = one.batch
            try:
                life = self.runs.life(batch.project, batch.run_id, batch.epoch)
            except ValueError as error:
                self.refused.append((one, str(error)))
            else:
                spool = Spool(life.run, batch.writer_id, one.record.partition)
                keyed.append((one, life, spool))
        self.writers.load((one.batch.project, one.batch.run_id, spool) for one, _, spool in keyed)
        for one, life, spool in keyed:
            if life.purged:
                self._leave_out(one, spool, "purged", _PURGED)
                continue
            if is_edit(one.batch) and not (life.run in self.met or self.runs.is_known(life.run)):
                self._leave_out(one, spool, "editing", _NO_RUN)
                continue
            try:
                BatchRows(self, one, spool, life.incarnation).add()
            except ValueError as error:
                self.refused.append((one, str(error)))

    def _leave_out(self, one: Parsed, spool: Spool, state: str, why: str) -> None:
        """Its records count as dealt with, and their writer is told."""
        batch = one.batch
        row = self.writer(spool).seen(one.envelope.received_at, batch.epoch)
        row = replace(row, state=state)
        if batch.HasField("records"):
            rejection = Rejection(
                record=batch.records.first,
                reason=REJECTION_REASON_RUN_GONE,
                message=why.format(run=shorten(batch.run_id), project=batch.project),
            )
            row = row.left_out(batch.records.first, batch.records.last, rejection)
        self.changed[spool] = row

    def writer(self, spool: Spool) -> WriterRow:
        return self.changed.get(spool) or self.writers.get(spool)

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
        self.writers.settle(self.changed.values())

    def forget(self) -> None:
        """It isn't: what was met on the way is asked of the store again."""
        for spool in self.changed:
            self.runs.forget(spool.run)
