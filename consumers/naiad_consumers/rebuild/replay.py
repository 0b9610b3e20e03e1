"""A stretch of the log, read once more by a writer that nobody else hears.

To the writer it looks like a log. What the writer commits is kept here; what it would
publish was published when the records were read first, so it goes nowhere.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection, Mapping, Sequence

from naiad_eventlog import (
    EventLog,
    EventLogError,
    OnRevoke,
    Position,
    Record,
    StartFrom,
    Subscription,
    Topic,
    TopicPartition,
)
from naiad_eventlog.topics import DEAD, RECORDS

# A log says by an empty poll that nothing more is there; a group that is just being formed says
# it too.
_EMPTY_POLLS = 3


class Replay(EventLog):
    """`topic` from `begins` up to `ends`, by partition. `over` is set when a subscription has
    given all of it; closing this leaves the log open."""

    def __init__(self, log: EventLog, begins: Mapping[int, int], ends: Mapping[int, int]) -> None:
        self.retention = log.retention
        self.over = asyncio.Event()
        # Next offset wanted, per partition: where a further replay goes on.
        self.done: dict[int, int] = dict(begins)
        self.records = 0
        # Records that could not be stored.
        self.put_aside = 0
        self._log = log
        self._ends = dict(ends)

    async def subscribe(
        self,
        topic: str,
        group: str,
        start: StartFrom = StartFrom.COMMITTED,
        on_revoke: OnRevoke | None = None,
    ) -> Subscription:
        if topic != RECORDS.name:
            return _Nothing()
        inner = await self._log.subscribe(
            topic, f"{group}.replay.{uuid.uuid4().hex}", StartFrom.EARLIEST
        )
        try:
            for partition in self._ends:
                await inner.seek(TopicPartition(topic, partition), self.done.get(partition, 0))
        except BaseException:
            await inner.close()
            raise
        return _Stretch(self, inner, dict(self.done), self._ends)

    async def partitions(self, topic: str) -> int:
        return await self._log.partitions(topic)

    async def append(
        self, topic: str, key: bytes, value: bytes, *, among: int | None = None
    ) -> Position:
        if topic == DEAD.name:
            self.put_aside += 1
        return Position(topic, 0, 0)

    async def create_topics(self, topics: Sequence[Topic]) -> None:
        raise EventLogError("a replay makes no topics")

    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        return await self._log.end_offsets(topic)

    async def start_offsets(self, topic: str) -> dict[TopicPartition, int]:
        return await self._log.start_offsets(topic)

    async def committed(self, topic: str, group: str) -> dict[TopicPartition, int]:
        return {TopicPartition(topic, number): offset for number, offset in self.done.items()}

    async def members(self, topic: str, group: str) -> int:
        return 0

    async def lag(self, topic: str, group: str) -> dict[TopicPartition, int]:
        return {}

    async def groups(self, topic: str) -> frozenset[str]:
        return frozenset()

    async def forget(self, group: str) -> None:
        raise EventLogError("a replay forgets no group")

    async def retain(
        self,
        topic: str,
        *,
        before: int | None = None,
        max_bytes: int | None = None,
        needed_by: Collection[str] = (),
    ) -> int:
        raise EventLogError("a replay drops nothing")

    async def close(self) -> None:
        pass


class _Stretch(Subscription):
    def __init__(
        self, replay: Replay, inner: Subscription, begins: dict[int, int], ends: dict[int, int]
    ) -> None:
        self._replay = replay
        self._inner = inner
        self._begins = begins
        self._at = dict(begins)
        self._ends = ends
        self._empty = 0
        self._look()

    async def poll(
        self, *, max_records: int = 500, max_bytes: int = 16 * 1024 * 1024, wait: float = 0.1
    ) -> list[Record]:
        if self._replay.over.is_set():
            return []
        records = await self._inner.poll(max_records=max_records, max_bytes=max_bytes, wait=wait)
        if not records:
            records = await self._inner.poll(max_records=max_records, max_bytes=max_bytes, wait=0)
        self._empty = 0 if records else self._empty + 1
        if self._empty >= _EMPTY_POLLS:
            # Offsets have gaps, so what is last may stand well before the end.
            self._replay.over.set()
        wanted = []
        for record in records:
            if self._begins.get(record.partition, 0) <= record.offset:
                self._at[record.partition] = record.offset + 1
                if record.offset < self._ends.get(record.partition, 0):
                    wanted.append(record)
        self._replay.records += len(wanted)
        self._look()
        return wanted

    def _look(self) -> None:
        if all(self._at.get(number, 0) >= end for number, end in self._ends.items()):
            self._replay.over.set()

    async def commit(
        self, offsets: Mapping[TopicPartition, int], *, generation: int | None = None
    ) -> None:
        self._replay.done.update({where.partition: offset for where, offset in offsets.items()})

    async def committed(self) -> dict[TopicPartition, int]:
        return await self._replay.committed(RECORDS.name, "")

    async def seek(self, partition: TopicPartition, offset: int) -> None:
        """A writer begins each tenure at what is committed."""
        await self._inner.seek(partition, offset)
        self._at[partition.partition] = offset
        self._begins[partition.partition] = offset

    async def lag(self) -> dict[TopicPartition, int]:
        return {}

    @property
    def generation(self) -> int:
        return self._inner.generation

    @property
    def owned(self) -> frozenset[TopicPartition]:
        return self._inner.owned

    async def confirm(self, generation: int) -> bool:
        return await self._inner.confirm(generation)

    def caught_up(self) -> dict[TopicPartition, float]:
        return self._inner.caught_up()

    async def close(self) -> None:
        await self._inner.close()


class _Nothing(Subscription):
    """Of a topic that a replay has no part in."""

    @property
    def generation(self) -> int:
        return 0

    @property
    def owned(self) -> frozenset[TopicPartition]:
        return frozenset()

    async def confirm(self, generation: int) -> bool:
        return True

    def caught_up(self) -> dict[TopicPartition, float]:
        return {}

    async def poll(
        self, *, max_records: int = 500, max_bytes: int = 16 * 1024 * 1024, wait: float = 0.1
    ) -> list[Record]:
        return []

    async def commit(
        self, offsets: Mapping[TopicPartition, int], *, generation: int | None = None
    ) -> None:
        pass

    async def committed(self) -> dict[TopicPartition, int]:
        return {}

    async def seek(self, partition: TopicPartition, offset: int) -> None:
        pass

    async def lag(self) -> dict[TopicPartition, int]:
        return {}

    async def close(self) -> None:
        pass
