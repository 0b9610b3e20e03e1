"""A member of a consumer group."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from naiad_eventlog.interface import (
    EventLogError,
    OnRevoke,
    Record,
    Subscription,
    TopicPartition,
)
from naiad_eventlog.kafka.address import KafkaAddress
from naiad_eventlog.kafka.errors import as_log_error
from naiad_eventlog.kafka.ownership import HANDING_OVER_SECONDS, Ownership

log = logging.getLogger(__name__)

# What is read ahead, in bytes: from one broker, and of one partition. A larger record comes
# alone. Together with what is being handed out this bounds a member's memory.
_FETCH_BYTES = 32 * 1024 * 1024
_PARTITION_BYTES = 4 * 1024 * 1024
# A broker holds a request for news this long, in seconds. A partition that was just read
# empty has to wait for it.
_FETCH_WAIT = 0.1
# Records taken over from what was read ahead, at a time.
_TAKE_RECORDS = 500
# How long a group may take to form, with a member that takes its time to hand over.
_JOIN_SECONDS = 3 * HANDING_OVER_SECONDS
# How long a poll that must not wait does so for records that it knows are there, and how
# long a commit and other questions may take while brokers change.
_ANSWER_SECONDS = 20.0
_STOP_SECONDS = 10.0

T = TypeVar("T")


class KafkaSubscription(Subscription):
    def __init__(
        self,
        address: KafkaAddress,
        topic: str,
        group: str,
        *,
        begin: Mapping[int, int] | None,
        on_revoke: OnRevoke | None,
        gapless: bool,
        closed: Callable[[KafkaSubscription], None],
    ) -> None:
        """`topic` as the caller knows it. `gapless`: a gap between offsets means that records
        were dropped before this group had read them. `closed` is called when it is."""
        self._address = address
        self._topic = topic
        self._group = group
        self._gapless = gapless
        self._closed = False
        self._on_close = closed
        self._buffer: collections.deque[ConsumerRecord[bytes, bytes]] = collections.deque()
        # One question to aiokafka stays open over several polls, because one that is
        # cancelled would leave the member looking busy for ever.
        self._taking: asyncio.Task[dict[Any, list[ConsumerRecord[bytes, bytes]]]] | None = None
        self._consumer = AIOKafkaConsumer(
            **address.client_options(),
            group_id=address.prefix + group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(address.session_seconds * 1000),
            # How late a member hears that another one came or went.
            heartbeat_interval_ms=int(min(1.0, address.session_seconds / 4) * 1000),
            rebalance_timeout_ms=int(2 * HANDING_OVER_SECONDS * 1000),
            fetch_max_wait_ms=int(_FETCH_WAIT * 1000),
            fetch_max_bytes=_FETCH_BYTES,
            max_partition_fetch_bytes=_PARTITION_BYTES,
        )
        cluster_topic = address.prefix + topic
        self._ownership = Ownership(self._consumer, cluster_topic, begin, on_revoke)
        self._consumer.subscribe(topics=[cluster_topic], listener=self._ownership)

    async def start(self) -> None:
        """Returns when the group has given it its partitions. Raises EventLogError."""
        failing = f"group {self._group!r} could not be joined"
        try:
            async with asyncio.timeout(_JOIN_SECONDS):
                await self._consumer.start()
                self._ownership.guard()
                await self._until_settled()
        except BaseException as error:
            await self.close()
            if isinstance(error, TimeoutError):
                raise EventLogError(f"{failing} within {_JOIN_SECONDS:g} s") from error
            if isinstance(error, KafkaError):
                raise as_log_error(error, failing) from error
            raise

    async def _until_settled(self) -> None:
        # A group that refuses a member for good (the length of its session, its rights) tells it
        # to who asks for records, and to nobody else.
        asking = asyncio.create_task(self._ownership.settled.wait())
        try:
            while not asking.done():
                taking = self._taking or self._ask_for_records()
                await asyncio.wait({asking, taking}, return_when=asyncio.FIRST_COMPLETED)
                self._take_over()
        finally:
            asking.cancel()

    @property
    def generation(self) -> int:
        return self._ownership.rounds

    @property
    def owned(self) -> frozenset[TopicPartition]:
        return frozenset(TopicPartition(self._topic, number) for number in self._ownership.owned)

    async def confirm(self, generation: int) -> bool:
        self._check_open()
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._ownership.confirm(generation)
        except (TimeoutError, KafkaError) as error:
            log.warning("group %r does not say who owns what: %r", self._group, error)
            return False

    def caught_up(self) -> dict[TopicPartition, float]:
        ownership = self._ownership
        if not ownership.settled.is_set():
            return {}
        found = {}
        now = time.time()
        assigned = self._consumer.assignment()
        for number in ownership.owned:
            where = ownership.partition(number)
            if where not in assigned:
                continue
            end = self._consumer.highwater(where)
            seen = self._consumer.last_poll_timestamp(where)
            if end is None or seen is None or self._position(number) < end:
                continue
            # The broker may have held its answer back for want of news, but told the end as
            # it was when it answered.
            found[TopicPartition(self._topic, number)] = max(0.0, now - seen / 1000)
        return found

    def _position(self, number: int) -> int:
        """Where handing out goes on."""
        known = self._ownership.positions.get(number)
        if known is not None:
            return known
        if any(record.partition == number for record in self._buffer):
            return -1
        # Nothing was handed out; all that there was may have been dropped long ago.
        assignment = self._consumer._subscription.subscription.assignment
        state = assignment.state_value(self._ownership.partition(number))
        return int(state.position) if state.has_valid_position else -1

    async def poll(
        self, *, max_records: int = 500, max_bytes: int = 16 * 1024 * 1024, wait: float = 0.1
    ) -> list[Record]:
        self._check_open()
        loop = asyncio.get_running_loop()
        until = loop.time() + wait
        behind = False
        while True:
            if found := self._hand_out(max_records, max_bytes):
                return found
            if wait <= 0 and not behind:
                if not self._ownership.settled.is_set() or await self._at_the_end():
                    return []
                behind, until = True, loop.time() + _ANSWER_SECONDS
                # The question may have brought them; of a quiet topic no others come.
                continue
            left = until - loop.time()
            if left <= 0:
                if behind:
                    raise EventLogError(f"{self._address.named} does not give what it has")
                return []
            await self._take(left)

    async def _take(self, seconds: float) -> None:
        """Waits so long for records to come into the buffer."""
        taking = self._taking or self._ask_for_records()
        await asyncio.wait({taking}, timeout=seconds)
        self._take_over()

    def _ask_for_records(self) -> asyncio.Task[dict[Any, list[ConsumerRecord[bytes, bytes]]]]:
        self._taking = asyncio.create_task(
            self._consumer.getmany(timeout_ms=60_000, max_records=_TAKE_RECORDS)
        )
        return self._taking

    def _take_over(self) -> None:
        if self._taking is None or not self._taking.done():
            return
        taking, self._taking = self._taking, None
        try:
            for records in taking.result().values():
                self._buffer.extend(records)
        except KafkaError as error:
            raise as_log_error(error, f"{self._topic} can't be read") from error

    def _hand_out(self, max_records: int, max_bytes: int) -> list[Record]:
        positions, owned = self._ownership.positions, self._ownership.owned
        found: list[Record] = []
        if not self._ownership.settled.is_set():
            return found
        size = 0
        while self._buffer and len(found) < max_records:
            record = self._buffer[0]
            number, offset = record.partition, record.offset
            # Read before a rebalance or a seek: another's now, or read again.
            if number not in owned or offset < positions.get(number, 0):
                self._buffer.popleft()
                continue
            key, value = record.key or b"", record.value or b""
            size += len(key) + len(value)
            if found and size > max_bytes:
                break
            self._buffer.popleft()
            if self._gapless and offset > positions.get(number, offset):
                log.error(
                    "%d records of %s, partition %d, were dropped before group %r had read them:"
                    " the topic's retention is too short for how far it is behind",
                    offset - positions[number],
                    self._topic,
                    number,
                    self._group,
                    extra={"topic": self._topic, "partition": number, "group": self._group},
                )
            positions[number] = offset + 1
            found.append(Record(self._topic, number, offset, key, value, record.timestamp))
        return found

    async def _at_the_end(self) -> bool:
        """Whether all partitions owned have been read as far as they go now."""
        wanted = [self._ownership.partition(number) for number in self._ownership.owned]

        async def ask() -> bool:
            ends = await self._consumer.end_offsets(wanted)
            for where in wanted:
                if await self._consumer.position(where) < ends[where]:
                    return False
            return True

        try:
            ended = await self._answer(ask, f"the end of {self._topic} can't be found out")
        except IllegalStateError:
            # A rebalance has begun meanwhile.
            return True
        self._take_over()
        return ended and not self._buffer

    async def commit(
        self, offsets: Mapping[TopicPartition, int], *, generation: int | None = None
    ) -> None:
        self._check_open()
        ownership = self._ownership

        async def ask() -> None:
            while True:
                if not ownership.may_commit:
                    await ownership.settled.wait()
                # What was given to another member meanwhile is that one's to commit, also
                # when it has come back since.
                mine = {
                    where.partition: offset
                    for where, offset in offsets.items()
                    if where.topic == self._topic
                    and where.partition in ownership.owned
                    and offset >= ownership.floors.get(where.partition, 0)
                }
                rounds = ownership.rounds
                if not mine or generation not in (None, rounds):
                    return
                try:
                    await ownership.commit(mine)
                except (CommitFailedError, IllegalStateError):
                    # The group has gone on; look again who owns what when it is formed.
                    await ownership.next_round(rounds)
                else:
                    return

        await self._answer(ask, f"group {self._group!r} could not commit")

    async def committed(self) -> dict[TopicPartition, int]:
        numbers = self._consumer.partitions_for_topic(self._address.prefix + self._topic) or ()
        found = await self._answer(
            lambda: self._ownership.committed(sorted(numbers)),
            f"the offsets of group {self._group!r} can't be read",
        )
        return {TopicPartition(self._topic, number): offset for number, offset in found.items()}

    async def seek(self, partition: TopicPartition, offset: int) -> None:
        self._check_open()
        ownership = self._ownership
        await self._answer(ownership.settled.wait, f"group {self._group!r} is not formed")
        if partition.topic != self._topic or partition.partition not in ownership.owned:
            raise EventLogError(f"{partition} is not owned by this subscription")
        self._take_over()
        kept = [record for record in self._buffer if record.partition != partition.partition]
        self._buffer = collections.deque(kept)
        ownership.seek(partition.partition, offset)

    async def lag(self) -> dict[TopicPartition, int]:
        owned = sorted(self._ownership.owned)
        wanted = [self._ownership.partition(number) for number in owned]

        async def ask() -> dict[TopicPartition, int]:
            committed, ends, begins = await asyncio.gather(
                self._ownership.committed(owned),
                self._consumer.end_offsets(wanted),
                self._consumer.beginning_offsets(wanted),
            )
            return {
                TopicPartition(self._topic, number): max(
                    0, ends[where] - max(committed.get(number, 0), begins[where])
                )
                for number, where in zip(owned, wanted, strict=True)
            }

        return await self._answer(ask, f"the lag of group {self._group!r} can't be found out")

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._on_close(self)
        if self._taking:
            self._taking.cancel()
            with contextlib.suppress(asyncio.CancelledError, KafkaError):
                await self._taking
        # A task of its own: with a broker gone aiokafka cancels what it asked that broker, and
        # lets the CancelledError out, which would end the consumer that closes this as if it
        # had been told to.
        stopping = asyncio.create_task(self._consumer.stop())
        try:
            await asyncio.wait({stopping}, timeout=_STOP_SECONDS)
        finally:
            stopping.cancel()
        if not stopping.done() or stopping.cancelled() or stopping.exception():
            # The group will notice by itself.
            log.warning("group %r could not be left: %s", self._group, _why(stopping))
            await self._consumer._client.close()

    async def _answer(self, ask: Callable[[], Awaitable[T]], failing: str) -> T:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await ask()
        except TimeoutError as error:
            raise EventLogError(f"{failing}: no answer in {_ANSWER_SECONDS:g} s") from error
        except IllegalStateError:
            raise
        except KafkaError as error:
            raise as_log_error(error, failing) from error

    def _check_open(self) -> None:
        if self._closed:
            raise EventLogError("the subscription is closed")


def _why(stopping: asyncio.Task[None]) -> str:
    if not stopping.done():
        return f"no answer in {_STOP_SECONDS:g} s"
    return "a broker is gone" if stopping.cancelled() else repr(stopping.exception())
