"""Packs records into segments. The hot path of the whole platform."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from naiad.spool.bounds import Bounds, Patience
from naiad.spool.folder import RunMemory, WriterLock, new_writer_id, spool_folder
from naiad.spool.health import Health
from naiad.spool.home import Home, Move
from naiad.spool.layout import (
    COMMITTED_WORD,
    FILE_HEAD,
    FILES,
    SLOT,
    STRING_HEAD,
    Header,
    Kind,
    padded,
)
from naiad.spool.segment import NoSegment, Segment
from naiad.spool.shape import Shape
from naiad.spool.supply import SegmentSupply
from naiad_proto.limits import check_path
from naiad_proto.v1 import records_pb2 as pb

log = logging.getLogger("naiad")

# How often a call that waits for room looks for it.
_LOOK_SECONDS = 0.1

_crc32 = zlib.crc32


class SpoolClosed(OSError):
    """A record came after `close`."""


class SpoolWriter:
    """The writing end of one spool; thread-safe.

    A method returns when its record stands in the file. Raises OSError when there is no
    room or no folder; the record is then not in the spool, and `dropped` counts it.
    """

    def __init__(
        self,
        host: Path,
        header: Header,
        token: str | None = None,
        *,
        bounds: Bounds | None = None,
        patient: bool = False,
    ) -> None:
        """Makes the spool's folder and takes its lock. Raises OSError, unless it is `patient`:
        then records are dropped until `tend` finds that the folder can be made."""
        self.host = host
        self.header = header
        self.bounds = bounds or Bounds()
        self.folder = spool_folder(host, header.writer_id)
        self.lock: WriterLock | None = None
        self.last_record = 0
        # Set when a segment is used up: a good time to call `tend`.
        self.turned = threading.Event()
        self._token = token
        self._health = Health()
        self.supply = SegmentSupply(host, self.bounds, self._health)
        self._patience = Patience(self.bounds.block_seconds)
        # Of the same thread again only from a signal's handler or a finalizer; see `_nested`.
        self._guard = threading.RLock()
        self._busy = False
        self._nested: deque[tuple[Shape | None, bytes, int]] = deque()
        self._shape_ids = itertools.count()
        self._changed = threading.Condition(self._guard)
        self._tending = threading.Lock()
        self._shapes: dict[tuple[str, ...], Shape] = {}
        self._preview_shapes: dict[tuple[str, ...], Shape] = {}
        self._opening: list[bytes] = []
        self._files = 0
        self._closed = False
        self._segment: Segment = NoSegment()
        # What a removed folder's last segment holds, until it is in a new one.
        self._orphan: Segment | None = None
        try:
            self._settle(header)
        except OSError as error:
            if not patient:
                raise
            self._health.failed(error)

    @property
    def dropped(self) -> int:
        """Records that are lost because they could not be written."""
        return self._health.dropped

    @property
    def trouble(self) -> str:
        """Why nothing can be written now; empty while it can."""
        return self._health.trouble

    @property
    def homeless(self) -> bool:
        """Is there no folder to write to?"""
        return self._segment.number < 0

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

    def opening(self, item: pb.Item) -> None:
        """An item that stands at the beginning, also of a spool that has to be made anew; kept
        until there is one."""
        payload = bytes([Kind.ITEM]) + item.SerializeToString()
        with self._guard:
            self._opening.append(payload)
            if not self.homeless:
                self._row(None, payload)

    def file(self, item: pb.Item, where: dict[str, Any]) -> int:
        """A record whose file has to be uploaded first; `where` says which."""
        import json

        text = json.dumps(where).encode()
        return self._record(FILE_HEAD.pack(Kind.FILE, len(text)) + text + item.SerializeToString())

    def place_for_file(self) -> Path:
        """A name in the spool for a file's content."""
        folder = self.folder / FILES
        folder.mkdir(mode=0o700, exist_ok=True)
        if self.bounds.room(self.host) <= 0:
            raise self.bounds.full(self.host)
        with self._guard:
            self._files += 1
            return folder / f"{self._files:06d}"

    # --- care, from another thread than the one that logs ----------------------------------

    def tend(self) -> Move | None:
        """To be called about each second: makes the next segment while the current one has
        room, tries again what failed, and goes on in a new spool if this one's files are
        gone; says so then."""
        if not self._tending.acquire(blocking=False):
            return None
        try:
            if self._closed:
                return None
            move = self._move() if self._is_gone() else None
            if self.lock:
                with contextlib.suppress(OSError):
                    self.lock.beat()
            self.prepare()
            return move
        finally:
            self._tending.release()

    def prepare(self) -> None:
        """Makes the next segment: writing zeros takes milliseconds, on a slow disk more."""
        with self._guard:
            if self._closed or self.homeless or not self.supply.is_due(self._segment):
                return
            size = self.supply.next_size
        try:
            fresh = self.supply.make(self.folder, self.header, size)
        except OSError:
            # The call that needs it says so.
            return
        with self._changed:
            if not self._closed and fresh.folder == self.folder and self.supply.keep(fresh):
                # Not yet `well`: that is for the record that finds its place.
                self._health.try_again_at = 0.0
                self._changed.notify_all()
                return
        fresh.discard()

    def _is_gone(self) -> bool:
        segment, lock = self._segment, self.lock
        if segment.is_there() and (lock is None or lock.is_there()):
            return False
        # Not if a caller went on to the next segment meanwhile, and the shipper was quick.
        return self._segment is segment

    def _move(self) -> Move | None:
        """Into a new spool, or, where none can be made, to nowhere for now."""
        left, records, old = self.folder, self.last_record, self._segment
        before = self._orphan or old
        kept = before.is_there()
        try:
            memory = RunMemory(self.host, self.header.project, self.header.run_id)
            epoch = max(memory.next_epoch(), self.header.epoch + 1)
            # Also what is still there: whoever removed the lock may be about to remove the rest.
            rescued = self._settle(
                replace(self.header, writer_id=new_writer_id(), epoch=epoch), before
            )
        except OSError as error:
            with self._guard:
                self._health.failed(error)
                if not self.homeless:
                    # Else what comes now would go where nobody will ever look.
                    self._orphan, self._segment = old, NoSegment()
            return None
        if before.number < 0:
            # It never had one; now it has.
            return None
        return Move(left, records, rescued, kept)

    def _settle(self, header: Header, rescue: Segment | None = None) -> int:
        """Makes a spool and goes on there, with the opening items and what `rescue` holds;
        returns how many records that is. Raises OSError, and all is as before then."""
        # An attempt of its own, however short ago the last one failed.
        self._health.try_again_at = 0.0
        extra = 0
        if rescue:
            extra = rescue.size + sum(map(len, self._opening)) + 64 * len(self._opening)
        home = Home(self.host, header, self._token, self.supply, extra)
        try:
            with self._changed:
                self._busy = True
                try:
                    return self._switch(home, rescue if home.room else None)
                finally:
                    self._busy = False
                    if self._nested:
                        self._write_nested()
        except BaseException:
            home.abandon()
            raise

    def _switch(self, home: Home, rescue: Segment | None) -> int:
        """The moment itself; the guard is held. Raises OSError, and all is as before then."""
        if self._closed:
            raise SpoolClosed("the spool is closed")
        home.segment.begin(0, 1)
        before = self._segment, self.last_record
        self._segment, self.last_record = home.segment, 0
        saved = 0
        try:
            for payload in self._opening:
                self._put(payload, 1)
            if rescue and rescue.number >= 0:
                self._segment.append(rescue)
                saved = before[1] + 1 - rescue.first_record
                self.last_record += saved
        except BaseException:
            self._segment, self.last_record = before
            raise
        for shape in (*self._shapes.values(), *self._preview_shapes.values()):
            # It repeats its definition in the new segment.
            shape.segment = -1
        self.supply.start_over()
        if self.lock:
            self.lock.release()
        for old in {before[0], self._orphan} - {None}:
            assert old
            with contextlib.suppress(OSError):
                old.finish()
            old.release()
        self._orphan = None
        self.folder, self.header, self.lock = home.folder, home.header, home.lock
        self._patience.renew()
        self._health.well()
        self._changed.notify_all()
        return saved

    # --- the end -----------------------------------------------------------------------------

    def close(self) -> None:
        """No more records; the lock falls. Idempotent."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(OSError):
                self._segment.finish()
            self._segment.release()
            # No room: whoever comes now is told that the spool is closed.
            self._segment.size = 0
            if self._orphan:
                self._orphan.release()
            self.supply.discard()
            self._changed.notify_all()
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

    def _row(self, shape: Shape | None, payload: bytes) -> int:
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

    def _add_shape(self, paths: tuple[str, ...], preview: bool) -> Shape:
        for path in paths:
            if problem := check_path(path):
                raise ValueError(problem)
        shapes = self._preview_shapes if preview else self._shapes
        with self._guard:
            # Another thread may have been faster.
            if paths not in shapes:
                shapes[paths] = Shape(next(self._shape_ids), paths, preview)
            return shapes[paths]

    def _ready_for(self, shape: Shape) -> Segment:
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
        while True:
            if self._closed:
                raise SpoolClosed("the spool is closed")
            left = self._patience.left()
            if left > 0 or not self._health.resting:
                segment = self._segment
                if segment.offset + room <= segment.size:
                    # Another thread was first.
                    return segment
                if fresh := self._try_to_go_on(room):
                    return fresh
            if left <= 0:
                raise self._health.drop()
            self._patience.begin()
            # Lets go of the guard: other threads wait beside this one, and are not nested.
            self._busy = False
            try:
                self._changed.wait(min(_LOOK_SECONDS, left))
            finally:
                self._busy = True

    def _try_to_go_on(self, room: int) -> Segment | None:
        if self.homeless:
            # Making a folder is for `tend`.
            self.turned.set()
            return None
        fresh = None
        try:
            fresh = self.supply.take(self.folder, self.header, room)
            fresh.begin(self._segment.number + 1, self.last_record + 1)
        except OSError as error:
            if fresh:
                fresh.discard()
            self._health.failed(error)
            return None
        with contextlib.suppress(OSError):
            self._segment.finish()
        self._segment.release()
        self._segment = fresh
        self._patience.renew()
        self._health.well()
        self.turned.set()
        return fresh
