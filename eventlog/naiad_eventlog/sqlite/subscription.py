"""A member of a consumer group: which partitions it has, and how far it has read them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from naiad_eventlog.interface import (
    EventLogError,
    OnRevoke,
    Record,
    StartFrom,
    Subscription,
    TopicPartition,
)

if TYPE_CHECKING:
    from naiad_eventlog.sqlite.log import SqliteEventLog

log = logging.getLogger(__name__)


class SqliteSubscription(Subscription):
    def __init__(
        self,
        log: SqliteEventLog,
        topic: str,
        group: str,
        start: StartFrom,
        on_revoke: OnRevoke | None = None,
    ) -> None:
        self._log = log
        self._topic = topic
        self._group = group
        self._start = start
        self._on_revoke = on_revoke
        self._positions: dict[int, int] = {}
        # Rises with each change of what is owned: a fetch under way then is void.
        self._generation = 0
        self._rounds = 0
        self._news = asyncio.Event()
        self._turn = 0
        self._closed = False

    @property
    def generation(self) -> int:
        return self._rounds

    @property
    def owned(self) -> frozenset[TopicPartition]:
        return frozenset(TopicPartition(self._topic, number) for number in self._positions)

    async def confirm(self, generation: int) -> bool:
        # All members live in this process, so none is taken for dead.
        return not self._closed and generation == self._rounds

    def caught_up(self) -> dict[TopicPartition, float]:
        return {
            TopicPartition(self._topic, number): 0.0
            for number, offset in self._positions.items()
            # Offsets begin with 1.
            if max(offset, 1) >= self._log.end(self._topic, number)
        }

    async def hand_over(self) -> None:
        """Commits what was dealt with, before the partitions are shared out anew."""
        if self._on_revoke and self._positions:
            try:
                await self.commit(await self._on_revoke())
            except Exception:
                # A fault of this member must not keep another from joining; what it has not
                # committed comes again.
                log.exception("group %r could not commit what it has dealt with", self._group)

    def assign(self, committed: Mapping[int, int | None]) -> None:
        """Takes over exactly these partitions; those that it had go on where they were."""
        positions = {}
        for partition, offset in committed.items():
            if partition in self._positions:
                positions[partition] = self._positions[partition]
            elif self._start is StartFrom.LATEST:
                positions[partition] = self._log.end(self._topic, partition)
            else:
                positions[partition] = (
                    offset if self._start is StartFrom.COMMITTED and offset is not None else 0
                )
        self._positions = positions
        self._generation += 1
        self._rounds += 1
        self._news.set()

    def wake(self, partition: int) -> None:
        if partition in self._positions:
            self._news.set()

    async def poll(
        self, *, max_records: int = 500, max_bytes: int = 16 * 1024 * 1024, wait: float = 0.1
    ) -> list[Record]:
        self._check_open()
        found = await self._take(max_records, max_bytes)
        if found or wait <= 0:
            return found
        try:
            await asyncio.wait_for(self._news.wait(), wait)
        except TimeoutError:
            return []
        return await self._take(max_records, max_bytes)

    async def _take(self, max_records: int, max_bytes: int) -> list[Record]:
        self._news.clear()
        generation = self._generation
        owned = sorted(self._positions)
        found: list[Record] = []
        # Begins with another partition each time, so that a busy one can't starve the rest.
        self._turn += 1
        for index in range(len(owned)):
            partition = owned[(self._turn + index) % len(owned)]
            offset = self._positions[partition]
            end = self._log.end(self._topic, partition)
            if offset >= end:
                continue
            records = await self._log.fetch(self._topic, partition, offset, max_records, max_bytes)
            if generation != self._generation:
                return []
            if not records:
                # All up to there were dropped: it has what there is.
                self._positions[partition] = end
                continue
            if found and sum(len(r.value) for r in records) > max_bytes:
                break
            found += records
            max_records -= len(records)
            max_bytes -= sum(len(r.key) + len(r.value) for r in records)
            if max_records <= 0 or max_bytes <= 0:
                break
        for record in found:
            self._positions[record.partition] = record.offset + 1
        return found

    async def commit(
        self, offsets: Mapping[TopicPartition, int], *, generation: int | None = None
    ) -> None:
        self._check_open()
        if generation is not None and generation != self._rounds:
            return
        # What was given to another member meanwhile is that one's to commit.
        owned = {
            where.partition: offset
            for where, offset in offsets.items()
            if where.topic == self._topic and where.partition in self._positions
        }
        if owned:
            await self._log.commit(self._group, self._topic, owned)

    async def committed(self) -> dict[TopicPartition, int]:
        return await self._log.committed(self._topic, self._group)

    async def seek(self, partition: TopicPartition, offset: int) -> None:
        self._check_open()
        if partition.topic != self._topic or partition.partition not in self._positions:
            raise EventLogError(f"{partition} is not owned by this subscription")
        self._positions[partition.partition] = offset
        self._generation += 1
        self._news.set()

    async def lag(self) -> dict[TopicPartition, int]:
        lag = await self._log.lag(self._topic, self._group)
        return {where: count for where, count in lag.items() if where.partition in self._positions}

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._positions = {}
            self._generation += 1
            await self._log.leave(self, self._group, self._topic)

    def _check_open(self) -> None:
        if self._closed:
            raise EventLogError("the subscription is closed")
