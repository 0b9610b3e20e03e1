"""How much a host's spools may take of a disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from naiad.spool.health import SpoolFull

# Without a limit of its own, the spool leaves this share of the disk to everybody else.
KEPT_FREE = 0.1
# But takes so much all the same: on a disk that is nearly full by other things, a run whose
# server is keeping up must not lose anything.
ALWAYS_BYTES = 64 * 1024 * 1024
# For what is not in segments: progress files, directories.
_SLACK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """A limit for all spools of one host in one root together, and what happens there.

    Asked only when a segment is made, never per record; so several writers may go past it by
    a segment each.
    """

    # None: all but a tenth of the disk.
    most_bytes: int | None = None
    # How long a logging call may wait for room, once until there is room again; then, and
    # with 0 at once, the newest records are dropped.
    block_seconds: float = 0.0

    def room(self, host: Path) -> int:
        """Bytes that a new segment may have. Raises OSError when the disk can't be asked."""
        disk = shutil.disk_usage(host)
        free = disk.free - _SLACK_BYTES
        if self.most_bytes is not None:
            return min(free, self.most_bytes - spooled_bytes(host))
        room = free - int(disk.total * KEPT_FREE)
        if room < ALWAYS_BYTES:
            room = max(room, ALWAYS_BYTES - spooled_bytes(host))
        return min(free, room)

    def full(self, host: Path) -> SpoolFull:
        """What to say when there is no room."""
        if self.most_bytes is not None and shutil.disk_usage(host).free > _SLACK_BYTES:
            limit = f"the limit of {self.most_bytes / 1e6:,.1f} MB (spool_max_bytes) is reached"
            return SpoolFull(errno.EDQUOT, limit)
        return SpoolFull(errno.ENOSPC, "the disk is full")


class Patience:
    """How long logging calls wait for room: all of them together, until there is room again."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: float | None = None

    def left(self) -> float:
        """Seconds that a call may wait now."""
        if self._seconds <= 0 or self._until is None:
            return max(0.0, self._seconds)
        return max(0.0, self._until - time.monotonic())

    def begin(self) -> None:
        """Somebody waits."""
        if self._until is None:
            self._until = time.monotonic() + self._seconds

    def renew(self) -> None:
        """There is room again."""
        self._until = None


def spooled_bytes(host: Path) -> int:
    """Bytes of all segments and files of a host's spools."""
    total = 0
    for spool in _entries(host / "spools"):
        for entry in _entries(spool.path):
            with contextlib.suppress(OSError):
                if entry.name == "files":
                    total += sum(file.stat().st_size for file in _entries(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:
        return []
