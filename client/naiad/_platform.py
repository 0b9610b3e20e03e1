"""What differs between operating systems, and a fallback for each.

Linux is what Naiad is tested on. Elsewhere a module may be missing (fcntl on Windows), or a
function (fdatasync on macOS); everything else of the client asks here and not the system.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_fcntl = _module("fcntl")
_msvcrt = _module("msvcrt")

# Descriptors stay with this process, and bytes stay bytes on Windows.
OPEN_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

# What a system says when somebody else has the lock; anything else means that there are none.
_HELD = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK})

# File systems on which a file that was written full of zeros keeps its blocks, so that
# storing into its mapping can't fail. The others copy on write, compress, or live elsewhere.
_KEEPS_BLOCKS = frozenset({"ext2", "ext3", "ext4", "xfs", "tmpfs", "overlay"})

_MOUNTS = Path("/proc/self/mountinfo")


# --- locks -----------------------------------------------------------------------------------


def lock_record(descriptor: int) -> bool:
    """Takes a lock that no child inherits and that falls with the process. False when another
    process has it; raises OSError where there are no locks.

    A process that opens such a file a second time and closes it drops the lock."""
    if _fcntl is not None:
        return _taken(lambda: _fcntl.lockf(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB))
    return _lock_byte(descriptor)


def lock_file(descriptor: int, *, wait: bool = False) -> bool:
    """Takes a lock that belongs to the open file, so that two of one process exclude each
    other. False when it is held; raises OSError where there are no locks."""
    if _fcntl is not None:
        how = _fcntl.LOCK_EX if wait else _fcntl.LOCK_EX | _fcntl.LOCK_NB
        return _taken(lambda: _fcntl.flock(descriptor, how))
    return _lock_byte(descriptor, wait=wait)


def _taken(take: Callable[[], object]) -> bool:
    try:
        take()
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True


def _lock_byte(descriptor: int, *, wait: bool = False) -> bool:
    if _msvcrt is None:
        raise OSError(errno.ENOTSUP, "this system has no file locks")
    os.lseek(descriptor, 0, os.SEEK_SET)
    # LK_LOCK tries for ten seconds, which is as good as waiting.
    how = _msvcrt.LK_LOCK if wait else _msvcrt.LK_NBLCK
    return _taken(lambda: _msvcrt.locking(descriptor, how, 1))


# --- files -----------------------------------------------------------------------------------


def sync_data(descriptor: int) -> None:
    """Until the file's content is on the disk. Raises OSError."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def read_at(descriptor: int, length: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, length, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, length)


def write_at(descriptor: int, data: Any, offset: int) -> None:
    """All of `data`. Raises OSError."""
    view = memoryview(data)
    while view:
        if hasattr(os, "pwrite"):
            done = os.pwrite(descriptor, view, offset)
        else:
            os.lseek(descriptor, offset, os.SEEK_SET)
            done = os.write(descriptor, view)
        view = view[done:]
        offset += done


def keeps_blocks(folder: Path) -> bool:
    """Can files there be written through a mapping? Only where it is known to be safe: a
    mapped page that finds no block kills the process with SIGBUS."""
    return file_system(folder) in _KEEPS_BLOCKS


def file_system(folder: Path) -> str:
    """The type of the file system that `folder` is on; empty where that can't be told."""
    try:
        mounts = _MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    place = os.path.realpath(folder)
    found, longest = "", -1
    for line in mounts:
        left, _, right = line.partition(" - ")
        fields, types = left.split(" "), right.split(" ")
        if len(fields) < 5 or not types[0]:
            continue
        # Spaces and the like stand as octal escapes.
        point = fields[4].encode("utf-8", "surrogateescape").decode("unicode_escape", "replace")
        point = point.encode("latin-1", "replace").decode("utf-8", "surrogateescape")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        # Of two mounts on one point the later one is seen.
        if inside and len(point) >= longest:
            found, longest = types[0], len(point)
    return found


# --- host and processes -----------------------------------------------------------------------


def node_name() -> str:
    """The host's name."""
    if hasattr(os, "uname"):
        return os.uname().nodename
    # Only here: it takes longer to import than to ask.
    import socket

    return socket.gethostname()


def user_tag() -> str:
    """Tells this user's files in a shared folder from another's."""
    if hasattr(os, "getuid"):
        return str(os.getuid())
    return "".join(c for c in os.environ.get("USERNAME", "user") if c.isalnum()) or "user"


def after_fork_in_child(call: Callable[[], object]) -> None:
    """Where there is fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


def default_signal(number: int) -> None:
    """Back to the system's own handling, from any thread: `signal.signal` is for the main
    thread alone, which may be deep in somebody's C code."""
    if sys.platform == "win32":
        # os.kill ends a process there whatever it handles.
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).signal(ctypes.c_int(number), ctypes.c_void_p(0))
