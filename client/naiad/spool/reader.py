"""Reads a spool's segments, live or left behind, and says what was lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from naiad.spool.layout import FIXED, LARGEST_SEGMENT_BYTES, MAGIC, SLOT, segment_name
from naiad.spool.rows import ItemRow, MetricRows, Row, ShapeKey, StringRow, TornRow, size_of
from naiad.spool.segment_reader import SegmentReader

__all__ = ["ItemRow", "MetricRows", "Row", "ShapeKey", "SpoolReader", "StringRow", "TornRow"]

# No segment has more records: a head that claims more is broken.
_MOST_RECORDS = LARGEST_SEGMENT_BYTES // (2 * SLOT.size)


class SpoolReader:
    """All segments of a spool, one after the other."""

    def __init__(self, folder: Path, after: int = 0) -> None:
        """`after`: the last record of the segments that are read and freed already."""
        self.folder = folder
        self._segment: SegmentReader | None = None
        self._done: set[int] = set()
        # The number that the next record must have, unless some were lost; and whether the
        # segment before was read without a doubt about how many it has.
        self._expected = after + 1
        self._sure = False
        # Segments that were read to their end, with the number of their last record: the
        # shipper may remove them once that is acknowledged.
        self.finished: list[tuple[Path, int]] = []
        self.damaged: list[str] = []
        self.last_record = 0

    def segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.spool"), key=lambda path: int(path.stem))

    def rows(self, most_bytes: int, *, writer_lives: bool) -> Iterator[Row]:
        """The next records. With a dead writer the last segment ends where it ends. Raises
        OSError."""
        left = most_bytes
        while left > 0:
            segment = self._segment
            if segment is None:
                segment = self._open_next()
                if segment is None:
                    return
                if gap := self._place(segment):
                    self.last_record = gap.last
                    yield gap
            # Asked before reading: once there is a next segment, nothing is published here.
            followed = self._is_followed(segment)
            for row in segment.rows(
                left, final=followed or not writer_lives, ends_before=self._next_begins
            ):
                self.last_record = row.last
                left -= size_of(row)
                yield row
            if not segment.exhausted or not followed:
                # A dead writer's last: nothing follows, and it may be asked again.
                return
            self.finished.append((segment.path, segment.next_record - 1))
            self._done.add(segment.number)
            self._expected, self._sure = segment.next_record, not segment.doubtful
            segment.close()
            self._segment = None

    def close(self) -> None:
        if self._segment:
            self._segment.close()
            self._segment = None

    def _is_followed(self, segment: SegmentReader) -> bool:
        """The word in the segment alone is not believed: what is followed may be removed."""
        if os.path.exists(self.folder / segment_name(segment.number + 1)):
            return True
        return segment.closed and self._after(segment.number) is not None

    def _after(self, number: int) -> Path | None:
        return next((path for path in self.segments() if int(path.stem) > number), None)

    def _next_begins(self) -> int | None:
        """The first record of the next segment, if that is the neighbour of this one."""
        assert self._segment
        path = self.folder / segment_name(self._segment.number + 1)
        try:
            with path.open("rb") as file:
                head = file.read(FIXED.size)
        except OSError:
            return None
        if len(head) < FIXED.size:
            return None
        magic, _, first, *_ = FIXED.unpack(head)
        begins = self._segment.next_record
        likely = magic == MAGIC and begins <= first <= begins + _MOST_RECORDS
        return int(first) if likely else None

    def _place(self, segment: SegmentReader) -> TornRow | None:
        """Settles the number of the segment's first record, and tells what is missing before
        it."""
        expected = self._expected
        before = segment.number - 1
        first = segment.first_record
        most = 1 + segment.number * _MOST_RECORDS
        neighbour = before in self._done or segment.number == 0
        if first is None or not 1 <= first <= most or (neighbour and self._sure):
            # Its neighbour's end says it, and can't be broken here.
            first = expected
        elif self._done:
            # A number is never given twice.
            first = max(first, expected)
        if segment.number == 0:
            first = 1
        segment.starts_at(first)
        if first <= expected:
            return None
        what = f"records {expected} to {first - 1} are missing before {segment.path.name}"
        return TornRow(expected, what, first - expected)

    def _open_next(self) -> SegmentReader | None:
        for path in self.segments():
            if int(path.stem) in self._done:
                continue
            try:
                self._segment = SegmentReader(path)
            except FileNotFoundError:
                continue
            if self._segment.damage:
                self.damaged.append(self._segment.damage)
            return self._segment
        return None
