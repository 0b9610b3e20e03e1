"""The loop: poll, decode, insert, commit, publish."""

from __future__ import annotations

import asyncio
import logging
import time

from naiad_consumers.writer.block import Block, Poison, ReaderTooOld
from naiad_consumers.writer.dead import DeadLetters
from naiad_consumers.writer.runbook import RunBook
from naiad_consumers.writer.writerbook import WriterBook, progress_of
from naiad_eventlog import EventLog, Record, StartFrom, Subscription, TopicPartition
from naiad_eventlog.topics import PROGRESS, RECORDS
from naiad_proto.v1.log_pb2 import WriterProgress
from naiad_store import Store, StoreError

__all__ = ["GROUP", "ReaderTooOld", "Writer"]

log = logging.getLogger(__name__)

GROUP = "naiad.writer"

# A block is closed at about this many rows: larger ones gain little (2.4 M rows/s at
# 100,000, 3.0 M at 250,000 in the design's measurements).
BLOCK_ROWS = 250_000
# A point is at least this large in the log; what a block holds is only known when decoded.
_BYTES_A_ROW = 9
# ... or after this long, so that a slow run is readable soon. Under load inserts take
# longer than that, and waiting for more makes them fewer.
SHORTEST_WAIT = 0.1
LONGEST_WAIT = 0.5
_TRIES = 3


class Writer:
    """The consumer that stores. `run` once per instance."""

    def __init__(self, log: EventLog, store: Store, *, block_rows: int = BLOCK_ROWS) -> None:
        self._log = log
        self._store = store
        self._block_rows = block_rows
        self._runs = RunBook(store)
        self._writers = WriterBook(store)
        self._dead = DeadLetters(log, GROUP)

    async def run(self, stop: asyncio.Event) -> None:
        """Stores until `stop`, then what it has polled, commits and returns.

        Raises ReaderTooOld, TooManyDeadLetters, and StoreError when the store can't take
        rows whatever they are; nothing is committed for what was not stored.
        """
        await self._load_progress()
        wait = SHORTEST_WAIT
        async with await self._log.subscribe(RECORDS.name, GROUP) as subscription:
            while not stop.is_set():
                records = await self._gather(subscription, wait, stop)
                if records:
                    began = time.monotonic()
                    await self._store_all(records)
                    await _commit(subscription, records)
                    took = time.monotonic() - began
                    wait = min(max(SHORTEST_WAIT, took), LONGEST_WAIT)

    async def _gather(
        self, subscription: Subscription, wait: float, stop: asyncio.Event
    ) -> list[Record]:
        """A block's worth of records, or what came within `wait` of the first."""
        most = self._block_rows * _BYTES_A_ROW
        records = await subscription.poll(max_bytes=most, wait=0.1)
        size = sum(len(record.value) for record in records)
        deadline = time.monotonic() + wait
        while records and size < most and not stop.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                break
            more = await subscription.poll(max_bytes=most - size, wait=left)
            records += more
            size += sum(len(record.value) for record in more)
        return records

    async def _store_all(self, records: list[Record]) -> None:
        """Stores the records, publishes progress, puts aside what can't be stored."""
        try:
            block = await self._try(records)
        except StoreError as error:
            if len(records) == 1:
                # The store works, but not with this one.
                await asyncio.to_thread(self._store.query, "SELECT 1")
                await self._dead.put([Poison(records[0], str(error))])
                return
            # One of them it can't take: rows commute, so the others can be tried again.
            log.warning("a block of %d records was refused: %s", len(records), error)
            half = len(records) // 2
            await self._store_all(records[:half])
            await self._store_all(records[half:])
            return
        await self._dead.put(block.poison)
        block.settle()
        await self._publish(block)

    async def _try(self, records: list[Record]) -> Block:
        for attempt in range(1, _TRIES + 1):
            try:
                # In a thread: ingest and query share this loop.
                return await asyncio.to_thread(self._insert, records)
            except StoreError:
                if attempt == _TRIES:
                    raise
                await asyncio.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")

    def _insert(self, records: list[Record]) -> Block:
        block = Block.decode(records, self._runs, self._writers)
        for table, rows in block.tables():
            self._store.insert(table, rows)
        return block

    async def _publish(self, block: Block) -> None:
        await asyncio.gather(
            *(
                self._log.append(
                    PROGRESS.name,
                    row.writer_id.encode(),
                    progress_of(row, self._writers.said(row.writer_id)).SerializeToString(),
                )
                for row in block.changed.values()
            )
        )

    async def _load_progress(self) -> None:
        """What earlier lives said about writers' records; the store has all the rest."""
        group = f"{GROUP}.progress"
        async with await self._log.subscribe(PROGRESS.name, group, StartFrom.EARLIEST) as topic:
            # Nobody else publishes there, so what is there now is all.
            while records := await topic.poll(max_records=5000, wait=0):
                for record in records:
                    progress = WriterProgress.FromString(record.value)
                    if progress.warnings or progress.late_rejections:
                        self._writers.load_progress(progress)


async def _commit(subscription: Subscription, records: list[Record]) -> None:
    offsets: dict[TopicPartition, int] = {}
    for record in records:
        where = TopicPartition(record.topic, record.partition)
        offsets[where] = max(offsets.get(where, 0), record.offset + 1)
    await subscription.commit(offsets)
