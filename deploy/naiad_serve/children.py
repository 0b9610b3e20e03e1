"""Programs that run beside the server: started, watched, restarted, ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

# How long a child may take to end by itself after SIGTERM.
_GRACE = 5.0
_LONGEST_PAUSE = 30.0


class Child:
    """One program, kept running until `stop`.

    It gets a new start after each end, after a pause that doubles while it keeps
    failing early; what it says goes to our stderr, with `quiet` only its errors.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        quiet: bool = False,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._quiet = quiet
        self._environment = {**os.environ, **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Raises OSError when the program can't be started at all."""
        await self._spawn()
        self._watcher = asyncio.create_task(self._watch(), name=f"watch {self.name}")

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL for one that doesn't listen. Idempotent."""
        self._stopping = True
        if self._watcher:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _GRACE)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _spawn(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "naiad_serve.child",
            str(os.getpid()),
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            # stdout belongs to the ready line alone, so that scripts can read it.
            stdout=asyncio.subprocess.DEVNULL if self._quiet else sys.stderr.fileno(),
            env=self._environment,
            # Ctrl-C goes to a terminal's whole foreground group; the order of ending is ours.
            start_new_session=True,
        )

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        pause = 0.5
        while not self._stopping:
            assert self._process is not None
            began = loop.time()
            code = await self._process.wait()
            pause = 0.5 if loop.time() - began > 60 else min(pause * 2, _LONGEST_PAUSE)
            log.warning(
                "%s ended with status %s; starting it again in %.0f s", self.name, code, pause
            )
            await asyncio.sleep(pause)
            try:
                await self._spawn()
            except OSError as error:
                log.error("%s can't be started: %s", self.name, error)
