"""The console below Python: whatever this process and its children write to descriptors 1 and 2.

The descriptors become pipes, or pseudo-terminals where they are terminals, to a reader process
(naiad._console_reader). It passes every byte on to where they pointed and keeps the lines in a
spool of its own, so that it also has the last words before a SIGKILL. If it dies, the
descriptors point again to where they did, and a thread here passes on what is under way.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from naiad.exceptions import NaiadError
from naiad.shipper.starting import LOG
from naiad.spool.folder import read_progress

if TYPE_CHECKING:
    from naiad.run import Run

DESCRIPTORS = {"stdout": 1, "stderr": 2}
# How long to wait for the reader to say that it has passed on everything, in seconds.
ANSWER_SECONDS = 10.0
_LOOK_SECONDS = 0.02


class ConsoleUnavailable(Exception):
    """The console can't be taken this way here; the message says why."""


@dataclass
class _Redirected:
    name: str
    descriptor: int
    # Where it pointed.
    original: int
    read_end: int
    write_end: int

    def restore(self) -> None:
        """Unless somebody else has redirected or closed it since."""
        with contextlib.suppress(OSError):
            if os.path.sameopenfile(self.descriptor, self.write_end):
                os.dup2(self.original, self.descriptor)
        os.close(self.write_end)

    def pass_on_the_rest(self) -> None:
        """Until nobody can write to it any more."""
        _pass_on(self.read_end, self.original)
        os.close(self.read_end)
        os.close(self.original)


