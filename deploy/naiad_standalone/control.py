"""What commands on this machine ask of a running server: over a unix socket that only its user
can open.

chDB opens a folder in one process only, so a command can't look into a store that a server has
open; it asks the server. A request is a line of JSON; the answer is lines of JSON: what is to be
said meanwhile, then the result or what went wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

# Where the socket is, told in a file of the data folder.
_TOLD = "control"
# The kernel's bound on a unix socket's path, without the closing zero.
_LONGEST_SOCKET_PATH = 107
_LONGEST_LINE = 1024 * 1024

Say = Callable[[str], None]
Task = Callable[[dict[str, Any], Say], Awaitable[dict[str, Any]]]


class ControlError(Exception):
    """The server can't be asked, or could not do it; the message says why, in one line."""


class Control:
    """Serves `tasks`, by name, from `start` to `stop`; one at a time."""

    def __init__(self, folder: Path, tasks: dict[str, Task]) -> None:
        self._folder = folder
        self._tasks = tasks
        self._elsewhere: tempfile.TemporaryDirectory[str] | None = None
        self._server: asyncio.Server | None = None
        self._turn = asyncio.Lock()
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        path = self._folder / f"{_TOLD}.sock"
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            self._elsewhere = tempfile.TemporaryDirectory(prefix="naiad-")
            path = Path(self._elsewhere.name) / path.name
        path.unlink(missing_ok=True)
        # Nobody else's for not even a moment: the folder is this user's alone.
        self._server = await asyncio.start_unix_server(self._serve, path, limit=_LONGEST_LINE)
        path.chmod(0o600)
        (self._folder / _TOLD).write_text(str(path))

    async def stop(self) -> None:
        """Ends what is being done."""
        if self._server:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)
        (self._folder / _TOLD).unlink(missing_ok=True)
        if self._elsewhere:
            self._elsewhere.cleanup()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        loop = asyncio.get_running_loop()

        def send(message: dict[str, Any]) -> None:
            if not writer.is_closing():
                writer.write(json.dumps(message).encode() + b"\n")

        def say(text: str) -> None:
            # From whichever thread.
            loop.call_soon_threadsafe(send, {"say": text})

        try:
            request = json.loads(await reader.readline())
            do = self._tasks.get(str(request.get("do")))
            if do is None:
                send({"error": f"this server does not know {request.get('do')!r}; upgrade it"})
            else:
                async with self._turn:
                    done = await do(request, say)
                # Behind what was said from threads.
                loop.call_soon(send, {"done": done})
                await asyncio.sleep(0)
        except Exception as error:
            if not _told(error):
                log.exception("a command could not be done")
            send({"error": " ".join(str(error).split()) or type(error).__name__})
        finally:
            self._connections.discard(task)
            with contextlib.suppress(OSError):
                writer.close()
                await writer.wait_closed()


def ask(folder: Path, do: str, say: Say = lambda _: None, **request: Any) -> dict[str, Any]:
    """What the server of that data folder has done. Raises ControlError."""
    for message in _messages(folder, {"do": do, **request}):
        if "say" in message:
            say(message["say"])
        elif "error" in message:
            raise ControlError(message["error"])
        else:
            done: dict[str, Any] = message["done"]
            return done
    raise ControlError("the server ended before it was done")


def _messages(folder: Path, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        path = (folder / _TOLD).read_text()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answer:
                for line in answer:
                    yield json.loads(line)
    except (OSError, ValueError) as error:
        raise ControlError(
            f"the server of {folder} can't be asked: {error}; is it starting or stopping?"
        ) from error


def _told(error: Exception) -> bool:
    """Is it an error whose message says all?"""
    from naiad_eventlog import EventLogError
    from naiad_store import StoreError

    return isinstance(error, StoreError | EventLogError | ValueError | OSError)
