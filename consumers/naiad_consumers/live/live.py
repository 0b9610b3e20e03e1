"""The consumer: from the log to Redis."""

from __future__ import annotations

import asyncio

from naiad_consumers import metrics
from naiad_consumers.live.gathering import Gathering
from naiad_consumers.live.mirror import Mirror
from naiad_eventlog import EventLog, TopicPartition
from naiad_eventlog.topics import RECORDS
from naiad_state import State

GROUP = "naiad.live"

_WAIT = 0.2
# Seconds between two writes to Redis: a value of a fast run is written once, not per batch.
_WRITE_EVERY = 0.25
# Nothing is lost by reading some of the log again.
_COMMIT_EVERY = 2.0
# Seconds that a stop spends on reading the rest of the log.
_DRAIN = 5.0


class Live:
    """Reads the log as one member of its group and keeps the copy in Redis current."""

    def __init__(self, log: EventLog, state: State) -> None:
        """`state` stays open, which is its maker's to close."""
        self._log = log
        self._state = state

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop`, then reads the rest of the log, writes and commits.

        Raises what the log raises, never what Redis does.
        """
        gathering, mirror = Gathering(), Mirror(self._state)
        loop = asyncio.get_running_loop()
        offsets: dict[TopicPartition, int] = {}
        # The hand-over comes from the log's own task, also in the middle of a write: what that
        # one takes for standing in Redis is not forgotten before it ends, and it may be older
        # than what the hand-over writes.
        writing = asyncio.Lock()

        async def write() -> None:
            gathering.put_back(await mirror.write(gathering.take()))

        async def hand_over() -> dict[TopicPartition, int]:
            """Before another member takes partitions over, whose writes this one won't see."""
            async with writing:
                await write()
                mirror.forget()
            dealt_with = dict(offsets)
            offsets.clear()
            return dealt_with

        write_at = commit_at = loop.time()
        drain_until: float | None = None
        tried = True
        async with await self._log.subscribe(
            RECORDS.name, GROUP, on_revoke=hand_over
        ) as subscription:
            while True:
                if stop.is_set() and drain_until is None:
                    drain_until = loop.time() + _DRAIN
                wait = _WAIT if drain_until is None else 0.0
                records = await subscription.poll(
                    wait=min(wait, max(0.0, write_at - loop.time())) if gathering else wait
                )
                metrics.RECORDS.labels(GROUP).inc(len(records))
                for record in records:
                    gathering.add(record)
                    offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
                    tried = False
                over = drain_until is not None and (not records or loop.time() > drain_until)
                if gathering and (over or loop.time() >= write_at):
                    async with writing:
                        await write()
                    tried = True
                    write_at = loop.time() + _WRITE_EVERY
                # What Redis doesn't take now waits here: that is no reason to read it again.
                if offsets and (over or ((tried or not gathering) and loop.time() >= commit_at)):
                    await subscription.commit(offsets)
                    offsets.clear()
                    commit_at = loop.time() + _COMMIT_EVERY
                if over:
                    return
