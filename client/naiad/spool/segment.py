"""One file of a spool, as its writer sees it: mapped, or written to call by call."""

from __future__ import annotations

import contextlib
import itertools
import json
import mmap
import os
import zlib
from pathlib import Path
from typing import Any, Protocol

from naiad import _platform
from naiad.spool.health import Health
from naiad.spool.layout import (
    CLOSED_WORD,
    COMMITTED_WORD,
    FIXED,
    LARGEST_SEGMENT_BYTES,
    LARGEST_WRITTEN_BYTES,
    MAGIC,
    Header,
    padded,
    segment_name,
)

_ZEROS = bytes(1024 * 1024)
_serial = itertools.count()


class Words(Protocol):
    """The file as 8-byte words; storing into one makes it visible to readers."""

    def __setitem__(self, index: int, value: int, /) -> None: ...


class Segment:
    """Room for records. The writer puts one into `map` at `offset` and then stores its end
    into `words[COMMITTED_WORD]`, which publishes it: no reader sees half of one."""

    map: Any
    words: Words
    largest: int

    def __init__(self, folder: Path, size: int, header: Header, health: Health) -> None:
        """Raises OSError when the file can't be made in full."""
        self.number = -1
        self.first_record = 0
        self.folder = folder
        self._text = json.dumps(header.as_dict()).encode()
        self.begins = FIXED.size + padded(len(self._text))
        self.size = padded(max(size, self.begins + 1024))
        self.offset = self.begins
        self._health = health
        # A name of its own: the thread that makes segments ahead and a caller that can't wait
        # for it may be at it at the same time.
        self.path = folder / f"{os.getpid()}-{next(_serial)}.new"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _platform.OPEN_FLAGS
        descriptor = os.open(self.path, flags, 0o600)
        try:
            self._make(descriptor)
        except BaseException:
            self._remove()
            raise

    def _make(self, descriptor: int) -> None:
        """The file in its full size, and `map`; takes the descriptor, also when it raises."""
        raise NotImplementedError

    def begin(self, number: int, first_record: int) -> None:
        """Gives the segment its name: from now on readers find it. Raises OSError."""
        self.number, self.first_record = number, first_record
        check = zlib.crc32(self._text)
        FIXED.pack_into(self.map, 0, MAGIC, self.offset, first_record, 0, len(self._text), check)
        self.map[FIXED.size : FIXED.size + len(self._text)] = self._text
        self._rename(self.folder / segment_name(number))

    def _rename(self, name: Path) -> None:
        self.path.replace(name)
        self.path = name

    def append(self, other: Segment) -> None:
        """All slots of `other` as they are; the shapes among them keep their numbers."""
        end = self.offset + other.offset - other.begins
        self.map[self.offset : end] = other.map[other.begins : other.offset]
        self.offset = end
        self.words[COMMITTED_WORD] = end

    def is_there(self) -> bool:
        """Not when somebody removed the file."""
        try:
            os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            # A file system in trouble has not lost it.
            return True
        return True

    def finish(self) -> None:
        """The writer goes on in the next one; readers may free this one. Raises OSError."""
        self.words[CLOSED_WORD] = 1

    def release(self) -> None:
        """The file stays; what was published is the kernel's to keep."""
        raise NotImplementedError

    def discard(self) -> None:
        """Removes a segment that was never begun."""
        self.release()
        self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


class MappedSegment(Segment):
    """Written full of zeros beforehand: only then does a full disk fail here, where it can be
    told, and not with SIGBUS in the middle of a training loop; and fallocate alone would
    stall the caller at each first touch of its extents."""

    largest = LARGEST_SEGMENT_BYTES

    def _make(self, descriptor: int) -> None:
        try:
            for begin in range(0, self.size, len(_ZEROS)):
                part = memoryview(_ZEROS)[: self.size - begin]
                _platform.write_at(descriptor, part, begin)
            self.map = mmap.mmap(descriptor, self.size)
        finally:
            os.close(descriptor)
        # One aligned store of 8 bytes, so that no other process sees half of it.
        self.words = memoryview(self.map).cast("Q")

    def release(self) -> None:
        assert isinstance(self.words, memoryview)
        self.words.release()
        self.map.close()


class WrittenSegment(Segment):
    """For file systems that may have no block when a mapped page is touched: those that copy
    on write, compress, or are elsewhere. A write can fail, and says so. The file is sparse.

    `map` is this process's memory; publishing writes what is new of it and then its end.
    """

    # All of it is memory as well.
    largest = LARGEST_WRITTEN_BYTES

    def _make(self, descriptor: int) -> None:
        self._descriptor = descriptor
        try:
            os.ftruncate(descriptor, self.size)
        except BaseException:
            os.close(descriptor)
            raise
        self.map = bytearray(self.size)
        self.words = self
        self._written = 0

    def _rename(self, name: Path) -> None:
        _platform.write_at(self._descriptor, memoryview(self.map)[: self.offset], 0)
        self._written = self.offset
        if os.name == "nt":
            # An open file can't be renamed there.
            os.close(self._descriptor)
            self._descriptor = -1
            super()._rename(name)
            self._descriptor = os.open(name, os.O_RDWR | _platform.OPEN_FLAGS)
        else:
            super()._rename(name)

    def __setitem__(self, index: int, value: int, /) -> None:
        word = value.to_bytes(8, "little")
        if index == CLOSED_WORD:
            _platform.write_at(self._descriptor, word, index * 8)
            return
        if index != COMMITTED_WORD:
            # Of a record that is published later.
            self.map[index * 8 : index * 8 + 8] = word
            return
        try:
            if self._health.resting:
                raise self._health.drop()
            try:
                new = memoryview(self.map)[self._written : value]
                _platform.write_at(self._descriptor, new, self._written)
                _platform.write_at(self._descriptor, word, index * 8)
            except OSError as error:
                self._health.failed(error)
                raise self._health.drop() from error
        except OSError:
            # As if the record had never been packed.
            self.offset = self._written
            raise
        self._written = value
        self._health.well()

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        # Whoever comes late finds no room here.
        self.map = bytearray()


class NoSegment(Segment):
    """Of a spool without a folder: room for nothing."""

    largest = 0

    def __init__(self) -> None:
        self.number = -1
        self.first_record = 1
        self.begins = self.size = self.offset = 0
        self.map = bytearray()
        self.words = [0] * 4

    def is_there(self) -> bool:
        return False

    def release(self) -> None:
        pass


def segment_kind(folder: Path) -> type[Segment]:
    """How to write there; NAIAD_SPOOL_IO=mmap or write decides it by hand."""
    chosen = os.environ.get("NAIAD_SPOOL_IO", "").lower()
    if chosen in ("mmap", "write"):
        return MappedSegment if chosen == "mmap" else WrittenSegment
    return MappedSegment if _platform.keeps_blocks(folder) else WrittenSegment
