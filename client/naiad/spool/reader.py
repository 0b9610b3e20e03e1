"""Reads a spool's segments, live or left behind, and says what was torn."""

from __future__ import annotations

import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from naiad.spool.layout import (
    FILE_HEAD,
    FIXED,
    MAGIC,
    METRICS_HEAD,
    PREVIEW,
    ROW,
    ROW_SHAPES,
    ROW_WORDS,
    SHAPE_HEAD,
    SLOT,
    STRING_HEAD,
    Header,
    Kind,
    padded,
)

_U32 = struct.Struct("<I")


class SpoolDamaged(Exception):
    """A segment whose beginning can't be read; none of its records can be told."""


@dataclass(frozen=True, slots=True)
class ShapeKey:
    """The paths of a row of metrics."""

    paths: tuple[str, ...]
    preview: bool


@dataclass(frozen=True, slots=True)
class _Known:
    """A shape that the segment has defined, and how its slots lie in memory."""

    key: ShapeKey
    general: np.dtype[np.void]
    row: np.dtype[np.void]


@dataclass(frozen=True, slots=True)
class MetricRows:
    """Neighbouring rows of one shape: n records from `first` on."""

    first: int
    shape: ShapeKey
    steps: npt.NDArray[np.int64]
    timestamps: npt.NDArray[np.int64]
    # float64[n, m]
    values: npt.NDArray[np.float64]
    # float64[n] of a preview.
    completions: npt.NDArray[np.float64] | None

    @property
    def last(self) -> int:
        return self.first + len(self.steps) - 1


@dataclass(frozen=True, slots=True)
class StringRow:
    first: int
    path: str
    step: int
    timestamp: int
    value: str

    @property
    def last(self) -> int:
        return self.first


@dataclass(frozen=True, slots=True)
class ItemRow:
    first: int
    # A serialised naiad.v1.Item.
    item: bytes
    # Where the file is that has to be uploaded first.
    file: dict[str, object] | None = None

    @property
    def last(self) -> int:
        return self.first


@dataclass(frozen=True, slots=True)
class TornRow:
    """A record that was lost, and why; its number is known all the same."""

    first: int
    reason: str

    @property
    def last(self) -> int:
        return self.first


Row: TypeAlias = MetricRows | StringRow | ItemRow | TornRow


