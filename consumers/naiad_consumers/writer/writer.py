"""The loop: poll, decode, insert; then, for several blocks at once, say so and commit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from naiad_consumers import metrics
from naiad_consumers.writer.block import Block
from naiad_consumers.writer.changing import Changing, stretches
from naiad_consumers.writer.dead import DeadLetters
from naiad_consumers.writer.listening import Listening
from naiad_consumers.writer.marks import Marks
from naiad_consumers.writer.parsing import Parcel, Parsed, Poison, ReaderTooOld
from naiad_consumers.writer.pending import Pending
from naiad_consumers.writer.runbook import Life, RunBook
from naiad_consumers.writer.tenure import FIRST_EPOCH, take
from naiad_consumers.writer.writerbook import Spool, WriterBook
from naiad_eventlog import EventLog, EventLogError, Subscription, TopicPartition
from naiad_eventlog.topics import PROGRESS, RECORDS
from naiad_proto.v1 import records_pb2
from naiad_store import RowsRefused, Store, StoreUnavailable

log = logging.getLogger(__name__)

GROUP = "naiad.writer"

# A block is closed at about this many rows: larger ones gain little (2.4 M rows/s at
# 100,000, 3.0 M at 250,000 in the design's measurements).
BLOCK_ROWS = 250_000
# ... or this long after its first record, in seconds, so that a slow run is readable soon;
# the longer time while the block before it is still going in.
SHORTEST_WAIT = 0.1
LONGEST_WAIT = 0.5
# Rows of `series` and `writers`, progress and offsets wait this long for more, in seconds,
# while the log gives more ...
LONGEST_SILENCE = 1.0
# ... or, once it is drained, when they are more than this and a tenth of the other rows.
FEW_SERIES = 1000
# How often to look whether a block is in, in seconds.
_LOOK = 0.02
# How long the others of a group wait for what was polled to be stored, in seconds: less than
# the log lets a member take.
HANDING_OVER_SECONDS = 8.0
# A chunk of a block, in bytes.
_POLL_BYTES = 2 * 1024 * 1024
_LONGEST_PAUSE = 5.0

T = TypeVar("T")


class Writer:
    """The consumer that stores. `run` once per instance."""

    def __init__(
        self,
        log: EventLog,
        store: Store,
        *,
        block_rows: int = BLOCK_ROWS,
        marks: Marks | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`marks`: what it shares with the roller of this process. `clock`: Unix seconds, by which
        writers' silence is measured."""
        self._log = log
        self._store = store
        self._block_rows = block_rows
        self._marks = marks or Marks(store)
        self._dead = DeadLetters(log, GROUP)
        self._listening = Listening(clock)
        self._stop = asyncio.Event()
        # What follows is of one tenure: from one sharing out of the partitions to the next.
        self._generation = 0
        self._runs = RunBook(store)
        self._writers = WriterBook(store)
        self._pending = Pending(store, self._writers)
        # Of each partition, Unix seconds up to which all that was taken is stored.
        self._stored_to: dict[int, float] = {}
        # The group waits for our partitions, and for this.
        self._handing: asyncio.Future[Mapping[TopicPartition, int]] | None = None
        # What can be handed over at once, while nothing is under way but a question to the
        # group, which it may answer only when it has the partitions.
        self._at_rest: Mapping[TopicPartition, int] | None = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Stores until `stop`, then what it has polled, commits and returns.

        While the store is unavailable it waits and tries again. Raises ReaderTooOld and
        TooManyDeadLetters, StoreError when the store is broken, StoreUnavailable when it
        is still away at `stop`; nothing is committed for what was not stored.
        """
        self._stop = stop
        async with await self._log.subscribe(
            RECORDS.name, GROUP, on_revoke=self._hand_over
        ) as subscription:
            storing: asyncio.Task[None] | None = None
            try:
                ending: ReaderTooOld | None = None
                said = time.monotonic()
                while True:
                    if subscription.generation != self._generation:
                        if storing:
                            # A thread can't be called off.
                            await storing
                            storing = None
                        if stop.is_set():
                            break
                        await self._begin(subscription)
                        ending = None
                        continue
                    parcel = Parcel()
                    looked = self._listening.look()
                    # The next block is gathered while the last one goes in.
                    if not (ending or self._asked):
                        ending = await self._gather(subscription, parcel, storing)
                    if storing:
                        await storing
                        storing = None
                    if subscription.generation != self._generation:
                        # What was polled is another's, or comes again.
                        continue
                    if parcel.records:
                        storing = asyncio.create_task(self._store_parcel(parcel))
                    asked = self._asked
                    over = stop.is_set() or ending is not None
                    now = over or asked or time.monotonic() - said >= LONGEST_SILENCE
                    if now or self._may_say(drained=not parcel.records):
                        if storing and now:
                            await storing
                            storing = None
                        if not storing and self._pending.offsets:
                            # All that was polled is stored.
                            heard = self._caught_up(subscription, looked)
                            await self._say(subscription)
                            self._listening.heard(self._stored_to)
                            self._listening.heard(heard)
                            said = time.monotonic()
                    if asked and not asked.done():
                        asked.set_result({})
                    if over and not storing:
                        break
                    if not (parcel.records or storing or self._pending.offsets):
                        self._listening.heard(self._caught_up(subscription, looked))
                    if self._listening.due and not storing:
                        await self._patiently(lambda: self._listening.tell(self._store))
                if ending:
                    raise ending
            finally:
                self._at_rest = {}
                if self._asked:
                    self._asked.set_result({})
                if storing:
                    storing.cancel()
                    with contextlib.suppress(asyncio.CancelledError, Exception):
                        await storing

    # --- owning partitions ------------------------------------------------------------------

    async def _hand_over(self) -> Mapping[TopicPartition, int]:
        """Another one waits for partitions of ours: has the loop finish what it has polled."""
        if self._at_rest is not None:
            return self._at_rest
        handing: asyncio.Future[Mapping[TopicPartition, int]]
        handing = self._handing = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(HANDING_OVER_SECONDS):
                return await handing
        except TimeoutError:
            log.warning(
                "what was polled could not be stored within %g s, and the group waits: whose the"
                " partitions are next stores it again",
                HANDING_OVER_SECONDS,
            )
            return {}

    @property
    def _asked(self) -> asyncio.Future[Mapping[TopicPartition, int]] | None:
        return self._handing if self._handing and not self._handing.done() else None

    async def _begin(self, subscription: Subscription) -> None:
        """Begins anew with what the group has given us, at the group's offsets: nothing that
        was known or under way counts any more, since others may have had the partitions in
        between, and write rows of them, up to the moment at which we take the epoch."""
        self._at_rest = {}
        if self._asked:
            self._asked.set_result({})
        while not self._stop.is_set():
            generation, owned = subscription.generation, subscription.owned
            epoch = FIRST_EPOCH
            if owned:
                epoch = await self._patiently(partial(take, self._store, owned))
            if await subscription.confirm(generation):
                begins = await self._log.start_offsets(RECORDS.name)
                begins |= await subscription.committed()
                try:
                    for where in owned:
                        await subscription.seek(where, begins.get(where, 0))
                except EventLogError:
                    if subscription.generation == generation:
                        raise
                    continue
                break
            await asyncio.sleep(_LOOK)
        else:
            return
        numbers = [where.partition for where in owned]
        count = await self._log.partitions(RECORDS.name)
        await self._patiently(lambda: self._marks.begin(epoch, numbers, count))
        self._runs = RunBook(self._store)
        self._writers = WriterBook(self._store, epoch)
        self._pending = Pending(self._store, self._writers)
        self._stored_to = {}
        self._listening.begin(where.partition for where in owned)
        self._generation = generation
        self._at_rest = None

    def _caught_up(self, subscription: Subscription, looked: float) -> dict[int, float]:
        """Up to when, by partition, all that ingest took has been polled, where that is all
        that there is."""
        return {where.partition: looked - ago for where, ago in subscription.caught_up().items()}

    # --- storing ------------------------------------------------------------------------------

    def _may_say(self, *, drained: bool) -> bool:
        return drained and self._pending.series <= max(FEW_SERIES, self._pending.rows // 10)

    async def _gather(
        self, subscription: Subscription, parcel: Parcel, storing: asyncio.Task[None] | None
    ) -> ReaderTooOld | None:
        """Fills the parcel with a block's worth, or with what comes within a while of the
        first record and until the last block is in; returns the reason to stop when it met
        one."""
        first: float | None = None
        while not self._stop.is_set() and parcel.rows < self._block_rows:
            idle = storing is None or storing.done()
            age = 0.0 if first is None else time.monotonic() - first
            if age >= (SHORTEST_WAIT if idle else LONGEST_WAIT):
                break
            if first is None and storing and idle:
                # What it stored can be said.
                break
            wait = SHORTEST_WAIT - age if idle else _LOOK
            records = await subscription.poll(max_bytes=_POLL_BYTES, wait=max(wait, 0.001))
            if records:
                metrics.RECORDS.labels(GROUP).inc(len(records))
                first = first or time.monotonic()
                try:
                    await asyncio.to_thread(parcel.add, records)
                except ReaderTooOld as error:
                    return error
            elif first is None and storing is None:
                break
            if self._asked or subscription.generation != self._generation:
                break
        return None

    async def _store_parcel(self, parcel: Parcel) -> None:
        await self._dead.put(parcel.poison)
        for changes, records in stretches(parcel.parsed):
            if changes:
                await self._patiently(self._pending.flush)
                changing = Changing(self._store, self._runs, self._writers)
                await self._patiently(partial(self._change, changing, records))
            else:
                await self._store_records(records)
        self._pending.cover(parcel.records)
        self._stored_to |= parcel.received_until()

    async def _store_records(self, records: Sequence[Parsed]) -> None:
        """Stores the records; puts aside what the store refuses."""
        if not records:
            return
        try:
            block = await self._patiently(lambda: self._insert(records))
        except RowsRefused as error:
            if len(records) == 1:
                await self._put_aside([(records[0], str(error))])
                return
            # One of them it is. Rows commute, so the others can go in once more.
            log.warning("a block of %d records was refused: %s", len(records), error)
            half = len(records) // 2
            await self._store_records(records[:half])
            await self._store_records(records[half:])
            return
        await self._put_aside(block.refused)

    def _change(self, changing: Changing, records: Sequence[Parsed]) -> None:
        # Of a purged run nothing may be rolled behind its rows.
        with self._marks.resting():
            changing.apply(records)

    def _insert(self, records: Sequence[Parsed]) -> Block:
        block = Block(self._runs, self._writers, self._pending.projects, self._pending.paths)
        try:
            block.add(records)
            rows = 0
            with self._marks.inserting(block.touches):
                for table, part in block.tables():
                    metrics.insert(self._store, table, part)
                    rows += part.num_rows
        except BaseException:
            block.forget()
            raise
        block.settle()
        self._pending.take(block, rows)
        return block

    async def _put_aside(self, refused: Sequence[tuple[Parsed, str]]) -> None:
        """To the dead letters; the sender is told that it need not wait for them."""
        await self._dead.put([Poison(one.record, reason) for one, reason in refused])
        for one, reason in refused:
            batch = one.batch
            if not batch.HasField("records"):
                continue
            names = (batch.project, batch.run_id)
            life = await self._patiently(partial(self._life, *names, batch.epoch))
            spool = Spool(life.run, batch.writer_id, one.record.partition)
            await self._patiently(partial(self._writers.load, [(*names, spool)]))
            rejection = records_pb2.Rejection(
                reason=records_pb2.REJECTION_REASON_MALFORMED,
                record=batch.records.first,
                message=(
                    f"records {batch.records.first} to {batch.records.last} could not be"
                    f" stored and were put aside: {reason}"
                ),
            )
            row = self._writers.get(spool)
            self._writers.settle([row.refused(batch.records.first, batch.records.last, rejection)])

    def _life(self, project: str, run_id: str, epoch: int) -> Life:
        self._runs.load_lives([(project, run_id)])
        return self._runs.life(project, run_id, epoch)

    async def _say(self, subscription: Subscription) -> None:
        """Publishes what is stored, then commits, or hands over to be committed: a crash in
        between says it twice, the other order might never say it."""
        await self._patiently(self._pending.insert)
        await asyncio.gather(
            *(
                self._log.append(PROGRESS.name, key, value)
                for key, value in self._writers.progress().items()
            )
        )
        await asyncio.gather(
            *(self._log.append(PROGRESS.name, key, b"") for key in self._writers.outdated())
        )
        offsets = dict(self._pending.offsets)
        if subscription.generation != self._generation:
            # Not ours to say that they are dealt with: rows of somebody who had the partitions
            # in between may have won over those that stand for these.
            return
        if asked := self._asked:
            asked.set_result(offsets)
        else:
            self._at_rest = offsets
            try:
                await subscription.commit(offsets, generation=self._generation)
            finally:
                self._at_rest = None
        self._pending.clear()

    async def _patiently(self, work: Callable[[], T]) -> T:
        """`work` in a thread, since ingest and query share this loop; again and again
        while the store is unavailable."""
        pause = 0.1
        while True:
            try:
                return await asyncio.to_thread(work)
            except StoreUnavailable as error:
                if self._stop.is_set():
                    raise
                log.warning("the store can't be written to: %s; trying again", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
