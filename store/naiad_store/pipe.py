"""A pipe between an engine that writes into a file and who reads what it writes."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator

# At a time; as much as a pipe holds.
_PIECE_BYTES = 1 << 16


class Pipe:
    """Holds up who writes for as long as nobody reads. `close` and `end` are for any thread."""

    def __init__(self) -> None:
        self._source, self._sink = os.pipe()
        # Wakes who reads, since a descriptor must not be closed below its read.
        self._woken, self._wake = os.pipe()
        self._guard = threading.Lock()
        self._reading = self._closed = self._ended = False

    @property
    def path(self) -> str:
        """Who opens it writes into the pipe."""
        return f"/dev/fd/{self._sink}"

    @property
    def closed(self) -> bool:
        return self._closed

    def pieces(self) -> Iterator[bytes]:
        """What is written, until `end` was called and all that wrote have closed; or `close`."""
        while piece := self._piece():
            yield piece

    def _piece(self) -> bytes:
        with self._guard:
            if self._closed:
                return b""
            self._reading = True
        try:
            poll = select.poll()
            for descriptor in (self._source, self._woken):
                poll.register(descriptor, select.POLLIN)
            ready = {descriptor for descriptor, _ in poll.poll()}
            return os.read(self._source, _PIECE_BYTES) if self._woken not in ready else b""
        finally:
            with self._guard:
                self._reading = False
                if self.closed:
                    self._release()

    def end(self) -> None:
        """Nothing more is written. Idempotent."""
        with self._guard:
            if not self._ended:
                self._ended = True
                os.close(self._sink)

    def close(self) -> None:
        """Nothing more is read: what is written from now on fails. Idempotent."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            if self._reading:
                os.write(self._wake, b".")
            else:
                self._release()

    def _release(self) -> None:
        for descriptor in (self._source, self._woken, self._wake):
            os.close(descriptor)
