"""What one sink has still to be told. The queue is the store; here is only its front."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable

from naiad_consumers.alerter.engine import Notice
from naiad_consumers.alerter.marks import Marks
from naiad_consumers.alerter.occurrence import Event, from_row
from naiad_consumers.alerter.sinks import Refused, Sink, Unreachable
from naiad_store import Store
from naiad_store.selects import alerts as selects

log = logging.getLogger(__name__)

# Notices held in memory; more wait in the store until these are through.
MAX_WAITING = 1000
# Sent at the same time. An occurrence keeps to one lane, so its events stay in order.
_LANES = 4
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0


class Outbox:
    """Sends notices until each is taken or refused, and marks that."""

    def __init__(self, sink: Sink, store: Store, marks: Marks) -> None:
        self.sink = sink
        self._store = store
        self._marks = marks
        self._waiting: set[tuple[str, Event]] = set()
        self._lanes: list[asyncio.Queue[Notice]] = [asyncio.Queue() for _ in range(_LANES)]
        # More stands in the store than here: read it when these are through.
        self._more = False
        self._read = asyncio.Event()
        self._read.set()
        self._idle = asyncio.Event()
        self._down = False

    def offer(self, notices: Iterable[Notice]) -> None:
        """Notices that are in the store already. Never waits."""
        for notice in notices:
            if self.sink.name not in notice.occurrence.sinks:
                continue
            if self._read.is_set() or self._more or len(self._waiting) >= MAX_WAITING:
                self._more = True
            else:
                self._put(notice)

    async def run(self) -> None:
        """Sends until cancelled. Raises what the store raises."""
        async with asyncio.TaskGroup() as tasks:
            for lane in self._lanes:
                tasks.create_task(self._serve(lane))
            tasks.create_task(self._refill())

    @property
    def down(self) -> bool:
        """Whether the last attempt found nobody who would take anything."""
        return self._down

    async def idle(self) -> None:
        """Returns when there is nothing to send."""
        await self._idle.wait()

    async def _refill(self) -> None:
        while True:
            await self._read.wait()
            # Only what nobody has sent yet: what was sent a moment ago must be marked.
            await self._marks.flush()
            self._more = False
            rows = await asyncio.to_thread(
                selects.undelivered, self._store, self.sink.name, MAX_WAITING
            )
            self._more |= len(rows) == MAX_WAITING
            self._read.clear()
            for row in rows:
                self._put(Notice(from_row(row), Event(row["event"])))
            self._look_if_through()

    def _put(self, notice: Notice) -> None:
        key = (notice.occurrence.id, notice.event)
        if key not in self._waiting:
            self._waiting.add(key)
            self._idle.clear()
            self._lanes[int(notice.occurrence.id, 16) % _LANES].put_nowait(notice)

    def _look_if_through(self) -> None:
        if self._waiting:
            return
        if self._more:
            self._read.set()
        else:
            self._idle.set()

    async def _serve(self, lane: asyncio.Queue[Notice]) -> None:
        while True:
            notice = await lane.get()
            taken, attempts, detail = await self._send(notice)
            self._marks.add(notice, self.sink.name, taken=taken, attempts=attempts, detail=detail)
            self._waiting.discard((notice.occurrence.id, notice.event))
            self._look_if_through()

    async def _send(self, notice: Notice) -> tuple[bool, int, str]:
        """Whether it was taken, after how many attempts, and if not, why."""
        attempts = refusals = 0
        while True:
            attempts += 1
            pause = min(_FIRST_PAUSE * 2.0 ** min(attempts - 1, 30), _LONGEST_PAUSE)
            try:
                await self.sink.send(notice)
            except Unreachable as error:
                if not self._down:
                    self._down = True
                    log.warning(
                        "alerts for %s wait in the store until it can be reached: %s",
                        self.sink.name,
                        error,
                    )
                pause = max(pause, error.retry_after or 0.0)
            except Refused as error:
                refusals += 1
                if refusals >= self.sink.attempts:
                    log.error(
                        "alert %s (%s) is given up for %s after %d attempts: %s",
                        notice.occurrence.id,
                        notice.event,
                        self.sink.name,
                        attempts,
                        error,
                    )
                    return False, attempts, str(error)
            else:
                if self._down:
                    self._down = False
                    log.warning("%s takes alerts again", self.sink.name)
                return True, attempts, ""
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
