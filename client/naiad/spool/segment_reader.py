"""Reads one segment, while it is written or when nobody writes it any more.

By read calls and not through a mapping: a file that shrinks, or a disk that fails, is then
an OSError and not a SIGBUS.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from naiad import _platform
from naiad.spool.layout import (
    CLOSED_WORD,
    FILE_HEAD,
    FIXED,
    MAGIC,
    METRICS_HEAD,
    ROW,
    ROW_HEAD,
    ROW_SHAPES,
    SLOT,
    STRING_HEAD,
    Kind,
    first_word,
    padded,
    payload_bytes,
    shape_of,
)
from naiad.spool.recovery import Hole, is_slot, share_out, survey
from naiad.spool.rows import ItemRow, MetricRows, Row, ShapeKey, StringRow, TornRow

_U32 = struct.Struct("<I")
_CHUNK = 4 * 1024 * 1024
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class _Known:
    """A shape that the segment has defined, and how its slots lie in memory."""

    key: ShapeKey
    general: np.dtype[np.void]
    row: np.dtype[np.void]
    # What its ROW slots begin with; 0 if there can be none.
    word: int


class SegmentReader:
    """One segment, from its first record on."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when it is gone."""
        self.path = path
        self.number = int(path.stem)
        # Its first record as it says itself; None when its beginning can't be read.
        self.first_record: int | None = None
        self.next_record = 1
        # What can't be read of its beginning.
        self.damage = ""
        self.exhausted = False
        # Was anything torn so that its records could not be counted?
        self.doubtful = False
        self._holes: dict[int, Hole] = {}
        self._surveyed = False
        self._shapes: dict[int, _Known] = {}
        self._data: bytes = b""
        self._data_at = 0
        self._descriptor = os.open(path, os.O_RDONLY | _platform.OPEN_FLAGS)
        try:
            self._offset = self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> int:
        head = _platform.read_at(self._descriptor, FIXED.size, 0)
        if len(head) == FIXED.size:
            magic, _, first, _, length, check = FIXED.unpack(head)
            text = _platform.read_at(self._descriptor, min(length, _CHUNK), FIXED.size)
            if magic == MAGIC and zlib.crc32(text) == check:
                self.first_record = self.next_record = int(first)
                return FIXED.size + padded(length)
        self.damage = f"{self.path} does not begin as a segment does"
        self.doubtful = True
        return FIXED.size

    def starts_at(self, record: int) -> None:
        """The number of its first record, where that is known better."""
        self.next_record = record

    @property
    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    @property
    def committed(self) -> int:
        """Where the complete records end, as far as can be told."""
        size = self.size
        word = _platform.read_at(self._descriptor, 8, 8)
        if self.damage or len(word) < 8:
            return size
        return min(int.from_bytes(word, "little"), size)

    @property
    def closed(self) -> bool:
        """Did the writer say that it has gone on to the next segment?"""
        word = _platform.read_at(self._descriptor, 8, 8 * CLOSED_WORD)
        return word == (1).to_bytes(8, "little")

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def rows(
        self, most_bytes: int, *, final: bool, ends_before: Callable[[], int | None]
    ) -> Iterator[Row]:
        """What is complete and not yet read, up to about `most_bytes` of it. `final`: nobody
        writes it any more, so what can't be read now never will. `ends_before` tells the first
        record of the next segment, if there is one. Raises OSError."""
        committed = self.committed
        # Behind the end that a reader sees there may be more after a power cut, which keeps
        # some pages and loses others.
        limit = self.size if final else committed
        until = self._offset + most_bytes
        while self._offset < min(limit, until):
            offset = self._offset
            if offset >= committed and not self._is_more(committed, limit, ends_before):
                break
            if hole := self._holes.get(offset):
                self._offset = hole.end
                if hole.records:
                    yield self._torn(hole)
                continue
            rows = self._metrics(offset, limit, until)
            if rows is not None:
                yield rows
                continue
            end = self._slot(offset, limit)
            if not end:
                if not final:
                    # While it is written, torn is what is not there yet.
                    return
                if self._surveyed:
                    # It was whole a moment ago.
                    self._surveyed = False
                    raise OSError(errno.EIO, f"{self.path} reads differently each time")
                self._survey(committed, limit, ends_before)
                continue
            data, at = self._bytes(offset, end - offset, limit)
            (length, _) = SLOT.unpack_from(data, at)
            payload = data[at + SLOT.size : at + SLOT.size + payload_bytes(length)]
            self._offset = end
            if length & ROW:
                yield self._orphan(offset)
                continue
            if payload[0] == Kind.SHAPE:
                self._learn(payload)
                # No record: were it counted, a large one could make it look as if there were
                # nothing left to read.
                until += end - offset
                continue
            yield self._one(payload, offset)
        self.exhausted = final and (self._offset >= limit or self._offset < until)

    def _is_more(self, committed: int, limit: int, ends_before: Callable[[], int | None]) -> bool:
        """Behind the published end: is there something whole, and a number for it?"""
        last = ends_before()
        if last is not None and self.next_record >= last:
            return False
        if not self._surveyed:
            self._survey(committed, limit, ends_before)
        return self._offset in self._holes or self._slot(self._offset, limit) > 0

    # --- what is torn ------------------------------------------------------------------------

    def _survey(self, committed: int, limit: int, ends_before: Callable[[], int | None]) -> None:
        data = self._read(self._offset, limit - self._offset)
        rows = {known.word for known in self._shapes.values()}
        holes, good = survey(data, self._offset, max(committed, self._offset), rows)
        last = ends_before()
        missing = None if last is None else max(0, last - self.next_record - good)
        if self.damage and holes and holes[0].begin == FIXED.size and not holes[0].counted:
            # The header, which is no record.
            holes[0].records = 0
        share_out(holes, missing)
        self.doubtful = self.doubtful or any(not hole.counted for hole in holes)
        self._holes = {hole.begin: hole for hole in holes}
        self._surveyed = True

    def _torn(self, hole: Hole) -> TornRow:
        first, last = self.next_record, self.next_record + hole.records - 1
        self.next_record = last + 1
        what = f"record {first}" if first == last else f"records {first} to {last}"
        why = "its check does not match" if hole.counted else "so far nothing can be read"
        where = f"at byte {hole.begin} of {self.path.name}"
        return TornRow(first, f"{what} {where}: torn, {why}", hole.records)

    # --- bytes -------------------------------------------------------------------------------

    def _bytes(self, offset: int, length: int, limit: int) -> tuple[bytes, int]:
        """A buffer with at least so many bytes from `offset` on, and where in it they begin;
        nothing beyond `limit`, which would be read before it is written."""
        at = offset - self._data_at
        if at < 0 or at + length > len(self._data):
            self._data = self._read(offset, min(limit - offset, max(length, _CHUNK)))
            self._data_at, at = offset, 0
        return self._data, at

    def _read(self, offset: int, length: int) -> bytes:
        try:
            data = _platform.read_at(self._descriptor, length, offset)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            # A broken place on the disk: all pages but that.
            data = b"".join(
                self._page(begin, min(_PAGE - begin % _PAGE, offset + length - begin))
                for begin in (
                    offset,
                    *range(offset - offset % _PAGE + _PAGE, offset + length, _PAGE),
                )
            )
        # A file that shrank is as one that was never written.
        return data + bytes(length - len(data))

    def _page(self, offset: int, length: int) -> bytes:
        try:
            return _platform.read_at(self._descriptor, length, offset).ljust(length, b"\0")
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return bytes(length)

    def _slot(self, offset: int, limit: int) -> int:
        """Where the slot at `offset` ends; 0 if it is not whole."""
        if limit - offset <= SLOT.size:
            return 0
        data, at = self._bytes(offset, SLOT.size + 1, limit)
        length, _ = SLOT.unpack_from(data, at)
        whole = SLOT.size + padded(payload_bytes(length))
        if not length or offset + whole > limit:
            return 0
        data, at = self._bytes(offset, whole, limit)
        return offset + whole if is_slot(data, at, at + whole) else 0

    # --- what is whole -----------------------------------------------------------------------

    def _one(self, payload: bytes, offset: int) -> Row:
        number = self.next_record
        self.next_record += 1
        kind = payload[0]
        try:
            if kind == Kind.STRING:
                _, length, step, timestamp = STRING_HEAD.unpack_from(payload)
                begin = STRING_HEAD.size
                path = payload[begin : begin + length].decode()
                value = payload[begin + length :].decode()
                return StringRow(number, path, step, timestamp, value)
            if kind == Kind.ITEM:
                return ItemRow(number, payload[1:])
            if kind == Kind.FILE:
                _, length = FILE_HEAD.unpack_from(payload)
                begin = FILE_HEAD.size
                where = json.loads(payload[begin : begin + length])
                return ItemRow(number, payload[begin + length :], where)
        except (ValueError, struct.error) as error:
            return TornRow(number, f"record {number} at byte {offset} of {self.path.name}: {error}")
        self.next_record -= 1
        return self._orphan(offset)

    def _orphan(self, offset: int) -> TornRow:
        number = self.next_record
        self.next_record += 1
        return TornRow(
            number,
            f"record {number} at byte {offset} of {self.path.name}: the paths that it belongs to"
            " are lost",
        )

    def _learn(self, payload: bytes) -> None:
        number, preview, paths = shape_of(payload)
        columns = len(paths) + preview
        general = np.dtype(
            {
                "names": ["length", "check", "kind", "shape", "step", "ts", "values"],
                "formats": ["<u4", "<u4", "u1", "<u4", "<i8", "<i8", f"({columns},)<f8"],
                "offsets": [0, 4, 8, 12, 16, 24, 32],
                "itemsize": SLOT.size + padded(METRICS_HEAD.size + 8 * columns),
            }
        )
        row = np.dtype(
            [("length", "<u4"), ("check", "<u4"), ("step", "<i8"), ("ts", "<i8"),
             ("values", "<f8", (columns,))]
        )  # fmt: skip
        key = ShapeKey(tuple(paths), preview)
        self._shapes[number] = _Known(key, general, row, first_word(payload))

    def _metrics(self, offset: int, limit: int, until: int) -> MetricRows | None:
        """As many neighbours of the same shape as there are, checked; None when there is
        something else, or the first one is broken."""
        if limit - offset < SLOT.size + ROW_HEAD.size:
            return None
        data, at = self._bytes(offset, SLOT.size + ROW_HEAD.size, limit)
        length, _ = SLOT.unpack_from(data, at)
        is_row = bool(length & ROW)
        if is_row:
            shape_id = length >> 16 & ROW_SHAPES - 1
        elif data[at + SLOT.size] == Kind.METRICS:
            shape_id = _U32.unpack_from(data, at + 12)[0]
        else:
            return None
        known = self._shapes.get(shape_id)
        if known is None:
            return None
        shape = known.key
        kind = known.row if is_row else known.general
        size = kind.itemsize
        payload = payload_bytes(length)
        if SLOT.size + padded(payload) != size or offset + size > limit:
            return None
        data, at = self._bytes(offset, size, limit)
        count = min((len(data) - at) // size, max(1, (until - offset) // size))
        slots = np.frombuffer(data, kind, count, at)
        # A view into other records from the first one that differs on; only what comes
        # before it is looked at.
        same = slots["length"] == length
        if not is_row:
            same &= (slots["kind"] == Kind.METRICS) & (slots["shape"] == shape_id)
        if not same.all():
            slots = slots[: int(np.argmin(same))]
        seed = length if is_row else 0
        good = _checked(data, at, size, payload, slots["check"].tolist(), seed)
        if not good:
            return None
        slots = slots[:good]
        values = slots["values"]
        row = MetricRows(
            self.next_record,
            shape,
            slots["step"].copy(),
            slots["ts"].copy(),
            values[:, 1:].copy() if shape.preview else values.copy(),
            values[:, 0].copy() if shape.preview else None,
        )
        self._offset = offset + good * size
        self.next_record += good
        return row


def _checked(data: bytes, at: int, size: int, length: int, checks: list[int], seed: int) -> int:
    """How many of the slots from `at` on are whole."""
    view = memoryview(data)
    for number, check in enumerate(checks):
        body = at + number * size + SLOT.size
        if zlib.crc32(view[body : body + length], seed) != check:
            return number
    return len(checks)
