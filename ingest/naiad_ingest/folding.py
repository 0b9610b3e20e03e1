"""A topic read from its first record to its last, and then as it grows."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable

from google.protobuf.message import DecodeError

from naiad_eventlog import EventLog, EventLogError, Position, Record, StartFrom, Subscription

log = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
_REACH_SECONDS = 10.0
_START_SECONDS = 60.0


class Fold:
    """Hands every record of `topic` to `apply`, in the order of each partition, once.

    It reads in a consumer group of its own that commits nothing, so that every process has
    all partitions, and leaves no trace in the log.
    """

    def __init__(self, event_log: EventLog, topic: str, apply: Callable[[Record], None]) -> None:
        self._log = event_log
        self._topic = topic
        self._group = f"naiad.ingest.{topic}.{uuid.uuid4().hex}"
        self._apply = apply
        # Partition -> the offset after the last record applied.
        self._next: dict[int, int] = {}
        self._advanced = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Applies what the log has by now, then goes on in the background.

        Raises EventLogError when the topic isn't there, or can't be read to its end.
        """
        subscription = await self._subscribe()
        try:
            await self._catch_up(subscription)
        except BaseException:
            await subscription.close()
            raise
        self._task = asyncio.create_task(self._follow(subscription), name=f"fold of {self._topic}")

    async def reach(self, position: Position) -> None:
        """Returns when the record at `position`, or one after it, was applied.

        Raises EventLogError when the log doesn't come up with it.
        """
        try:
            async with asyncio.timeout(_REACH_SECONDS), self._advanced:
                await self._advanced.wait_for(
                    lambda: self._next.get(position.partition, 0) > position.offset
                )
        except TimeoutError as error:
            raise EventLogError(f"{position} could not be read back in time") from error

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _subscribe(self) -> Subscription:
        return await self._log.subscribe(self._topic, self._group, StartFrom.EARLIEST)

    async def _catch_up(self, subscription: Subscription) -> None:
        """A poll that gives nothing is no proof of the end: a member that stood still for long has
        no partitions for a moment."""
        partitions = (await self._log.end_offsets(self._topic)).keys()
        wait = 0.0
        try:
            async with asyncio.timeout(_START_SECONDS):
                while True:
                    records = await subscription.poll(wait=wait)
                    await self._take(records)
                    if not records and subscription.caught_up().keys() >= partitions:
                        return
                    wait = 0.0 if records else 0.2
        except TimeoutError as error:
            raise EventLogError(f"{self._topic} could not be read to its end in time") from error

    async def _follow(self, subscription: Subscription | None) -> None:
        while True:
            try:
                async with subscription or await self._subscribe() as reading:
                    while True:
                        await self._take(await reading.poll(wait=1.0))
            except EventLogError as error:
                # What was applied stays; what follows comes when the log is there again.
                log.warning("%s can't be read now: %s", self._topic, error)
            except Exception:
                # A fault of ours must not leave every later answer out of date.
                log.exception("%s can't be read; trying again", self._topic)
            subscription = None
            await asyncio.sleep(_RETRY_SECONDS)

    async def _take(self, records: list[Record]) -> None:
        if not records:
            return
        for record in records:
            # Read again after a new subscription: it must not set anything back.
            if record.offset < self._next.get(record.partition, 0):
                continue
            try:
                self._apply(record)
            except DecodeError as error:
                # Nothing of a user's data is in these topics, so the rest is what counts.
                log.error("The record at %s can't be read: %s", record.position, error)
            self._next[record.partition] = record.offset + 1
        async with self._advanced:
            self._advanced.notify_all()
