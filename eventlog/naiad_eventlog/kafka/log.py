"""The event log on a Kafka cluster: topics, appends, subscriptions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.errors import GroupIdNotFound, KafkaError, NonEmptyGroup

from naiad_eventlog.interface import (
    EventLog,
    EventLogError,
    OnRevoke,
    Position,
    StartFrom,
    Subscription,
    Topic,
    TopicPartition,
    no_group,
    still_read_by,
)
from naiad_eventlog.kafka import retaining
from naiad_eventlog.kafka.address import KafkaAddress
from naiad_eventlog.kafka.appending import Appender
from naiad_eventlog.kafka.errors import as_log_error
from naiad_eventlog.kafka.quiet import quieten
from naiad_eventlog.kafka.subscription import KafkaSubscription
from naiad_eventlog.kafka.topics import TopicAdmin


class KafkaEventLog(EventLog):
    def __init__(self, address: KafkaAddress) -> None:
        self.retention = address.retention
        self._address = address
        self._topics = TopicAdmin(address)
        self._appender = Appender(address)
        # Belongs to no group: it only asks where partitions begin and end.
        self._surveyor = AIOKafkaConsumer(**address.client_options())
        self._subscriptions: set[KafkaSubscription] = set()
        # Topics that are known to be there; what they are, where that is known too.
        self._known: dict[str, Topic | None] = {}
        self._closed = False

    @classmethod
    async def open(cls, url: str) -> KafkaEventLog:
        """Raises EventLogError for a wrong URL and for a cluster that doesn't answer."""
        address = KafkaAddress.parse(url)
        quieten()
        opened = cls(address)
        try:
            await opened._topics.start()
            await opened._appender.start()
            await opened._surveyor.start()
        except KafkaError as error:
            await opened.close()
            raise as_log_error(error, f"{opened._address.named} can't be used") from error
        except BaseException:
            await opened.close()
            raise
        return opened

    async def create_topics(self, topics: Sequence[Topic]) -> None:
        self._check_open()
        for topic in topics:
            name = self._address.prefix + topic.name
            await self._topics.ensure(name, topic)
            self._known[topic.name] = topic
            await self._appender.learn(name, topic.partitions)

    async def partitions(self, topic: str) -> int:
        self._check_open()
        await self._need(topic)
        return await self._appender.partitions(self._address.prefix + topic)

    async def append(
        self, topic: str, key: bytes, value: bytes, *, among: int | None = None
    ) -> Position:
        self._check_open()
        await self._need(topic)
        position = await self._appender.append(self._address.prefix + topic, key, value, among)
        return position._replace(topic=topic)

    async def subscribe(
        self,
        topic: str,
        group: str,
        start: StartFrom = StartFrom.COMMITTED,
        on_revoke: OnRevoke | None = None,
    ) -> Subscription:
        self._check_open()
        await self._need(topic)
        begin = None
        if start is not StartFrom.COMMITTED:
            begin = await self._offsets(topic, beginning=start is StartFrom.EARLIEST)
        known = self._known[topic]
        subscription = KafkaSubscription(
            self._address,
            topic,
            group,
            begin=begin,
            on_revoke=on_revoke,
            gapless=known is not None and not known.compacted,
            closed=self._subscriptions.discard,
        )
        self._subscriptions.add(subscription)
        await subscription.start()
        return subscription

    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        self._check_open()
        offsets = await self._offsets(topic, beginning=False)
        return {TopicPartition(topic, number): offset for number, offset in offsets.items()}

    async def start_offsets(self, topic: str) -> dict[TopicPartition, int]:
        self._check_open()
        offsets = await self._offsets(topic, beginning=True)
        return {TopicPartition(topic, number): offset for number, offset in offsets.items()}

    async def committed(self, topic: str, group: str) -> dict[TopicPartition, int]:
        self._check_open()
        await self._need(topic)
        prefix = self._address.prefix
        found = await self._topics.committed(prefix + topic, prefix + group)
        return {TopicPartition(topic, number): offset for number, offset in found.items()}

    async def members(self, topic: str, group: str) -> int:
        self._check_open()
        await self._need(topic)
        return await self._topics.members(self._address.prefix + group)

    async def groups(self, topic: str) -> frozenset[str]:
        self._check_open()
        await self._need(topic)
        prefix = self._address.prefix
        groups = [group for group in await self._topics.groups() if group.startswith(prefix)]
        committed = [await self._topics.committed(prefix + topic, group) for group in groups]
        return frozenset(
            group.removeprefix(prefix)
            for group, offsets in zip(groups, committed, strict=True)
            if offsets
        )

    async def forget(self, group: str) -> None:
        self._check_open()
        try:
            await self._topics.forget(self._address.prefix + group)
        except NonEmptyGroup as error:
            raise still_read_by(group) from error
        except GroupIdNotFound as error:
            raise no_group(group) from error

    async def retain(
        self,
        topic: str,
        *,
        before: int | None = None,
        max_bytes: int | None = None,
        needed_by: Collection[str] = (),
    ) -> int:
        self._check_open()
        await self._need(topic)
        known = self._known[topic]
        if known is not None and known.compacted:
            raise EventLogError(f"topic {topic!r} is compacted: it keeps the newest of each key")
        prefix, name = self._address.prefix, self._address.prefix + topic
        begins = await self._offsets(topic, beginning=True)
        ends = await self._offsets(topic, beginning=False)
        below = await retaining.droppable(
            self._topics, prefix, name, len(ends), [prefix + group for group in needed_by]
        )
        wanted = dict(begins)
        try:
            if before is not None:
                wanted |= await retaining.older(self._surveyor, name, before, ends)
            if max_bytes is not None:
                more = await retaining.beyond(self._address, name, max_bytes, begins, ends)
                wanted = {number: max(offset, more[number]) for number, offset in wanted.items()}
        except KafkaError as error:
            raise as_log_error(error, f"the age of {topic} can't be found out") from error
        new = {number: min(wanted[number], below[number]) for number in wanted}
        new = {number: offset for number, offset in new.items() if offset > begins[number]}
        if new:
            await self._topics.drop(name, new)
        return sum(offset - begins[number] for number, offset in new.items())

    async def lag(self, topic: str, group: str) -> dict[TopicPartition, int]:
        self._check_open()
        committed, begins, ends = await asyncio.gather(
            self._topics.committed(self._address.prefix + topic, self._address.prefix + group),
            self._offsets(topic, beginning=True),
            self._offsets(topic, beginning=False),
        )
        return {
            TopicPartition(topic, number): max(
                0, end - max(committed.get(number, 0), begins[number])
            )
            for number, end in ends.items()
        }

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        async with contextlib.AsyncExitStack() as ending:
            ending.push_async_callback(self._topics.close)
            ending.push_async_callback(self._surveyor.stop)
            ending.push_async_callback(self._appender.close)
            for subscription in list(self._subscriptions):
                ending.push_async_callback(subscription.close)

    async def _offsets(self, topic: str, *, beginning: bool) -> dict[int, int]:
        name = self._address.prefix + topic
        count = await self._topics.partitions(name)
        if not count:
            raise _no_topic(topic)
        wanted = [KafkaPartition(name, number) for number in range(count)]
        ask = self._surveyor.beginning_offsets if beginning else self._surveyor.end_offsets
        try:
            found = await ask(wanted)
        except KafkaError as error:
            raise as_log_error(error, f"the offsets of {topic} can't be found out") from error
        return {where.partition: offset for where, offset in sorted(found.items())}

    async def _need(self, topic: str) -> None:
        """Raises EventLogError for a topic that is not there, since appending to one would
        make it, with none of its settings, where the cluster makes topics by itself."""
        if topic not in self._known:
            if await self._topics.partitions(self._address.prefix + topic) is None:
                raise _no_topic(topic)
            self._known[topic] = None

    def _check_open(self) -> None:
        if self._closed:
            raise EventLogError("the event log is closed")


def _no_topic(topic: str) -> EventLogError:
    return EventLogError(f"there is no topic {topic!r} in the event log")
