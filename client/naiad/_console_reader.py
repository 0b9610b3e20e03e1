"""A process that stands between a training and its terminal: passes every byte on at once, and
keeps the lines in a spool of its own. Started by naiad._console_fd, with a JSON object as its
argument; ends when nobody can write to it any more.

It has to read before the package is imported, which takes a moment, or the training would wait.
So this file begins with the standard library alone; a thread does the rest.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import signal
import sys
import threading
import time
from typing import Any

# What waits to be spooled; beyond, lines are left out and counted. The terminal gets all.
MOST_WAITING = 64 * 1024 * 1024
_PIECE = 65536
# How often the size of a terminal is looked at, in seconds.
_SIZE_SECONDS = 0.25


class Waiting:
    """Pieces on their way from the copying to the spooling thread, bounded in bytes."""

    def __init__(self) -> None:
        self._pieces: queue.SimpleQueue[tuple[str, int, bytes]] = queue.SimpleQueue()
        self._bytes = 0
        self._guard = threading.Lock()
        self.left_out = 0

    def put(self, name: str, data: bytes) -> None:
        with self._guard:
            if self._bytes > MOST_WAITING:
                self.left_out += len(data)
                return
            self._bytes += len(data)
        self._pieces.put((name, time.time_ns() // 1_000_000, data))

    def order(self, order: str) -> None:
        self._pieces.put((order, 0, b""))

    def get(self) -> tuple[str, int, bytes]:
        piece = self._pieces.get()
        with self._guard:
            self._bytes -= len(piece[2])
        return piece


def main() -> None:
    # Whoever ends the training lets it have its last words; this ends with its pipes.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    what = json.loads(sys.argv[1])
    waiting = Waiting()
    spooling = threading.Thread(target=_spool, args=(what, waiting))
    spooling.start()
    try:
        _copy(what, waiting)
    finally:
        waiting.order("end")
        spooling.join()


def _copy(what: dict[str, Any], waiting: Waiting) -> None:
    names = {stream["from"]: stream for stream in what["streams"]}
    terminals = [s for s in what["streams"] if os.isatty(s["from"])]
    sources = {what["control"], *names}
    while names:
        ready, _, _ = select.select(sources, [], [], _SIZE_SECONDS if terminals else None)
        for terminal in terminals:
            _same_size(terminal)
        for source in ready:
            if source != what["control"] and not _piece(names[source], waiting):
                sources.discard(source)
                del names[source]
        if what["control"] in ready:
            orders = os.read(what["control"], 100)
            # What was written before the order is there by now.
            for stream in list(names.values()):
                while select.select([stream["from"]], [], [], 0)[0] and _piece(stream, waiting):
                    pass
            for order in orders.decode() or "s":
                waiting.order(order)
            if not orders:
                # The training is gone; children of it may still write.
                sources.discard(what["control"])


def _piece(stream: dict[str, Any], waiting: Waiting) -> bool:
    """Passes on what is there; False at the end."""
    try:
        data = os.read(stream["from"], _PIECE)
    except OSError:
        # How a pseudo-terminal ends.
        return False
    if data:
        _write(stream["to"], data)
        waiting.put(stream["name"], data)
    return bool(data)


def _write(target: int, data: bytes) -> None:
    """All of it, or none where the terminal is gone: the training must not feel it."""
    with contextlib.suppress(OSError):
        while data:
            try:
                data = data[os.write(target, data) :]
            except BlockingIOError:
                select.select([], [target], [])


def _same_size(terminal: dict[str, Any]) -> None:
    with contextlib.suppress(Exception):
        import termios

        size = termios.tcgetwinsize(terminal["to"])
        if termios.tcgetwinsize(terminal["from"]) != size:
            termios.tcsetwinsize(terminal["from"], size)


# --- the thread that knows the package ---------------------------------------------------------


def _spool(what: dict[str, Any], waiting: Waiting) -> None:
    lines: Any = None
    try:
        from naiad._console_lines import SpooledConsole

        lines = SpooledConsole(what)
    except Exception as error:
        # The terminal goes on without being recorded.
        print(f"the console is not recorded: {error!r}", file=sys.stderr, flush=True)
    while True:
        name, at, data = waiting.get()
        try:
            if data and lines:
                lines.take(name, at, data)
            elif not data and lines:
                lines.flush()
                if name != "f":
                    lines.finish(waiting.left_out)
        except Exception as error:
            print(f"console lines are lost: {error!r}", file=sys.stderr, flush=True)
        if name == "end":
            return
        if not data:
            answer = {"to": name, "records": lines.records if lines else 0,
                      "spool": lines.folder if lines else ""}  # fmt: skip
            with contextlib.suppress(OSError):
                os.write(what["status"], json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