class SegmentReader:
    """One segment, from its first record on."""

    def __init__(self, path: Path) -> None:
        """Raises SpoolDamaged when its beginning can't be read, OSError when it is gone."""
        self.path = path
        self.number = int(path.stem)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            if size < FIXED.size:
                raise SpoolDamaged(f"{path} is too short to be a segment ({size} bytes)")
            self._map = mmap.mmap(descriptor, size, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        try:
            self.header, self._offset, self.next_record = self._begin()
        except SpoolDamaged:
            self._map.close()
            raise
        self._shapes: dict[int, _Known] = {}

    def _begin(self) -> tuple[Header, int, int]:
        magic, _, first, _, length, check = FIXED.unpack_from(self._map, 0)
        text = self._map[FIXED.size : FIXED.size + length]
        if magic != MAGIC or zlib.crc32(text) != check:
            raise SpoolDamaged(f"{self.path} does not begin as a segment does")
        try:
            header = Header.from_dict(json.loads(text))
        except ValueError as error:
            raise SpoolDamaged(f"{self.path}: {error}") from error
        return header, FIXED.size + padded(length), int(first)

    @property
    def committed(self) -> int:
        """Where the complete records end."""
        (committed,) = struct.unpack_from("<Q", self._map, 8)
        return int(min(committed, len(self._map)))

    @property
    def finished(self) -> bool:
        """Has the writer gone on to the next segment?"""
        return self._map[24] == 1

    @property
    def exhausted(self) -> bool:
        return self._offset >= self.committed

    def close(self) -> None:
        self._map.close()

    def rows(self, most_bytes: int) -> Iterator[Row]:
        """What is complete and not yet read, up to about `most_bytes` of it."""
        committed = self.committed
        until = self._offset + most_bytes
        while self._offset < min(committed, until):
            offset = self._offset
            if committed - offset < SLOT.size:
                return
            length, check = SLOT.unpack_from(self._map, offset)
            if length & ROW:
                rows = self._metrics(offset, length, committed, until)
                if rows is not None:
                    yield rows
                    continue
                end = offset + SLOT.size + 8 * (length & ROW_WORDS - 1)
                if end <= committed:
                    self._offset = end
                    yield self._torn(offset, "its check does not match")
                    continue
            end = offset + SLOT.size + padded(length)
            if length == 0 or end > committed:
                # Its length is broken: what follows can't be found. A power cut can do it.
                yield TornRow(self.next_record, f"{self.path.name} is torn at byte {offset}")
                self.next_record += 1
                self._offset = committed
                return
            body = offset + SLOT.size
            kind = self._map[body]
            if kind == Kind.METRICS:
                rows = self._metrics(offset, length, committed, until)
                if rows is not None:
                    yield rows
                    continue
            payload = self._map[body : body + length]
            self._offset = end
            if zlib.crc32(payload) != check:
                if kind != Kind.SHAPE:
                    yield self._torn(offset, "its check does not match")
                    continue
            elif kind == Kind.SHAPE:
                self._learn(payload)
            if kind == Kind.SHAPE:
                # No record: were it counted, a large one could make it look as if there were
                # nothing left to read.
                until += end - offset
                continue
            yield self._one(kind, payload, offset)

    def _one(self, kind: int, payload: bytes, offset: int) -> Row:
        number = self.next_record
        try:
            row: Row
            if kind == Kind.STRING:
                _, length, step, timestamp = STRING_HEAD.unpack_from(payload)
                begin = STRING_HEAD.size
                path = payload[begin : begin + length].decode()
                value = payload[begin + length :].decode()
                row = StringRow(number, path, step, timestamp, value)
            elif kind == Kind.ITEM:
                row = ItemRow(number, payload[1:])
            elif kind == Kind.FILE:
                _, length = FILE_HEAD.unpack_from(payload)
                begin = FILE_HEAD.size
                where = json.loads(payload[begin : begin + length])
                row = ItemRow(number, payload[begin + length :], where)
            else:
                return self._torn(offset, f"it is of kind {kind}, unknown to this release")
        except (ValueError, struct.error) as error:
            return self._torn(offset, str(error))
        self.next_record += 1
        return row

    def _torn(self, offset: int, reason: str) -> TornRow:
        row = TornRow(
            self.next_record, f"record {self.next_record} at byte {offset} of"
            f" {self.path.name}: {reason}",
        )  # fmt: skip
        self.next_record += 1
        return row

    def _learn(self, payload: bytes) -> None:
        _, number, flags = SHAPE_HEAD.unpack_from(payload)
        paths = []
        at = SHAPE_HEAD.size
        while at < len(payload):
            (length,) = _U32.unpack_from(payload, at)
            at += 4
            paths.append(payload[at : at + length].decode())
            at += length
        preview = bool(flags & PREVIEW)
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
        self._shapes[number] = _Known(ShapeKey(tuple(paths), preview), general, row)

    def _metrics(self, offset: int, length: int, committed: int, until: int) -> MetricRows | None:
        """As many neighbours of the same shape as there are, checked; None when the first one
        is broken."""
        is_row = bool(length & ROW)
        shape_id = (
            length >> 16 & ROW_SHAPES - 1 if is_row else _U32.unpack_from(self._map, offset + 12)[0]
        )
        known = self._shapes.get(shape_id)
        if known is None:
            return None
        shape = known.key
        kind = known.row if is_row else known.general
        size = kind.itemsize
        words = length & ROW_WORDS - 1
        if size != SLOT.size + (8 * words if is_row else padded(length)):
            return None
        count = max(1, min((committed - offset) // size, (until - offset) // size))
        slots = np.frombuffer(self._map, kind, count, offset)
        # A view into other records from the first one that differs on; only what comes
        # before it is looked at.
        same = slots["length"] == length
        if not is_row:
            same &= (slots["kind"] == Kind.METRICS) & (slots["shape"] == shape_id)
        if not same.all():
            slots = slots[: int(np.argmin(same))]
        payload, seed = (8 * words, length) if is_row else (length, 0)
        good = self._checked(offset, size, payload, slots["check"].tolist(), seed)
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

    def _checked(self, offset: int, size: int, length: int, checks: list[int], seed: int) -> int:
        """How many of the slots from `offset` on are whole."""
        view = memoryview(self._map)
        try:
            for number, check in enumerate(checks):
                body = offset + number * size + SLOT.size
                if zlib.crc32(view[body : body + length], seed) != check:
                    return number
        finally:
            view.release()
        return len(checks)


class SpoolReader:
    """All segments of a spool, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segment: SegmentReader | None = None
        self._done: set[int] = set()
        # Segments that were read to their end, with the number of their last record: the
        # shipper may remove them once that is acknowledged.
        self.finished: list[tuple[Path, int]] = []
        self.damaged: list[str] = []
        self.last_record = 0

    def segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.spool"))

    def rows(self, most_bytes: int, *, writer_lives: bool) -> Iterator[Row]:
        """The next records. With a dead writer the last segment ends where it ends."""
        left = most_bytes
        while left > 0:
            segment = self._segment or self._open_next()
            if segment is None:
                return
            # Asked before reading: what is published after `finished` was set is nothing.
            ended = segment.finished or not writer_lives
            for row in segment.rows(left):
                self.last_record = row.last
                left -= _size(row)
                yield row
            if not segment.exhausted:
                return
            if not ended:
                return
            if not segment.finished and not self._later(segment.number):
                # A dead writer's last: nothing follows, and it may be asked again.
                return
            self.finished.append((segment.path, segment.next_record - 1))
            self._done.add(segment.number)
            segment.close()
            self._segment = None

    def close(self) -> None:
        if self._segment:
            self._segment.close()
            self._segment = None

    def _later(self, number: int) -> bool:
        return any(int(path.stem) > number for path in self.segments())

    def _open_next(self) -> SegmentReader | None:
        for path in self.segments():
            if int(path.stem) in self._done:
                continue
            try:
                self._segment = SegmentReader(path)
            except SpoolDamaged as error:
                self.damaged.append(str(error))
                self._done.add(int(path.stem))
                continue
            except FileNotFoundError:
                continue
            return self._segment
        return None


def _size(row: Row) -> int:
    if isinstance(row, MetricRows):
        return int(row.values.nbytes) + 16 * len(row.steps)
    if isinstance(row, StringRow):
        return len(row.value) + 64
    return len(row.item) + 32 if isinstance(row, ItemRow) else 32
