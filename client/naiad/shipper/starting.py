"""Starts the shipper's process, or a thread where none can be started."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

from naiad import _platform
from naiad.spool.folder import is_taken, read_progress, spools, writer_lives

log = logging.getLogger("naiad")

LOCK = "shipper.lock"
LOG = "shipper.log"
CLEARING_SECONDS = 1.0
_LARGEST_LOG = 1024 * 1024
_FORK_SUPPORT = "GRPC_ENABLE_FORK_SUPPORT"


class _Outliving(subprocess.Popen[bytes]):
    """A child that goes on without us, by intent: no ResourceWarning says it was forgotten."""

    def __del__(self) -> None:
        pass


# The ones that this process has started, by folder.
_processes: dict[Path, _Outliving] = {}
_threads: dict[Path, threading.Thread] = {}
_stops: dict[Path, threading.Event] = {}
# In a child that was forked from a process with such a thread: gRPC can't be used here.
_inherited = False
_told = False


def shipper_runs(host: Path) -> bool:
    """Does a shipper have the folder now, or is one of ours about to take it?"""
    thread, process = _threads.get(host), _processes.get(host)
    if thread is not None and thread.is_alive():
        return True
    # Asked of the process, not of its lock alone, which it takes a second after its start.
    if process is not None and process.poll() is None:
        return True
    return is_taken(host / LOCK)


def start_shipper(host: Path) -> None:
    """Starts one unless it runs. Never raises: logging goes on without it, and the next call
    tries again."""
    if shipper_runs(host):
        return
    # A child that can't use gRPC sends by a process, whatever was asked for, or not at all.
    if _inherited or os.environ.get("NAIAD_SHIPPER", "").lower() != "thread":
        try:
            _start_process(host)
        except OSError as error:
            if _inherited:
                _tell_that_it_waits(host, error)
                return
            log.warning("the shipper can't run as a process (%s); it runs as a thread", error)
        else:
            return
    _start_thread(host)


def _start_process(host: Path) -> None:
    log_file = host / LOG
    if log_file.exists() and log_file.stat().st_size > _LARGEST_LOG:
        log_file.unlink()
    # As this process finds the package, so that a checkout or a notebook's path works too.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    # What belongs to this training must not follow into a process that outlives it.
    for name in ("NAIAD_API_TOKEN", "NAIAD_MODE", "PYTHONSTARTUP", "PYTHONINSPECT"):
        environment.pop(name, None)
    with _opened(log_file) as errors:
        # A session of its own: Ctrl-C in the terminal ends the training, not the sending.
        _processes[host] = _Outliving(
            [sys.executable, "-m", "naiad.shipper", str(host)],
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
            cwd=host,
            env=environment,
        )


def _opened(log_file: Path) -> BinaryIO:
    """For what a shipper has to say; where there is no room for it, nowhere."""
    try:
        return log_file.open("ab")
    except OSError:
        return open(os.devnull, "ab")


def _tell_that_it_waits(host: Path, error: OSError) -> None:
    global _told
    if not _told:
        log.warning(
            "the shipper can't run as a process (%s), nor as a thread in a child that was forked"
            " from a process with such a thread: what is logged here waits in %s for the next run"
            " on this host, or for `naiad sync`", error, host,
        )  # fmt: skip
        _told = True


def _load_grpc() -> None:
    """gRPC, without what it does about fork by itself, unless the user asked for that or has
    loaded it before us.

    It starts its threads again in the child, where they wait on the parent's epoll set. Beside a
    call that was under way they find its state half made, and a failed check ends the child (1 of
    500 forked while the first call was made). A child of ours has no use for it at all.
    """
    if _FORK_SUPPORT in os.environ:
        return
    # It looks at its environment when it is loaded, and at no other time.
    os.environ[_FORK_SUPPORT] = "0"
    try:
        import grpc  # noqa: F401
    finally:
        # Not for the programs that this one starts.
        del os.environ[_FORK_SUPPORT]


def _after_fork_in_child() -> None:
    global _inherited
    _inherited = _inherited or bool(_threads)
    _threads.clear()
    _stops.clear()


_platform.after_fork_in_child(_after_fork_in_child)


def _start_thread(host: Path) -> None:
    _load_grpc()
    from naiad.shipper.shipper import Shipper

    stop = _stops[host] = threading.Event()
    thread = threading.Thread(
        target=Shipper(host).run, args=(stop,), name="naiad shipper", daemon=True
    )
    _threads[host] = thread
    thread.start()


def stop_threads(*, wait: bool = True) -> None:
    """Ends shippers that run as threads of this process, with their files in order: what is
    sent is cleared away, which takes them a moment after the last acknowledgement."""
    deadline = time.monotonic() + (CLEARING_SECONDS if wait else 0.0)
    while time.monotonic() < deadline and any(map(_to_clear, _threads)):
        time.sleep(0.02)
    for stop in _stops.values():
        stop.set()
    for thread in _threads.values():
        thread.join(2)
    _threads.clear()
    _stops.clear()


def _to_clear(host: Path) -> bool:
    """Is there a spool that is sent and only has to go?"""
    return any(
        read_progress(folder).get("acknowledged") and not writer_lives(folder)
        for folder in spools(host)
    )
