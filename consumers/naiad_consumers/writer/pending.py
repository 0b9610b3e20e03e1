"""What is stored but not yet said: rows that may wait for more of theirs, and offsets.

A series' last value and a spool's state change with every block, and a table gains nothing
from each of those rows. So they are gathered for up to a second; what stands on them,
progress and offsets, waits with them. A crash in between means that the log gives the same
records again.
"""

from __future__ import annotations

from collections.abc import Iterable

from naiad_consumers import metrics
from naiad_consumers.writer.block import Block
from naiad_consumers.writer.names import Names
from naiad_consumers.writer.seriesrows import SeriesRows
from naiad_consumers.writer.writerbook import WriterBook
from naiad_eventlog import Record, TopicPartition
from naiad_store import Store

# Names that are kept from block to block, at the most.
_MOST_NAMES = 1_000_000


class Pending:
    """Of one tenure, like the book of writers."""

    def __init__(self, store: Store, writers: WriterBook) -> None:
        self._store = store
        self._writers = writers
        self.projects = Names()
        self.paths = Names()
        self._series = SeriesRows(self.projects, self.paths)
        # Next offset wanted, per partition.
        self.offsets: dict[TopicPartition, int] = {}
        # Rows of points and the like since the last time.
        self.rows = 0

    @property
    def series(self) -> int:
        """Rows of `series` that wait, before the doubles among them are left out."""
        return self._series.count

    def take(self, block: Block, rows: int) -> None:
        self._series.extend(block.series)
        self.rows += rows

    def cover(self, records: Iterable[Record]) -> None:
        """These have been dealt with."""
        for record in records:
            where = TopicPartition(record.topic, record.partition)
            self.offsets[where] = max(self.offsets.get(where, 0), record.offset + 1)

    def insert(self) -> None:
        """Stores what waits; writers last, because they say what is stored."""
        if self._series.count:
            metrics.insert(self._store, "series", self._series.table())
        if self._writers.dirty:
            metrics.insert(self._store, "writers", self._writers.table())

    def flush(self) -> None:
        """Stores what waits before runs are changed, whose rows could else come after their
        purge. What is said of it still waits."""
        self.insert()
        self._series = SeriesRows(self.projects, self.paths)

    def clear(self) -> None:
        """All is stored, said and committed."""
        if len(self.paths) > _MOST_NAMES:
            self.projects, self.paths = Names(), Names()
        self._series = SeriesRows(self.projects, self.paths)
        self._writers.dirty.clear()
        self.offsets.clear()
        self.rows = 0
