"""What git says of the code, within a bound of time and size, changing nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

# For all questions together: hooks, filters and network file systems can make any of them
# hang, and the end of a run waits for the answers.
GIT_SECONDS = 5.0
# Of an answer that is a line.
_LINE_BYTES = 65536

# Looking must not write, not even git's own index, nor ask for a password, nor start a daemon.
_OPTIONS = ("-c", "core.fsmonitor=false", "-c", "core.untrackedCache=keep")
_ENVIRONMENT = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}


class Git:
    """Of the repository around `folder`. Answers are None where there is no git, no repository,
    no such thing, or no time left."""

    def __init__(self, folder: Path, seconds: float = GIT_SECONDS) -> None:
        self._folder = folder
        self._seconds = seconds

    def line(self, *arguments: str) -> str:
        """Empty if there is no answer."""
        return (self.ask(*arguments) or b"").decode("utf-8", "replace").strip()

    def ask(self, *arguments: str, most: int = _LINE_BYTES) -> bytes | None:
        """At most one byte more than `most`, which tells that it is cut."""
        if self._seconds <= 0:
            return None
        begin = time.monotonic()
        try:
            return self._ask(arguments, most, begin + self._seconds)
        finally:
            self._seconds -= time.monotonic() - begin

    def _ask(self, arguments: Sequence[str], most: int, deadline: float) -> bytes | None:
        try:
            process = subprocess.Popen(
                ["git", *_OPTIONS, *arguments],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **_ENVIRONMENT},
                # A group of its own, so that what it started ends with it.
                start_new_session=True,
            )
        except (OSError, ValueError):
            return None
        assert process.stdout
        found = bytearray()
        # By a thread: a filter that hangs may hold the pipe whatever becomes of git.
        reader = threading.Thread(
            target=_read, args=(process.stdout, found, most + 1), daemon=True, name="naiad git"
        )
        reader.start()
        reader.join(deadline - time.monotonic())
        cut = len(found) > most
        try:
            if not cut and not reader.is_alive():
                status = process.wait(max(deadline - time.monotonic(), 0.1))
                return bytes(found) if status == 0 else None
        except subprocess.TimeoutExpired:
            pass
        _kill(process)
        return bytes(found) if cut else None


def _read(stream: IO[bytes], found: bytearray, most: int) -> None:
    with contextlib.suppress(OSError, ValueError), stream:
        while len(found) < most and (part := stream.read1(most - len(found))):  # type: ignore[attr-defined]
            found += part


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)
