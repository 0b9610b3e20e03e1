"""A bound on the bytes of batches that are being received and taken at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from naiad_eventlog.room import Room
from naiad_ingest.errors import Refused
from naiad_ingest.metrics import IN_FLIGHT_BYTES
from naiad_proto.limits import TARGET_BATCH_BYTES

# Batches wait here for the log's sync: enough for a slow disk and many shippers, and a
# small part of the memory of any machine that runs a server.
MAX_BYTES_IN_FLIGHT = 256 * 1024 * 1024
# So many calls wait for their turn, so many seconds each; more are told to come later. Meanwhile
# one has sent what its stream's window lets through, 64 KiB (naiad_ingest.options).
_MOST_WAITING = 1000
_WAIT_SECONDS = 2.0
_RETRY_AFTER = 0.5


class Entry:
    """A place for one batch."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = TARGET_BATCH_BYTES
        IN_FLIGHT_BYTES.inc(self._size)

    def received(self, size: int) -> None:
        """The batch is there and has so many bytes."""
        self._room.exchange(self._size, size)
        IN_FLIGHT_BYTES.inc(size - self._size)
        self._size = size

    def leave(self) -> None:
        self._room.give(self._size)
        IN_FLIGHT_BYTES.dec(self._size)


class Admission:
    """For use within one event loop.

    How large a batch is shows when it was received. Until then it counts as large as shippers
    make them at the most; what is larger, up to a message's limit, exceeds the bound by that.
    One is always let in, so that a bound below its size doesn't bar it for ever.
    """

    def __init__(
        self,
        max_bytes: int = MAX_BYTES_IN_FLIGHT,
        *,
        most_waiting: int = _MOST_WAITING,
        wait_seconds: float = _WAIT_SECONDS,
    ) -> None:
        self._max_bytes = max_bytes
        self._most_waiting = most_waiting
        self._wait_seconds = wait_seconds
        self._room = Room(max_bytes)

    @property
    def bytes_in_flight(self) -> int:
        return self._room.taken

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return self._room.waiting

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[Entry]:
        """To be entered before a batch is received. Raises Refused when too many wait for that,
        or this one has waited for too long."""
        if self._room.waiting >= self._most_waiting:
            raise self._refusal()
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._room.take(TARGET_BATCH_BYTES)
        except TimeoutError:
            raise self._refusal() from None
        entry = Entry(self._room)
        try:
            yield entry
        finally:
            entry.leave()

    def _refusal(self) -> Refused:
        return Refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"the server is taking {self._room.taken:,} bytes of batches already, of"
            f" {self._max_bytes:,} that it may hold, and {self._room.waiting:,} calls wait. Send"
            " it again later",
            retry_after=_RETRY_AFTER,
        )
