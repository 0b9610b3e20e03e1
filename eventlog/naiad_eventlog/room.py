"""A bound on the bytes that are under way, with those who wait in order."""

from __future__ import annotations

import asyncio
import collections


class Room:
    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0
        self._waiting: collections.deque[tuple[int, asyncio.Future[None]]] = collections.deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def take(self, size: int) -> None:
        """Returns when there is room, first come first served. One alone always has room.

        May be cancelled while it waits, and then takes none.
        """
        if not self._waiting and self._fits(size):
            self.taken += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(size)
            else:
                if entry in self._waiting:
                    self._waiting.remove(entry)
                # Smaller ones may have stood behind it.
                self._call()
            raise

    def give(self, size: int) -> None:
        self.taken -= size
        self._call()

    def exchange(self, size: int, other: int) -> None:
        """What took `size` turns out to need `other`, and keeps it in either case."""
        self.taken += other - size
        self._call()

    def _call(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.cancelled():
                self.taken += size
                turn.set_result(None)

    def _fits(self, size: int) -> bool:
        return not self.taken or self.taken + size <= self._most
