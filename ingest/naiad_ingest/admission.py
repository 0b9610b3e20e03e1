"""A bound on the bytes of batches that are being taken at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from naiad_ingest.errors import Refused
from naiad_ingest.metrics import IN_FLIGHT_BYTES

# Batches wait here for the log's sync: enough for a slow disk and many shippers, and a
# small part of the memory of any machine that runs a server.
MAX_BYTES_IN_FLIGHT = 256 * 1024 * 1024
_RETRY_AFTER = 0.5


class Admission:
    """For use within one event loop."""

    def __init__(self, max_bytes: int = MAX_BYTES_IN_FLIGHT) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0

    @property
    def bytes_in_flight(self) -> int:
        return self._bytes

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Counts `size` bytes while inside; raises Refused when they'd be too many.

        One batch is always let in, so that a bound below its size doesn't bar it for ever.
        """
        if self._bytes and self._bytes + size > self._max_bytes:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"the server is taking {self._bytes:,} bytes of batches already; it may hold"
                f" {self._max_bytes:,}. Send it again later",
                retry_after=_RETRY_AFTER,
            )
        self._bytes += size
        IN_FLIGHT_BYTES.inc(size)
        try:
            yield
        finally:
            self._bytes -= size
            IN_FLIGHT_BYTES.dec(size)
