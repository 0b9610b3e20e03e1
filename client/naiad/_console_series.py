"""A process's console as two string series of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naiad._console import ConsoleCapture
from naiad.spool.folder import RunMemory
from naiad_proto.steps import MICRO

if TYPE_CHECKING:
    from naiad.run import Run

# Line numbers are taken from the host's memory of the run in such portions, so that a process
# that is killed leaves a gap and its successor never overwrites its lines.
PORTION = 10_000
STREAMS = ("stdout", "stderr")


class ConsoleSeries:
    """`<namespace>/stdout` and `/stderr`, step = line number, going on where the run's last
    process on this host ended. `suffix` is what tells several processes' series apart."""

    def __init__(self, run: Run, memory: RunMemory, namespace: str, suffix: str) -> None:
        self._run = run
        self._memory = memory
        self._paths = {stream: f"{namespace}/{stream}{suffix}" for stream in STREAMS}
        first = {name: memory.console_lines(path, PORTION) for name, path in self._paths.items()}
        self._next = dict(first)
        self._taken_until = {name: line + PORTION for name, line in first.items()}
        self._left = False
        self._capture = ConsoleCapture(self._take, first)

    def start(self) -> None:
        self._capture.start()

    def flush(self) -> None:
        """Hands over also the line that is not ended yet."""
        self._capture.flush()

    def stop(self) -> None:
        self._capture.stop()
        for stream, path in self._paths.items():
            self._memory.settle_console_lines(path, self._next[stream])

    def leave(self) -> None:
        """In a forked child: its prints are nobody's lines."""
        self._left = True
        self._capture.leave()

    def _take(self, stream: str, lines: list[tuple[int, int, str]]) -> None:
        session = self._run._session
        if self._left or session is None or not lines:
            return
        path = self._paths[stream]
        last = lines[-1][0]
        while last >= self._taken_until[stream]:
            self._memory.console_lines(path, PORTION)
            self._taken_until[stream] += PORTION
        for line, at, text in lines:
            try:
                session.spool.string(path, text, line * MICRO, at)
            except OSError as error:
                if not session.closed:
                    session.lose(error)
        self._next[stream] = max(self._next[stream], last + 1)
