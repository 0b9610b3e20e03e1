"""How long a log keeps its records, and the task that drops those past it.

Neither age nor size takes what a consumer group still needs: `EventLog.retain` stops at the
first record that a group has not committed. So a consumer that stands still makes the log
grow, which its lag and the log's size show, and loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from naiad_eventlog.interface import EventLog, EventLogError

log = logging.getLogger(__name__)

DEFAULT_HOURS = 168
# How often to look, in seconds: a small part of any time that one would keep records.
_EVERY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Retention:
    """What a log's URL says of it: `retention_hours` and `retention_bytes`."""

    hours: int = DEFAULT_HOURS
    # Of a topic, or of the whole file of the embedded log. None: only age counts.
    bytes: int | None = None


class Retainer:
    """Keeps `topics` of a log within its retention. Several may run at once, in any process."""

    def __init__(
        self,
        event_log: EventLog,
        topics: Mapping[str, Collection[str]],
        *,
        every: float = _EVERY_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`topics`: by name, groups that need all of it while they have committed nothing.
        `clock`: Unix seconds."""
        self._log = event_log
        self._topics = topics
        self._every = every
        self._clock = clock

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; what fails is said and tried again."""
        while not stop.is_set():
            await self.retain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._every)

    async def retain(self) -> int:
        """One round; returns how many records went."""
        retention = self._log.retention
        before = int((self._clock() - retention.hours * 3600) * 1000)
        gone = 0
        for topic, needed_by in self._topics.items():
            try:
                dropped = await self._log.retain(
                    topic, before=before, max_bytes=retention.bytes, needed_by=needed_by
                )
            except EventLogError as error:
                log.warning("old records of %s could not be dropped: %s", topic, error)
                continue
            if dropped:
                log.info("%d old records of %s were dropped", dropped, topic)
            gone += dropped
        return gone
