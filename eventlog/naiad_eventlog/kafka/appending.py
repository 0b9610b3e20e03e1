"""Appends: through one idempotent producer, bounded in bytes and in time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError

from naiad_eventlog.interface import EventLogError, EventLogFull, Position
from naiad_eventlog.kafka.address import KafkaAddress
from naiad_eventlog.kafka.errors import MAX_RECORD_BYTES, as_log_error
from naiad_eventlog.partitioning import partition_of
from naiad_eventlog.room import Room

log = logging.getLogger(__name__)

# What may be under way to the brokers. It bounds memory, and a request too: the producer
# sends all partitions' batches in one, and a broker drops a connection that sends more than
# socket.request.max.bytes (100 MiB).
MAX_BYTES_UNDER_WAY = 64 * 1024 * 1024
# Small records of one partition share a batch of up to this many bytes; a larger record
# goes alone.
_BATCH_BYTES = 1024 * 1024
# A record's bytes beside key and value, at the most.
_OVERHEAD = 128


class Appender:
    """Names here are the cluster's, with the prefix."""

    def __init__(self, address: KafkaAddress) -> None:
        self._address = address
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._room = Room(MAX_BYTES_UNDER_WAY)
        self._retired: set[asyncio.Task[None]] = set()

    async def partitions(self, topic: str) -> int:
        """Raises EventLogError."""
        try:
            async with asyncio.timeout(self._address.append_seconds), self._starting:
                return len(await (await self._ready()).partitions_for(topic))
        except TimeoutError as error:
            raise EventLogError(f"{self._address.named} does not name its partitions") from error
        except KafkaError as error:
            raise as_log_error(
                error, f"{self._address.named} does not name its partitions"
            ) from error

    async def append(
        self, topic: str, key: bytes, value: bytes, among: int | None = None
    ) -> Position:
        size = len(key) + len(value) + _OVERHEAD
        if size > MAX_RECORD_BYTES:
            raise EventLogError(
                f"a record of {size:,} bytes is more than the {MAX_RECORD_BYTES:,} of topic {topic}"
            )
        until = asyncio.get_running_loop().time() + self._address.append_seconds
        try:
            async with asyncio.timeout_at(until):
                await self._room.take(size)
        except TimeoutError as error:
            raise EventLogFull(
                f"{self._room.taken:,} bytes wait for {self._address.named}; more have to wait"
                " elsewhere"
            ) from error
        delivery: asyncio.Future[Any] | None = None
        producer: AIOKafkaProducer | None = None
        try:
            async with asyncio.timeout_at(until):
                # One after the other, so that the first don't overtake each other while a
                # producer starts.
                async with self._starting:
                    producer = await self._ready()
                    count = len(await producer.partitions_for(topic))
                # Compaction takes no value, but not an empty one, for a key's end.
                partition = partition_of(key, min(among or count, count))
                delivery = await producer.send(topic, value or None, key, partition=partition)
                # What counts is when it has left, not when its caller gives up.
                delivery.add_done_callback(lambda done: self._landed(done, size))
                # Shielded: a caller that gives up doesn't unsend it.
                landed = await asyncio.shield(delivery)
        except TimeoutError as error:
            raise EventLogError(
                f"{self._address.named} did not confirm within {self._address.append_seconds:g} s"
            ) from error
        except KafkaError as error:
            if producer is not None and not error.retriable:
                self._retire(producer)
            raise as_log_error(error, f"{self._address.named} did not take it") from error
        finally:
            if delivery is None:
                self._room.give(size)
        return Position(topic, landed.partition, landed.offset)

    async def learn(self, topic: str, partitions: int) -> None:
        """Returns when appends use so many partitions of the topic."""
        if self._producer:
            producer = self._producer
            while len(await producer.partitions_for(topic)) < partitions:
                await producer.client.force_metadata_update()

    async def start(self) -> None:
        """Raises EventLogError."""
        try:
            async with asyncio.timeout(self._address.append_seconds), self._starting:
                await self._ready()
        except TimeoutError as error:
            raise EventLogError(f"{self._address.named} gives out no producer's number") from error
        except KafkaError as error:
            raise as_log_error(error, f"{self._address.named} can't be appended to") from error

    async def close(self) -> None:
        """Waits for appends under way, as long as an append may take."""
        producer, self._producer = self._producer, None
        if producer:
            await _stop(producer, self._address.append_seconds)
        if self._retired:
            await asyncio.wait(self._retired)

    async def _ready(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **self._address.client_options(),
                acks="all",
                enable_idempotence=True,
                max_batch_size=_BATCH_BYTES,
                max_request_size=MAX_RECORD_BYTES,
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer

    def _retire(self, producer: AIOKafkaProducer) -> None:
        """Goes on with a new producer: after a record that was refused for good, the brokers
        take the numbers of those that follow for out of sequence."""
        if self._producer is not producer:
            return
        self._producer = None
        task = asyncio.create_task(_stop(producer, self._address.append_seconds))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    def _landed(self, delivery: asyncio.Future[Any], size: int) -> None:
        if not delivery.cancelled():
            # Looked at here too, in case its caller has given up.
            delivery.exception()
        self._room.give(size)


async def _stop(producer: AIOKafkaProducer, seconds: float) -> None:
    """Stops after what is under way has landed, or failed for good after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await producer.flush()
    except TimeoutError:
        # An idempotent producer tries for ever, and nothing public makes it give up.
        await producer._sender.close()
        waiting = producer._message_accumulator
        waiting.fail_all(KafkaConnectionError("closed before a broker came"))
        for batches in waiting._batches.values():
            for batch in batches:
                # Nobody else looks at it, which asyncio would complain of.
                batch._drain_waiter.exception()
    with contextlib.suppress(KafkaError):
        await producer.stop()
