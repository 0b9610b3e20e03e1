"""Folders: the root of all spools, a host's part of it, and one spool's own."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

from naiad.settings import host_name
from naiad.spool.layout import LOCK, PROGRESS, TOKEN

# Spools whose writer lives in this very process. Their locks must not be tried here: a
# process that opens a file a second time and closes it drops its own record locks on it.
_own: set[Path] = set()


def host_folder(root: Path) -> Path:
    """This host's part of `root`, so that a shared file system does no harm. Made with mode
    0700: what is logged is nobody else's business. Raises OSError."""
    folder = root / host_name()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def new_spool(host: Path, writer_id: str) -> Path:
    folder = host / "spools" / f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{writer_id[:12]}"
    folder.mkdir(mode=0o700, parents=True)
    return folder


def spools(host: Path) -> list[Path]:
    """All spools of a host, oldest first."""
    try:
        return sorted(entry for entry in (host / "spools").iterdir() if entry.is_dir())
    except FileNotFoundError:
        return []


def new_writer_id() -> str:
    return uuid.uuid4().hex


class WriterLock:
    """Held for a writer's life. A record lock: a forked child does not inherit it, and the
    kernel drops it when the process ends, however it ends."""

    def __init__(self, spool: Path) -> None:
        """Raises OSError where the file system has no locks."""
        self._spool = spool
        self._descriptor = os.open(spool / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise
        _own.add(spool)

    def release(self) -> None:
        if self._descriptor >= 0:
            _own.discard(self._spool)
            os.close(self._descriptor)
            self._descriptor = -1

    def forget(self) -> None:
        """In a forked child: the lock is the parent's; only this copy of the handle goes."""
        _own.discard(self._spool)
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1


def writer_lives(spool: Path) -> bool:
    """Does the process that writes the spool still run?"""
    if spool in _own:
        return True
    try:
        descriptor = os.open(spool / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


class HostLock:
    """Something that one process of this host does at a time: flock, dropped at death."""

    def __init__(self, file: Path) -> None:
        self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


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


# --- small files ---------------------------------------------------------------------------


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Replaces the file whole: a reader sees the old or the new one."""
    half = file.with_name(f".{file.name}.{os.getpid()}")
    half.write_text(json.dumps(content))
    half.rename(file)


def read_json(file: Path) -> dict[str, Any]:
    """The file's content; empty if it is missing or broken."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_token(spool: Path, token: str) -> None:
    descriptor = os.open(spool / TOKEN, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token)


def read_token(spool: Path) -> str | None:
    try:
        return (spool / TOKEN).read_text() or None
    except OSError:
        return None


def read_progress(spool: Path) -> dict[str, Any]:
    return read_json(spool / PROGRESS)


# --- what a host remembers of a run ----------------------------------------------------------


class RunMemory:
    """What this host remembers of a run between its processes: the highest epoch given, and
    how many console lines each path has."""

    def __init__(self, host: Path, project: str, run_id: str) -> None:
        name = hashlib.blake2b(f"{project}/{run_id}".encode(), digest_size=16).hexdigest()
        folder = host / "runs"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._file = folder / f"{name}.json"
        self._guard = folder / f"{name}.lock"

    @contextlib.contextmanager
    def _locked(self):  # type: ignore[no-untyped-def]
        descriptor = os.open(self._guard, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            content = read_json(self._file)
            yield content
            write_json(self._file, content)
        finally:
            os.close(descriptor)

    def next_epoch(self) -> int:
        """Now in microseconds, or more where the clock went back."""
        with self._locked() as content:
            epoch: int = max(time.time_ns() // 1000, int(content.get("epoch", 0)) + 1)
            content["epoch"] = epoch
        return epoch

    def console_lines(self, path: str, ahead: int) -> int:
        """Number of the first free line of `path`; `ahead` lines from there on are taken, so
        that a process that is killed leaves a gap and never overwrites."""
        with self._locked() as content:
            lines: dict[str, int] = content.setdefault("lines", {})
            first = lines.get(path, 0)
            lines[path] = first + ahead
        return first

    def settle_console_lines(self, path: str, next_line: int) -> None:
        """Gives back what was taken ahead and not used."""
        with self._locked() as content:
            content.setdefault("lines", {})[path] = next_line

    def console_lock(self) -> HostLock:
        """Taken by the one process of this host whose console has the plain name."""
        return HostLock(self._guard.with_suffix(".console"))
