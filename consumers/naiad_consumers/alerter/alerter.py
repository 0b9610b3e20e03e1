"""The consumer: from the log to the rules, and from there to whom it concerns."""

from __future__ import annotations

import asyncio
import logging

from naiad_consumers import metrics
from naiad_consumers.alerter.config import AlertConfig
from naiad_consumers.alerter.delivery import Delivery
from naiad_consumers.alerter.engine import Engine
from naiad_consumers.alerter.lead import Lead
from naiad_consumers.writer import GROUP as WRITER
from naiad_eventlog import EventLog, TopicPartition
from naiad_eventlog.topics import RECORDS
from naiad_store import Store

log = logging.getLogger(__name__)

GROUP = "naiad.alerter"

# Seconds that a poll waits: how late silence is noticed and a stop is heard, at the most.
_WAIT = 0.2
_MAX_RECORDS = 200
_MAX_BYTES = 32 * 1024 * 1024
# How long ago the log may have said that there is no more, in seconds.
_FRESH = 2.0
# Replays are harmless, so commits needn't follow every poll.
_COMMIT_EVERY = 1.0
# Seconds that a stop spends on reading the rest of the log.
_DRAIN = 10.0


class Alerter:
    """Reads the log, watches, remembers and tells, or stands by while another one does.

    Offsets are committed after what they raised is in the store.
    """

    def __init__(self, log: EventLog, store: Store, config: AlertConfig | None = None) -> None:
        self._log = log
        self._store = store
        self._config = config or AlertConfig()

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop`, then reads the rest of the log, commits, and gives the sinks
        a moment. What they didn't take by then waits in the store for the next start.

        Raises what the log or the store raises; a new Alerter goes on from the last commit.
        """
        async with Lead(self._log) as lead:
            while await lead.wait(stop):
                try:
                    await self._watch(stop, lead)
                finally:
                    lead.rest()
                if stop.is_set():
                    break

    async def _watch(self, stop: asyncio.Event, lead: Lead) -> None:
        """Until `stop` or the lead is another's."""
        engine = Engine(self._store, self._config)
        loop = asyncio.get_running_loop()
        async with (
            await self._log.subscribe(RECORDS.name, GROUP) as subscription,
            Delivery(self._store, self._config) as delivery,
        ):
            committed = {
                p.partition: offset for p, offset in (await subscription.committed()).items()
            }
            ends = {p.partition: o for p, o in (await self._log.end_offsets(RECORDS.name)).items()}
            delivery.offer(await asyncio.to_thread(engine.start, committed, ends))
            offsets: dict[TopicPartition, int] = {}
            commit_at = loop.time() + _COMMIT_EVERY
            drain_until: float | None = None
            while True:
                if stop.is_set() and drain_until is None:
                    drain_until = loop.time() + _DRAIN
                records = await subscription.poll(
                    max_records=_MAX_RECORDS,
                    max_bytes=_MAX_BYTES,
                    wait=_WAIT if drain_until is None else 0.0,
                )
                if not await lead.stands():
                    # What was just polled, the next one reads.
                    if offsets:
                        await subscription.commit(offsets)
                    return
                metrics.RECORDS.labels(GROUP).inc(len(records))
                known = subscription.caught_up()
                # While the log doesn't answer nobody can be heard, and while draining nobody can
                # be any more.
                hearing = bool(records) or any(ago < _FRESH for ago in known.values())
                caught_up = (
                    drain_until is None
                    and known.keys() == subscription.owned
                    and all(ago < _FRESH for ago in known.values())
                )
                stored = None
                if engine.asks_what_is_stored:
                    said = await self._log.committed(RECORDS.name, WRITER)
                    stored = {where.partition: offset for where, offset in said.items()}
                notices = await asyncio.to_thread(
                    engine.work, records, caught_up=caught_up, hearing=hearing, stored=stored
                )
                delivery.offer(notices)
                for record in records:
                    offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
                over = drain_until is not None and (not records or loop.time() > drain_until)
                if offsets and (over or loop.time() >= commit_at):
                    await subscription.commit(offsets)
                    offsets.clear()
                    commit_at = loop.time() + _COMMIT_EVERY
                if over:
                    return
