"""How processes end, and what open runs do then.

`close()` and leaving the `with` block are the run's own. Here is everything else: the
interpreter's end without them, an exception nobody caught, Ctrl-C, SIGTERM, and fork.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from naiad import _platform
from naiad_proto.v1 import records_pb2 as pb

if TYPE_CHECKING:
    from naiad.run import Run

# How long the end waits for the shipper: of the interpreter, and after SIGTERM, where
# whoever sent it will not wait for long.
EXIT_SECONDS = 30.0
SIGTERM_SECONDS = 10.0

# Strongly: a run whose last reference goes is not over, since its process may have more to log
# under the same id; it ends with the process.
_open: set[Run] = set()
# When Ctrl-C last ended a wait, by time.monotonic: it is meant for all of them.
_hurried_at = -1e9
_HURRY_SECONDS = 10.0
_uncaught: list[BaseException] = []
_installed = False
# The process whose runs these are; after a fork the child's, once its runs have let go.
_owner = 0


def watch(run: Run) -> None:
    """From now on the run is ended with the process."""
    global _installed, _owner
    _open.add(run)
    _owner = os.getpid()
    if not _installed:
        _installed = True
        atexit.register(_at_exit)
        _platform.after_fork_in_child(_after_fork_in_child)
        _chain_excepthook()
    _take_sigterm()


def hurry() -> None:
    """Ctrl-C while a run's end was waited for: the ends of others don't wait either."""
    global _hurried_at
    _hurried_at = time.monotonic()


def hurried() -> bool:
    return time.monotonic() - _hurried_at < _HURRY_SECONDS


def forget(run: Run) -> None:
    _open.discard(run)


def state_of(error: BaseException | None) -> tuple[pb.WriterState.ValueType, str]:
    """How a process ended that `error` ended, and why, in one line."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return pb.WRITER_STATE_FINISHED, ""
    if isinstance(error, KeyboardInterrupt):
        return pb.WRITER_STATE_STOPPED, "interrupted (Ctrl-C)"
    if isinstance(error, SystemExit):
        return pb.WRITER_STATE_FAILED, f"exit status {error.code}"
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return pb.WRITER_STATE_FAILED, text[:1000]


def _at_exit() -> None:
    error = _uncaught[-1] if _uncaught else None
    runs = list(_open)
    deadline = time.monotonic() + EXIT_SECONDS
    # All of them first: the shipper gets everything while the first one is waited for.
    for run in runs:
        run._end(error)
    for run in runs:
        run._finish(max(0.0, deadline - time.monotonic()))
    from naiad.shipper.starting import stop_threads

    # Not until it has cleared away what is sent: there may be nobody left who would.
    stop_threads(wait=not hurried())


def _chain_excepthook() -> None:
    before = sys.excepthook

    def note(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        _uncaught.append(error)
        before(kind, error, trace)

    sys.excepthook = note


def _take_sigterm() -> None:
    """Only where nobody else has: a framework's own handler knows better."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    # Not here: the handler may stand in the middle of a logging call, which has to go on so
    # that its lock comes free. And not as a daemon, so that the interpreter waits for it.
    if os.getpid() != _owner:
        # A child that was forked this very moment: the runs are still its parent's.
        signal_default(number)
        os.kill(os.getpid(), number)
        return
    try:
        thread = threading.Thread(target=_stop_and_die, args=(number, os.getpid()))
        thread.name = "naiad end"
        thread.start()
    except RuntimeError:
        # The interpreter is ending and starts no threads any more; the runs' ends are written,
        # and what is not sent is in the spool.
        signal_default(number)
        os.kill(os.getpid(), number)


def _stop_and_die(number: int, pid: int) -> None:
    deadline = time.monotonic() + SIGTERM_SECONDS
    for run in list(_open):
        run._stopped_by(signal.Signals(number).name)
    for run in list(_open):
        run._wait_at_end(max(0.0, deadline - time.monotonic()))
    # As it would have ended without us, so that whoever asked sees what it expects.
    signal_default(number)
    os.kill(pid, number)


def signal_default(number: int) -> None:
    """Back to the system's own handling; works from any thread."""
    _platform.default_signal(number)


def _after_fork_in_child(*_: Any) -> None:
    global _owner
    # A child that logs nothing ends as it would without us. A handler of Python's own that
    # comes an instant before a blocking call waits for that to return, and a pool that ends
    # its workers by SIGTERM would wait for them for ever.
    if signal.getsignal(signal.SIGTERM) is _on_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for run in list(_open):
        run._after_fork_in_child()
    _owner = os.getpid()