class FdConsole:
    def __init__(self, run: Run, paths: Mapping[str, str]) -> None:
        """`paths`: of the series, by stream. Raises ConsoleUnavailable."""
        self._run = run
        self._paths = dict(paths)
        self._streams: list[_Redirected] = []
        self._guard = threading.Lock()
        self._stopped = False
        self._left = False
        # What the reader has spooled by its last answer, and where.
        self._records = 0
        self._spool: Path | None = None
        self._heard = b""
        if os.name != "posix":
            raise ConsoleUnavailable("console='fd' needs a POSIX system")
        for name, descriptor in DESCRIPTORS.items():
            try:
                own = getattr(sys, name).fileno() == descriptor
            except (AttributeError, OSError, ValueError):
                own = False
            if not own:
                raise ConsoleUnavailable(
                    f"sys.{name} does not write to descriptor {descriptor} here, as in a notebook"
                )

    def start(self) -> None:
        """Raises ConsoleUnavailable, with everything as it was."""
        control, self._control = os.pipe()
        self._status, status = os.pipe()
        try:
            for name, descriptor in DESCRIPTORS.items():
                self._streams.append(_channel(name, descriptor))
            self._reader = self._start_reader(control, status)
        except OSError as error:
            for descriptor in (self._control, self._status):
                os.close(descriptor)
            for stream in self._streams:
                for descriptor in (stream.original, stream.read_end, stream.write_end):
                    os.close(descriptor)
            raise ConsoleUnavailable(f"the console's reader can't be started: {error}") from error
        finally:
            os.close(control)
            os.close(status)
        _flush()
        for stream in self._streams:
            os.dup2(stream.write_end, stream.descriptor)
        threading.Thread(target=self._watch, name="naiad console", daemon=True).start()

    def flush(self) -> None:
        """Until the reader has passed on and spooled what was written before."""
        _flush()
        self._ask(b"f")

    def stop(self) -> None:
        """The descriptors are as before; what was written is passed on and spooled."""
        with self._guard:
            if self._stopped or self._left:
                return
            self._stopped = True
            _flush()
            for stream in self._streams:
                stream.restore()
        self._ask(b"s")
        for descriptor in (self._control, self._status):
            os.close(descriptor)
        self._control = self._status = -1

    def leave(self) -> None:
        """In a forked child, whose words still go to the reader, as a subprocess's do."""
        self._left = True
        for descriptor in (self._control, self._status):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def wait(self, what: str, seconds: float | None) -> bool:
        """Until what the reader spooled by its last answer is acknowledged or stored."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while self._spool and self._spool.exists():
            if int(read_progress(self._spool).get(what, 0)) >= self._records:
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    # --- the reader ------------------------------------------------------------------------

    def _start_reader(self, control: int, status: int) -> subprocess.Popen[bytes]:
        session = self._run._session
        assert session
        streams = [
            {"name": s.name, "path": self._paths[s.name], "from": s.read_end, "to": s.original}
            for s in self._streams
        ]
        kept = [control, status, *(s.read_end for s in self._streams)]
        kept += [s.original for s in self._streams]
        what = {
            "control": control, "status": status, "streams": streams, "host": str(session.host),
            "spool": str(session.spool.folder), "header": session.header.as_dict(),
        }  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        for name in ("NAIAD_API_TOKEN", "PYTHONSTARTUP", "PYTHONINSPECT"):
            environment.pop(name, None)
        reader = Path(__file__).with_name("_console_reader.py")
        with (session.host / LOG).open("ab") as errors:
            # By its file, since it has to read before Python could import the package; -P,
            # since modules beside it are not the standard library's. A session of its own:
            # Ctrl-C ends the training, not the reading of its last words.
            return subprocess.Popen(
                [sys.executable, "-P", str(reader), json.dumps(what)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
                env=environment,
                pass_fds=kept,
            )

    def _watch(self) -> None:
        """Waits for the reader's end; if that comes before the run's, its work is done here."""
        self._reader.wait()
        with self._guard:
            died = not self._stopped
            if died:
                self._stopped = True
                for stream in self._streams:
                    # What waits in the pipe goes first.
                    _pass_on(stream.read_end, stream.original, until_empty=True)
                    stream.restore()
        if died:
            self._run.callbacks.warning(
                NaiadError("the console's reader ended; what is printed now is not recorded")
            )
        # Also what it had not read: subprocesses may still write to the old pipes.
        for stream in self._streams:
            threading.Thread(
                target=stream.pass_on_the_rest, daemon=True, name="naiad console"
            ).start()

    def _ask(self, order: bytes) -> None:
        """Gives the order and waits for the answer, but not for a reader that has died."""
        if self._left:
            return
        try:
            os.write(self._control, order)
        except OSError:
            return
        deadline = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self._status], [], [], 0.1)
            if ready:
                part = os.read(self._status, 65536)
                if not part:
                    return
                self._heard += part
                *answers, self._heard = self._heard.split(b"\n")
                for answer in map(json.loads, answers):
                    self._records, self._spool = answer["records"], Path(answer["spool"])
                    if answer["to"] == order.decode():
                        return


def _channel(name: str, descriptor: int) -> _Redirected:
    """Raises OSError."""
    if not os.isatty(descriptor):
        read_end, write_end = os.pipe()
    else:
        import pty
        import tty

        read_end, write_end = pty.openpty()
        # The terminal itself translates line ends and the like, once.
        tty.setraw(write_end)
        with contextlib.suppress(OSError, AttributeError):
            import termios

            termios.tcsetwinsize(write_end, termios.tcgetwinsize(descriptor))
    return _Redirected(name, descriptor, os.dup(descriptor), read_end, write_end)


def _flush() -> None:
    """What Python and C still hold."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    with contextlib.suppress(Exception):
        ctypes.CDLL(None).fflush(None)


def _pass_on(source: int, target: int, *, until_empty: bool = False) -> None:
    deadline = time.monotonic() + ANSWER_SECONDS
    with contextlib.suppress(OSError):
        while True:
            if until_empty and (
                time.monotonic() > deadline or not select.select([source], [], [], 0)[0]
            ):
                return
            data = os.read(source, 65536)
            if not data:
                return
            while data:
                data = data[os.write(target, data) :]
