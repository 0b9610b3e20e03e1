"""Takes what a process prints, line by line, and lets it through unchanged."""

from __future__ import annotations

import codecs
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from naiad_proto.limits import MAX_STRING_BYTES

# stream, then (line number, Unix milliseconds, text) of each line.
Sink = Callable[[str, list[tuple[int, int, str]]], None]

STREAMS = ("stdout", "stderr")
# Characters of one line; each takes up to four bytes.
MAX_LINE = MAX_STRING_BYTES // 4
# Text with its end, which is "\n", "\r" or the end of all; other separators are text here.
_PIECE = re.compile(r"[^\r\n]*[\r\n]|[^\r\n]+")


class LineCutter:
    """Text in any pieces, cut into lines. A carriage return goes back to the line's beginning,
    so of a progress bar only the last state is left; escape sequences stay as they are."""

    def __init__(self, first_line: int = 0) -> None:
        self._next = first_line
        self._line = ""
        # A "\r" was seen and what follows tells what it means.
        self._returned = False

    def feed(self, text: str) -> list[tuple[int, str]]:
        """(number, text) of each line that is complete."""
        done = []
        for piece in _PIECE.findall(text):
            body, end = piece.rstrip("\r\n"), piece[-1]
            if body:
                # After a "\r", text is written over what stood there.
                self._line = body if self._returned else self._line + body
                self._returned = False
            while len(self._line) > MAX_LINE:
                done.append(self._cut(self._line[:MAX_LINE]))
                self._line = self._line[MAX_LINE:]
            if end == "\n":
                done.append(self._cut(self._line))
                self._line, self._returned = "", False
            elif end == "\r":
                self._returned = True
        return done

    def flush(self) -> list[tuple[int, str]]:
        """The line that is not ended yet, if there is something in it."""
        if not self._line:
            return []
        line, self._line, self._returned = self._line, "", False
        return [self._cut(line)]

    def _cut(self, text: str) -> tuple[int, str]:
        number = self._next
        self._next += 1
        # A lone surrogate can't travel; the terminal got it as it was.
        return number, text.encode("utf-8", "replace").decode()


class _Tee:
    """Stands for a stream: everything goes to the stream, and what is written also to us."""

    def __init__(self, capture: ConsoleCapture, name: str, stream: TextIO) -> None:
        self._naiad = (capture, name, stream)

    def write(self, text: str) -> int:
        capture, name, stream = self._naiad
        written = stream.write(text)
        capture.take(name, text)
        return written

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    @property
    def buffer(self) -> Any:
        capture, name, stream = self._naiad
        return _Bytes(capture, name, stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._naiad[2], name)

    def __iter__(self) -> Any:
        return iter(self._naiad[2])

    def __next__(self) -> str:
        return next(self._naiad[2])

    def __enter__(self) -> _Tee:
        return self

    def __exit__(self, *exception: object) -> None:
        # `with sys.stdout:` would close the process's own.
        self._naiad[2].flush()


class _Bytes:
    """`sys.stdout.buffer`, for those who write bytes."""

    def __init__(self, capture: ConsoleCapture, name: str, stream: TextIO) -> None:
        self._naiad = (capture, name, stream)

    def write(self, data: Any) -> int:
        capture, name, stream = self._naiad
        stream.flush()
        written: int = stream.buffer.write(data)
        capture.take_bytes(name, bytes(data))
        return written

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._naiad[2].buffer, name)


class ConsoleCapture:
    """Gives every line of sys.stdout and sys.stderr to `sink`. Several may stand on each other;
    one that is stopped beneath another lets everything through and takes nothing.

    Nothing that goes wrong here is raised into a print.
    """

    def __init__(self, sink: Sink, first_line: Mapping[str, int]) -> None:
        """`first_line`: number of the first line, by stream."""
        self._sink = sink
        self._cutters = {name: LineCutter(first_line.get(name, 0)) for name in STREAMS}
        self._decoders = {
            name: codecs.getincrementaldecoder("utf-8")("replace") for name in STREAMS
        }
        self._tees: dict[str, _Tee] = {}
        self._guard = threading.RLock()
        # What the sink itself prints must not come back to it.
        self._within = threading.local()
        self._running = False

    def start(self) -> None:
        self._running = True
        for name in STREAMS:
            stream = getattr(sys, name)
            # None where there is no console, as under pythonw.
            if stream is not None:
                self._tees[name] = _Tee(self, name, stream)
                setattr(sys, name, self._tees[name])

    def stop(self) -> None:
        """Hands over what is left and puts the streams back, unless others stand on ours."""
        self.flush()
        self._running = False
        for name, tee in self._tees.items():
            if getattr(sys, name) is tee:
                setattr(sys, name, tee._naiad[2])
        self._tees.clear()

    def leave(self) -> None:
        """In a forked child: lets everything through from now on. Takes no lock, since another
        thread of the parent may have held it at the fork."""
        self._running = False
        self._guard = threading.RLock()

    def flush(self) -> None:
        """Hands over also lines that are not ended yet."""
        for name in STREAMS:
            try:
                with self._guard:
                    self._give(name, self._cutters[name].flush())
            except Exception:
                continue

    def take(self, name: str, text: str) -> None:
        """What was written to a stream."""
        if not self._running or getattr(self._within, "sink", False):
            return
        try:
            with self._guard:
                self._give(name, self._cutters[name].feed(str(text)))
        except Exception:
            # A print must go on, whatever it is.
            return

    def take_bytes(self, name: str, data: bytes) -> None:
        self.take(name, self._decoders[name].decode(data))

    def _give(self, name: str, lines: list[tuple[int, str]]) -> None:
        if not lines:
            return
        at = time.time_ns() // 1_000_000
        self._within.sink = True
        try:
            self._sink(name, [(number, at, text) for number, text in lines])
        finally:
            self._within.sink = False
