"""What one sink has still to be told. The queue is the store; here is only its front."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from naiad_consumers.alerter.engine import Notice
from naiad_consumers.alerter.marks import Marks
from naiad_consumers.alerter.occurrence import Event, from_row
from naiad_consumers.alerter.sinks import Refused, Sink, Unreachable
from naiad_store import Store
from naiad_store.selects import alerts as selects

log = logging.getLogger(__name__)

# Notices held in memory; more wait in the store until these are through.
MAX_WAITING = 1000
# Sent at the same time; of one occurrence one event, so that they stay in order.
_LANES = 4
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0


@dataclass
class _Waiting:
    notice: Notice
    taken: bool = False
    attempts: int = 0
    refusals: int = 0
    # Why it was given up.
    detail: str = ""


class Outbox:
    """Sends notices until each is taken or refused, and marks that."""

    def __init__(self, sink: Sink, store: Store, marks: Marks) -> None:
        self.sink = sink
        self._store = store
        self._marks = marks
        self._waiting: set[tuple[str, Event]] = set()
        # The notices of each occurrence, oldest first, and whose turn it is.
        self._notices: dict[str, deque[_Waiting]] = {}
        self._turns: asyncio.Queue[str] = asyncio.Queue()
        # More stands in the store than here: read it when these are through.
        self._more = False
        self._read = asyncio.Event()
        self._read.set()
        self._idle = asyncio.Event()
        self._down = False
        # Attempts since anything was taken.
        self._in_vain = 0

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
            for _ in range(_LANES):
                tasks.create_task(self._serve())
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
            notices = self._notices.setdefault(notice.occurrence.id, deque())
            notices.append(_Waiting(notice))
            if len(notices) == 1:
                self._turns.put_nowait(notice.occurrence.id)

    def _look_if_through(self) -> None:
        if self._waiting:
            return
        if self._more:
            self._read.set()
        else:
            self._idle.set()

    async def _serve(self) -> None:
        while True:
            occurrence = await self._turns.get()
            notices = self._notices[occurrence]
            waiting = notices[0]
            pause = await self._try(waiting)
            if pause is None:
                notice = waiting.notice
                self._marks.add(
                    notice, self.sink.name, taken=waiting.taken, attempts=waiting.attempts,
                    detail=waiting.detail,
                )  # fmt: skip
                notices.popleft()
                self._waiting.discard((occurrence, notice.event))
                if not notices:
                    del self._notices[occurrence]
                self._look_if_through()
            if notices:
                # Behind the others: what a sink does not take must not hold up what it would.
                self._turns.put_nowait(occurrence)
            if pause is not None:
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _try(self, waiting: _Waiting) -> float | None:
        """Sends it once; returns how long to wait before the next attempt at anything, or None
        when this one is done with."""
        waiting.attempts += 1
        notice = waiting.notice
        told = 0.0
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
            told = error.retry_after or 0.0
        except Refused as error:
            waiting.refusals += 1
            if waiting.refusals >= self.sink.attempts:
                log.error(
                    "alert %s (%s) is given up for %s after %d attempts: %s",
                    notice.occurrence.id,
                    notice.event,
                    self.sink.name,
                    waiting.attempts,
                    error,
                )
                waiting.detail = str(error)
                return None
        else:
            if self._down:
                log.warning("%s takes alerts again", self.sink.name)
            self._down, self._in_vain, waiting.taken = False, 0, True
            return None
        self._in_vain += 1
        pause = min(_FIRST_PAUSE * 2.0 ** min((self._in_vain - 1) // _LANES, 30), _LONGEST_PAUSE)
        return max(pause, told)
