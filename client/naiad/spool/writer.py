"""Packs records into segments. The hot path of the whole platform."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from naiad.spool.folder import WriterLock, new_spool, write_json, write_token
from naiad.spool.layout import (
    COMMITTED_WORD,
    FILE_HEAD,
    FILES,
    FIRST_SEGMENT_BYTES,
    LARGEST_SEGMENT_BYTES,
    PREVIEW,
    SHAPE_HEAD,
    SLOT,
    STRING_HEAD,
    Header,
    Kind,
    padded,
    row_word,
)
from naiad.spool.segment import Segment
from naiad_proto.limits import check_path
from naiad_proto.v1 import records_pb2 as pb

log = logging.getLogger("naiad")

# After a failure, how long until the disk is tried again.
RETRY_SECONDS = 1.0

_crc32 = zlib.crc32
_METRICS = int(Kind.METRICS)


class SpoolClosed(OSError):
    """A record came after `close`."""


class _Shape:
    """A set of paths that is logged together again and again."""

    __slots__ = ("definition", "head", "pack", "room", "segment", "word")

    def __init__(self, number: int, paths: Sequence[str], preview: bool) -> None:
        # Of a ROW; 0 for the general form, whose payload begins with `head`.
        self.word = 0 if preview else row_word(number, len(paths))
        self.head = () if self.word else (_METRICS, number)
        packer = struct.Struct(f"<{'' if self.word else 'B3xI'}qq{len(paths) + preview}d")
        self.pack = packer.pack
        self.room = SLOT.size + padded(packer.size)
        encoded = [path.encode() for path in paths]
        self.definition = SHAPE_HEAD.pack(Kind.SHAPE, number, PREVIEW if preview else 0) + b"".join(
            struct.pack("<I", len(path)) + path for path in encoded
        )
        # Number of the segment that has the definition.
        self.segment = -1


class SpoolWriter:
    """The writing end of one spool; thread-safe.

    A method returns when its record stands in the file. Raises OSError when there is no
    room or no folder; the record is then not in the spool, and `dropped` counts it.
    """

    def __init__(self, host: Path, header: Header, token: str | None = None) -> None:
        """Makes the spool's folder and takes its lock. Raises OSError."""
        self.header = header
        self.folder = new_spool(host, header.writer_id)
        self.lock: WriterLock | None = None
        # Without locks nobody can tell that this process died; the spool works all the same.
        with contextlib.suppress(OSError):
            self.lock = WriterLock(self.folder)
        if token:
            write_token(self.folder, token)
        write_json(self.folder / "spool.json", header.as_dict())
        self.last_record = 0
        self.dropped = 0
        # Of the same thread again only from a signal's handler or a finalizer; see `_nested`.
        self._guard = threading.RLock()
        self._busy = False
        self._nested: deque[tuple[_Shape | None, bytes, int]] = deque()
        self._shape_ids = itertools.count()
        self._shapes: dict[tuple[str, ...], _Shape] = {}
        self._preview_shapes: dict[tuple[str, ...], _Shape] = {}
        self._next: Segment | None = None
        self._next_size = FIRST_SEGMENT_BYTES
        self._files = 0
        self._failed: OSError | None = None
        self._try_again_at = 0.0
        self._closed = False
        self._segment = self._make(0, 0)
        self._segment.begin(1)

    # --- the hot path --------------------------------------------------------------------

    def metrics(self, data: Mapping[str, Any], step: int, timestamp: int) -> None:
        """One row of metrics: `step` in micro-steps, `timestamp` in milliseconds.

        Raises struct.error, TypeError or OverflowError when a value is no number, ValueError
        when a path is not allowed; nothing is written then.
        """
        paths = tuple(data)
        shape = self._shapes.get(paths) or self._add_shape(paths, preview=False)
        # Before the lock is taken: a value's own __float__ is anybody's code.
        word = shape.word
        if not word:
            self._row(shape, shape.pack(*shape.head, step, timestamp, *data.values()))
            return
        payload = shape.pack(step, timestamp, *data.values())
        word |= _crc32(payload, word) << 32
        with self._guard:
            if self._busy:
                self._nested.append((shape, payload, word))
                return
            self._busy = True
            try:
                segment = self._segment
                offset = segment.offset
                end = offset + shape.room
                if end > segment.size or shape.segment != segment.number:
                    segment = self._ready_for(shape)
                    offset = segment.offset
                    end = offset + shape.room
                segment.map[offset + 8 : end] = payload
                segment.words[offset >> 3] = word
                # Readers see the record from here on, whole. There is no call between these
                # three, so that a KeyboardInterrupt comes before all of them or after.
                segment.offset = end
                segment.words[1] = end
                self.last_record += 1
            finally:
                self._busy = False
                if self._nested:
                    self._write_nested()

    # --- everything else -----------------------------------------------------------------

    def preview(
        self, data: Mapping[str, Any], step: int, timestamp: int, completion: float
    ) -> None:
        """A row that later points replace; `completion` from 0 to 1."""
        paths = tuple(data)
        shape = self._preview_shapes.get(paths) or self._add_shape(paths, preview=True)
        self._row(shape, shape.pack(*shape.head, step, timestamp, completion, *data.values()))

    def string(self, path: str, value: str, step: int, timestamp: int) -> None:
        """A point of a string series."""
        name = path.encode()
        head = STRING_HEAD.pack(Kind.STRING, len(name), step, timestamp)
        self._record(head + name + value.encode())

    def item(self, item: pb.Item) -> int:
        """Any other record; returns its number."""
        return self._record(bytes([Kind.ITEM]) + item.SerializeToString())

    def file(self, item: pb.Item, where: dict[str, Any]) -> int:
        """A record whose file has to be uploaded first; `where` says which."""
        import json

        text = json.dumps(where).encode()
        return self._record(FILE_HEAD.pack(Kind.FILE, len(text)) + text + item.SerializeToString())

    def place_for_file(self) -> Path:
        """A name in the spool for a file's content."""
        folder = self.folder / FILES
        folder.mkdir(mode=0o700, exist_ok=True)
        with self._guard:
            self._files += 1
            return folder / f"{self._files:06d}"

    def prepare(self) -> None:
        """Makes the next segment while the current one has room; call it from another thread
        than the one that logs, since writing zeros takes milliseconds."""
        with self._guard:
            segment = self._segment
            if self._next or self._closed or segment.offset < segment.size // 2:
                return
            number, size = segment.number + 1, self._next_size
        with contextlib.suppress(OSError):
            fresh = self._make(number, size)
            with self._guard:
                if self._next is None and not self._closed and self._segment.number < number:
                    self._next = fresh
                    return
            fresh.discard()

    def close(self) -> None:
        """No more records; the lock falls. Idempotent."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            self._segment.finish()
            self._segment.release()
            # No room: whoever comes now is told that the spool is closed.
            self._segment.size = 0
            if self._next:
                self._next.discard()
        if self.lock:
            self.lock.release()

    def forget(self) -> None:
        """In a forked child: the spool is the parent's."""
        self._closed = True
        if self.lock:
            self.lock.forget()

    # --- inside; the guard is held ---------------------------------------------------------

    def _record(self, payload: bytes) -> int:
        return self._row(None, payload)

    def _row(self, shape: _Shape | None, payload: bytes) -> int:
        """A record in the general form, with its shape if it has one; returns its number."""
        with self._guard:
            if self._busy:
                self._nested.append((shape, payload, 0))
                return self.last_record + 1 + len(self._nested)
            self._busy = True
            try:
                if shape:
                    self._ready_for(shape)
                self._put(payload, 1)
                return self.last_record
            finally:
                self._busy = False
                if self._nested:
                    self._write_nested()

    def _write_nested(self) -> None:
        """Records that came while another one was being written, and by the same thread: from
        a signal's handler or a finalizer, which may run between any two instructions. They
        could not wait, nor write into the middle of it."""
        while True:
            try:
                shape, payload, word = self._nested.popleft()
            except IndexError:
                # Asked and not looked at before: another one may come between and empty it.
                return
            self._busy = True
            try:
                if shape:
                    self._ready_for(shape)
                self._put(payload, 1, word)
            except OSError:
                # `dropped` has counted it.
                log.debug("a record of a signal handler found no room", exc_info=True)
            finally:
                self._busy = False

    def _put(self, payload: bytes, records: int, word: int = 0) -> None:
        """Writes a slot, which is one record, or none if it is a shape's definition. `word` is
        what a ROW begins with."""
        room = SLOT.size + padded(len(payload))
        segment = self._segment
        if segment.offset + room > segment.size:
            segment = self._go_on(room)
        offset = segment.offset
        segment.map[offset + 8 : offset + 8 + len(payload)] = payload
        segment.words[offset >> 3] = word or len(payload) | _crc32(payload) << 32
        end = offset + room
        # As in `metrics`.
        segment.offset = end
        segment.words[COMMITTED_WORD] = end
        self.last_record += records

    def _add_shape(self, paths: tuple[str, ...], preview: bool) -> _Shape:
        for path in paths:
            if problem := check_path(path):
                raise ValueError(problem)
        shapes = self._preview_shapes if preview else self._shapes
        with self._guard:
            # Another thread may have been faster.
            if paths not in shapes:
                shapes[paths] = _Shape(next(self._shape_ids), paths, preview)
            return shapes[paths]

    def _ready_for(self, shape: _Shape) -> Segment:
        """A segment with room for a record of the shape, which has its definition."""
        definition = SLOT.size + padded(len(shape.definition))
        segment = self._segment
        wanted = shape.room + (definition if shape.segment != segment.number else 0)
        if segment.offset + wanted > segment.size:
            segment = self._go_on(definition + shape.room)
        if shape.segment != segment.number:
            self._put(shape.definition, 0)
            shape.segment = segment.number
        return segment

    def _go_on(self, room: int) -> Segment:
        """The next segment, with at least `room` bytes for slots."""
        if self._closed:
            raise SpoolClosed("the spool is closed")
        if self._failed and time.monotonic() < self._try_again_at:
            # Writing megabytes of zeros in vain at every call would stall the training.
            self.dropped += 1
            raise self._failed
        fresh, self._next = self._next, None
        number = self._segment.number + 1
        if fresh and fresh.size - fresh.offset < room:
            fresh.discard()
            fresh = None
        try:
            fresh = fresh or self._make(number, max(self._next_size, padded(room) + 8192))
        except OSError as error:
            self.dropped += 1
            self._failed, self._try_again_at = error, time.monotonic() + RETRY_SECONDS
            raise
        self._failed = None
        fresh.begin(self.last_record + 1)
        self._segment.finish()
        self._segment.release()
        self._segment = fresh
        return fresh

    def _make(self, number: int, size: int) -> Segment:
        size = size or self._next_size
        segment = Segment(self.folder, number, size, self.header)
        self._next_size = min(self._next_size * 2, LARGEST_SEGMENT_BYTES)
        return segment


def folder_bytes(folder: Path) -> int:
    """Bytes that a spool takes on disk."""
    total = 0
    for directory, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(directory, name)).st_size
    return total
