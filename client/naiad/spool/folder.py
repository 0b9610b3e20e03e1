"""Folders: the root of all spools, a host's part of it, and one spool's own."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from naiad import _platform
from naiad.settings import host_name
from naiad.spool.layout import HEADER, PROGRESS, TOKEN, Header
from naiad.spool.locks import (
    HostLock,
    Life,
    WriterLock,
    is_taken,
    writer_let_go,
    writer_life,
    writer_lives,
)
from naiad_proto.blake2 import blake2b

__all__ = [
    "HostLock",
    "Life",
    "RunMemory",
    "WriterLock",
    "folder_bytes",
    "host_folder",
    "is_taken",
    "make_host_folder",
    "new_spool",
    "new_writer_id",
    "read_header",
    "read_json",
    "read_progress",
    "read_token",
    "spool_folder",
    "spools",
    "write_json",
    "write_token",
    "writer_let_go",
    "writer_life",
    "writer_lives",
]  # fmt: skip


def host_folder(root: Path) -> Path:
    """This host's part of `root`, so that a shared file system does no harm. Made with mode
    0700: what is logged is nobody else's business. Raises OSError."""
    folder = root / host_name()
    make_host_folder(folder)
    return folder


def make_host_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def spool_folder(host: Path, writer_id: str) -> Path:
    return host / "spools" / f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{writer_id[:12]}"


def new_spool(host: Path, writer_id: str) -> Path:
    folder = spool_folder(host, writer_id)
    folder.mkdir(mode=0o700, parents=True)
    return folder


def spools(host: Path) -> list[Path]:
    """All spools of a host, oldest first."""
    try:
        return sorted(entry for entry in (host / "spools").iterdir() if entry.is_dir())
    except FileNotFoundError:
        return []


def folder_bytes(folder: Path) -> int:
    """Bytes that a spool takes on disk."""
    total = 0
    for directory, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(directory, name)).st_size
    return total


def new_writer_id() -> str:
    return os.urandom(16).hex()


# --- small files ---------------------------------------------------------------------------


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Replaces the file whole: a reader sees the old or the new one."""
    half = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        half.write_text(json.dumps(content))
        half.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            half.unlink(missing_ok=True)
        raise


def read_json(file: Path) -> dict[str, Any]:
    """The file's content; empty if it is missing or broken."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_token(spool: Path, token: str) -> None:
    descriptor = os.open(
        spool / TOKEN, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _platform.OPEN_FLAGS, 0o600
    )
    with os.fdopen(descriptor, "w") as file:
        file.write(token)


def read_token(spool: Path) -> str | None:
    try:
        return (spool / TOKEN).read_text() or None
    except OSError:
        return None


def read_header(spool: Path) -> Header | None:
    """What a spool says of itself; None when that can't be read."""
    try:
        return Header.from_dict(read_json(spool / HEADER))
    except ValueError:
        return None


def read_progress(spool: Path) -> dict[str, Any]:
    return read_json(spool / PROGRESS)


# --- what a host remembers of a run ----------------------------------------------------------


class RunMemory:
    """What this host remembers of a run between its processes: the highest epoch given, and
    how many console lines each path has."""

    def __init__(self, host: Path, project: str, run_id: str) -> None:
        name = blake2b(f"{project}/{run_id}".encode(), digest_size=16).hexdigest()
        folder = host / "runs"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = folder / f"{name}.json"
        self._guard = folder / f"{name}.lock"

    @contextlib.contextmanager
    def _locked(self):  # type: ignore[no-untyped-def]
        descriptor = os.open(self._guard, os.O_RDWR | os.O_CREAT | _platform.OPEN_FLAGS, 0o600)
        try:
            with contextlib.suppress(OSError):
                _platform.lock_file(descriptor, wait=True)
            content = read_json(self._file)
            yield content
            # On a full disk it is not remembered; the clock makes epochs rise all the same.
            with contextlib.suppress(OSError):
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
