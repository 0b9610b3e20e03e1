"""A chDB folder belongs to one process: who has it, and a plain word to the second one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from pathlib import Path

from naiad_store.errors import StoreBusy, StoreError

# A record lock belongs to the process and falls with the first descriptor that is closed,
# so all stores of this process share one: folder -> descriptor, stores that use it.
_held: dict[Path, tuple[int, int]] = {}
_guard = threading.Lock()


def take(folder: Path) -> None:
    """Holds the folder for this process, once more if it does already.

    Raises StoreBusy naming the process that has it, StoreError when it can't be made or
    this process has another one open, since chDB opens one folder a process.
    """
    with _guard:
        if folder in _held:
            descriptor, users = _held[folder]
            _held[folder] = (descriptor, users + 1)
            return
        for other in _held:
            raise StoreError(
                f"this process has the store folder {other} open; chDB opens only one a"
                f" process: close that store before {folder}"
            )
        _held[folder] = (_lock(folder), 1)


def give(folder: Path) -> None:
    """Gives back one `take`."""
    with _guard:
        descriptor, users = _held.pop(folder)
        if users > 1:
            _held[folder] = (descriptor, users - 1)
        else:
            os.close(descriptor)


def _lock(folder: Path) -> int:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder.with_name(folder.name + ".lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"the store folder {folder} can't be used: {error.strerror}") from error
    try:
        # A record lock, which no child inherits: a dashboard that outlives a killed server
        # for a moment must not keep the folder.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise StoreBusy(
            f"the store folder {folder} is open in process {pid}; chDB opens a folder in one"
            " process only: stop that one, or read through its server (naiad.query, naiad sql)"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _forget() -> None:
    # The child of a fork has neither the lock nor a working engine.
    for descriptor, _ in _held.values():
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
