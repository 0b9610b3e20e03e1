"""One file of a spool, as its writer sees it."""

from __future__ import annotations

import json
import mmap
import os
import zlib
from pathlib import Path

from naiad.spool.layout import (
    CLOSED_WORD,
    FIXED,
    MAGIC,
    Header,
    padded,
    segment_name,
)

_ZEROS = bytes(1024 * 1024)


class Segment:
    """A mapped segment with room for records.

    Written full of zeros beforehand: only then does a full disk fail here, where it can be
    told, and not with SIGBUS in the middle of a training loop; and fallocate alone would
    stall the caller at each first touch of its extents.
    """

    def __init__(self, folder: Path, number: int, size: int, header: Header) -> None:
        """Raises OSError when the file can't be made in full."""
        self.number = number
        self.path = folder / segment_name(number)
        text = json.dumps(header.as_dict()).encode()
        self._begin = FIXED.size + padded(len(text))
        self.size = max(size, padded(self._begin + 1024))
        self.offset = self._begin
        fresh = self.path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            for begin in range(0, self.size, len(_ZEROS)):
                _write_all(descriptor, _ZEROS[: min(len(_ZEROS), self.size - begin)])
            self.map = mmap.mmap(descriptor, self.size)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        self.map[FIXED.size : FIXED.size + len(text)] = text
        self._fixed = (len(text), zlib.crc32(text))
        # Word COMMITTED_WORD publishes: everything before that offset is complete. One aligned
        # store of 8 bytes, so that no other process sees half of it.
        self.words = memoryview(self.map).cast("Q")
        self._fresh = fresh

    def begin(self, first_record: int) -> None:
        """Gives the segment its name: from now on readers find it."""
        FIXED.pack_into(self.map, 0, MAGIC, self._begin, first_record, 0, *self._fixed)
        self._fresh.rename(self.path)

    def finish(self) -> None:
        """The writer goes on in the next one; readers may free this one."""
        self.words[CLOSED_WORD] = 1

    def release(self) -> None:
        """Unmaps. The file stays; what was published is the kernel's to keep."""
        self.words.release()
        self.map.close()

    def discard(self) -> None:
        """Removes a segment that was never begun."""
        self.release()
        self._fresh.unlink(missing_ok=True)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
