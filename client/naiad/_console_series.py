"""A process's console as string series of its run: numbered lines, and who takes them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from naiad._console import ConsoleCapture
from naiad.spool.folder import RunMemory
from naiad_proto.steps import MICRO

if TYPE_CHECKING:
    from naiad.run import Run

# Line numbers are taken from the host's memory of the run in such portions, so that a process
# that is killed leaves a gap and its successor never overwrites its lines.
PORTION = 10_000


class NumberedLines:
    """Lines of some streams, step = line number, going on where the run's last process on this
    host ended."""

    def __init__(
        self,
        memory: RunMemory,
        paths: Mapping[str, str],
        write: Callable[[str, str, int, int], None],
    ) -> None:
        """`paths`: by stream. `write(path, text, micro-step, milliseconds)` may raise OSError."""
        self._memory = memory
        self._paths = dict(paths)
        self._write = write
        self.first = {name: memory.console_lines(path, PORTION) for name, path in paths.items()}
        self._next = dict(self.first)
        self._taken_until = {name: line + PORTION for name, line in self.first.items()}

    def take(self, stream: str, lines: list[tuple[int, int, str]]) -> None:
        """(number, Unix milliseconds, text) of each. Raises OSError where none can be kept."""
        if not lines:
            return
        path = self._paths[stream]
        last = lines[-1][0]
        while last >= self._taken_until[stream]:
            self._memory.console_lines(path, PORTION)
            self._taken_until[stream] += PORTION
        self._next[stream] = max(self._next[stream], last + 1)
        for line, at, text in lines:
            self._write(path, text, line * MICRO, at)

    def settle(self) -> None:
        """Gives back the numbers that were taken ahead, if there is room to say so."""
        with contextlib.suppress(OSError):
            for stream, path in self._paths.items():
                self._memory.settle_console_lines(path, self._next[stream])


class ConsoleSeries:
    """What this process prints through sys.stdout and sys.stderr."""

    def __init__(self, run: Run, memory: RunMemory, paths: Mapping[str, str]) -> None:
        self._run = run
        self._left = False
        self._lines = NumberedLines(memory, paths, self._write)
        self._capture = ConsoleCapture(self._take, self._lines.first)

    def start(self) -> None:
        self._capture.start()

    def flush(self) -> None:
        """Hands over also the line that is not ended yet."""
        self._capture.flush()

    def stop(self) -> None:
        self._capture.stop()
        self._lines.settle()

    def leave(self) -> None:
        """In a forked child: its prints are nobody's lines."""
        self._left = True
        self._capture.leave()

    def wait(self, what: str, seconds: float | None) -> bool:
        """Its lines are in the run's own spool, for which the run waits."""
        return True

    def _take(self, stream: str, lines: list[tuple[int, int, str]]) -> None:
        if not self._left and self._run._session is not None:
            self._lines.take(stream, lines)

    def _write(self, path: str, text: str, step: int, at: int) -> None:
        session = self._run._session
        assert session
        try:
            session.spool.string(path, text, step, at)
        except OSError as error:
            if not session.closed:
                session.lose(error)
