"""Who is at work: the writer of a spool, the shipper of a folder.

The kernel drops a lock at its holder's death, so a lock tells the truth at once. Where a file
system has no locks, a writer leaves a heartbeat instead. That one never declares a death:
a process that was stopped, or a machine that slept, is silent and lives.
"""

from __future__ import annotations

import contextlib
import enum
import os
import tempfile
import time
import weakref
from pathlib import Path

from naiad import _platform
from naiad.spool.layout import HEARTBEAT, LOCK
from naiad_proto.blake2 import blake2b

# A heartbeat older than this says that its writer is silent. It is renewed each second.
SILENT_SECONDS = 15.0

# Those of this process. A child gets copies of their handles, and a lock is free when the last
# copy is closed: one that outlived its parent would hold it for ever.
_host_locks: weakref.WeakSet[HostLock] = weakref.WeakSet()

# Spools whose writer lives in this very process. Their locks must not be tried here: a
# process that opens a file a second time and closes it drops its own record locks on it.
_own: set[Path] = set()


class Life(enum.Enum):
    LIVES = "lives"
    ENDED = "ended"
    # There are no locks, and the heartbeat is old: nobody knows.
    SILENT = "silent"


class WriterLock:
    """Held for a writer's life: a record lock, which a forked child does not inherit, or a
    heartbeat, which `beat` renews."""

    def __init__(self, spool: Path) -> None:
        """Raises OSError when the folder can't be written, or somebody else has the lock."""
        self._spool = spool
        self._next_beat = 0.0
        self._descriptor = os.open(
            spool / LOCK, os.O_RDWR | os.O_CREAT | _platform.OPEN_FLAGS, 0o600
        )
        self.beats = False
        try:
            taken = _platform.lock_record(self._descriptor)
        except OSError:
            self.beats = taken = True
        if not taken:
            self._close()
            raise BlockingIOError(f"{spool / LOCK} is another process's")
        _own.add(spool)
        if self.beats:
            self._close()
            # First the heartbeat: a spool with neither is one whose writer has ended.
            self.beat()
            (spool / LOCK).unlink(missing_ok=True)

    def beat(self) -> None:
        """Renews the heartbeat, if there is one. Raises OSError."""
        now = time.monotonic()
        if self.beats and now >= self._next_beat:
            self._next_beat = now + 1.0
            # In place and not by a new file, which a full disk would refuse. The time is
            # the writer's own: a file server's clock may differ.
            path = self._spool / HEARTBEAT
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | _platform.OPEN_FLAGS, 0o600)
            try:
                _platform.write_at(descriptor, f"{time.time():017.3f}".encode(), 0)
            finally:
                os.close(descriptor)

    def is_there(self) -> bool:
        """Do others still find it? Not when somebody removed the file."""
        return _exists(self._spool / (HEARTBEAT if self.beats else LOCK))

    def release(self) -> None:
        """Lets go, and leaves no file: one without a holder says that its holder died."""
        _own.discard(self._spool)
        with contextlib.suppress(OSError):
            (self._spool / (HEARTBEAT if self.beats else LOCK)).unlink(missing_ok=True)
        self._close()

    def forget(self) -> None:
        """In a forked child: the lock is the parent's; only this copy of the handle goes."""
        _own.discard(self._spool)
        self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1


def writer_life(spool: Path) -> Life:
    """What can be told of the process that writes the spool."""
    if spool in _own:
        return Life.LIVES
    try:
        descriptor = os.open(spool / LOCK, os.O_RDWR | _platform.OPEN_FLAGS)
    except FileNotFoundError:
        return _by_heartbeat(spool)
    except OSError:
        return Life.SILENT
    try:
        return Life.ENDED if _platform.lock_record(descriptor) else Life.LIVES
    except OSError:
        # The writer could lock it and this process can't.
        return Life.SILENT
    finally:
        os.close(descriptor)


def writer_let_go(spool: Path) -> bool:
    """Did a writer that has ended do so by itself? It, or whoever removed the spool."""
    return not _exists(spool / LOCK)


def writer_lives(spool: Path) -> bool:
    """Does the process that writes the spool still run? In doubt it does."""
    return writer_life(spool) is not Life.ENDED


def _by_heartbeat(spool: Path) -> Life:
    try:
        beat = float((spool / HEARTBEAT).read_bytes() or b"0")
    except FileNotFoundError:
        return Life.ENDED
    except (OSError, ValueError):
        return Life.SILENT
    return Life.LIVES if abs(time.time() - beat) < SILENT_SECONDS else Life.SILENT


class HostLock:
    """Something that one process of this host does at a time. Where the file's own system
    has no locks, one of the same name in the local temporary folder stands in: it is about
    this host only. A forked child has none of its parent's."""

    def __init__(self, file: Path) -> None:
        """Raises OSError."""
        self._file = file
        self._descriptor = _open(file)
        _host_locks.add(self)

    def take(self) -> bool:
        try:
            return _platform.lock_file(self._descriptor)
        except OSError:
            pass
        try:
            stand_in = _open(_local(self._file))
        except OSError:
            return True
        os.close(self._descriptor)
        self._descriptor = stand_in
        try:
            return _platform.lock_file(self._descriptor)
        except OSError:
            # Two at a time only cost work; none at all would cost the data.
            return True

    def is_there(self) -> bool:
        """Do others still find it? Not when somebody removed the folder."""
        return _exists(self._file)

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _after_fork_in_child() -> None:
    for lock in list(_host_locks):
        lock.release()


_platform.after_fork_in_child(_after_fork_in_child)


def is_taken(file: Path) -> bool:
    """Does some process hold the HostLock of `file`?"""
    try:
        lock = HostLock(file)
    except OSError:
        return False
    try:
        return not lock.take()
    finally:
        lock.release()


def _open(file: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | _platform.OPEN_FLAGS
    return os.open(file, flags, 0o600)


def _local(file: Path) -> Path:
    name = blake2b(os.fsencode(os.path.realpath(file)), digest_size=12).hexdigest()
    return Path(tempfile.gettempdir()) / f"naiad-{_platform.user_tag()}-{name}.lock"


def _exists(file: Path) -> bool:
    try:
        os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        # A file system in trouble has not lost it.
        return True
    return True
