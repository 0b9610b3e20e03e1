"""A real HTTP server that takes alerts, or doesn't."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support_naiad import LONGER


@dataclass
class Receiver:
    """`answer(body)` gives the status of each request; every request is in `seen`, what was
    answered with 200 in `taken`."""

    answer: Callable[[dict[str, Any]], int] = lambda body: 200
    seen: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/alerts"

    def ids(self, state: str = "firing") -> list[str]:
        return [body["id"] for body in self.taken if body["state"] == state]

    def wait(self, condition: Callable[[Receiver], object], what: str, seconds: float = 30) -> None:
        """Until the condition holds; fails with what was seen when it doesn't."""
        seconds *= LONGER
        with self._changed:
            came = self._changed.wait_for(lambda: bool(condition(self)), seconds)
        assert came, f"not within {seconds:g} s: {what}; seen: {self.seen}"

    def _handle(self, body: dict[str, Any], headers: dict[str, str]) -> int:
        with self._changed:
            status = self.answer(body)
            self.seen.append(body)
            self.headers.append(headers)
            if status == 200:
                self.taken.append(body)
            self._changed.notify_all()
        return status


@contextlib.contextmanager
def running_receiver(
    answer: Callable[[dict[str, Any]], int] = lambda body: 200, *, port: int = 0
) -> Iterator[Receiver]:
    """On a free port, or on one that was free a moment ago."""
    receiver = Receiver(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = receiver._handle(body, dict(self.headers))
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "2")
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
