"""Dropping old records of a topic, where no group needs them any more.

Topics are made without a retention of the brokers' own, which drops by age and size whatever
groups have read. The brokers are told instead (DeleteRecords) up to where each partition may
begin; they free their disks by whole segments.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Iterable, Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaPartition

from naiad_eventlog.kafka.address import KafkaAddress
from naiad_eventlog.kafka.topics import TopicAdmin

# Places of a partition at which records are looked at to know how large they are.
_SAMPLES = 8
_SAMPLE_RECORDS = 20
_SAMPLE_SECONDS = 2.0


async def droppable(
    admin: TopicAdmin, prefix: str, name: str, partitions: int, needed_by: Collection[str]
) -> dict[int, int]:
    """By partition, the offset below which no group needs a record. `name` and `needed_by` are
    the cluster's, with the prefix."""
    groups = {group for group in await admin.groups() if group.startswith(prefix)}
    committed = {group: await admin.committed(name, group) for group in groups | set(needed_by)}
    wanted = [commits for group, commits in committed.items() if commits or group in set(needed_by)]
    return {
        number: min((commits.get(number, 0) for commits in wanted), default=0)
        for number in range(partitions)
    }


async def older(
    surveyor: AIOKafkaConsumer, name: str, before: int, ends: Mapping[int, int]
) -> dict[int, int]:
    """By partition, the offset of the first record that the log took at `before` or later."""
    wanted = {KafkaPartition(name, number): before for number in ends}
    found = await surveyor.offsets_for_times(wanted)
    return {
        where.partition: ends[where.partition] if at is None else at.offset
        for where, at in found.items()
    }


async def beyond(
    address: KafkaAddress,
    name: str,
    max_bytes: int,
    begins: Mapping[int, int],
    ends: Mapping[int, int],
) -> dict[int, int]:
    """By partition, the offset from which on all partitions together hold about `max_bytes`,
    each its share of what it holds now.

    A broker tells the size of segments, which also hold what was dropped; so records are
    looked at here and there, and between them taken to be as large as those."""
    consumer = AIOKafkaConsumer(**address.client_options(), enable_auto_commit=False)
    await consumer.start()
    try:
        sizes = {
            number: await _stretches(consumer, KafkaPartition(name, number), begins[number], end)
            for number, end in ends.items()
        }
    finally:
        await consumer.stop()
    total = sum(size * (end - begin) for part in sizes.values() for begin, end, size in part)
    if total <= max_bytes:
        return dict(begins)
    kept = max_bytes / total
    return {
        number: _begin_of(part, kept * sum(size * (end - begin) for begin, end, size in part))
        for number, part in sizes.items()
    }


async def _stretches(
    consumer: AIOKafkaConsumer, where: KafkaPartition, begin: int, end: int
) -> list[tuple[int, int, float]]:
    """(begin, end, bytes of a record) of stretches of the partition, one after the other."""
    edges = sorted({begin + (end - begin) * number // _SAMPLES for number in range(_SAMPLES + 1)})
    found = []
    consumer.assign([where])
    for first, last in itertools.pairwise(edges):
        consumer.seek(where, first)
        loop = asyncio.get_running_loop()
        until = loop.time() + _SAMPLE_SECONDS
        records: Iterable[object] = ()
        while not records and loop.time() < until:
            answer = await consumer.getmany(timeout_ms=200, max_records=_SAMPLE_RECORDS)
            records = answer.get(where, [])
        sizes = [len(one.key or b"") + len(one.value or b"") for one in records]  # type: ignore[attr-defined]
        found.append((first, last, sum(sizes) / len(sizes) if sizes else 0.0))
    return found


def _begin_of(stretches: list[tuple[int, int, float]], kept: float) -> int:
    """From where on the stretches hold `kept` bytes."""
    for begin, end, size in reversed(stretches):
        held = size * (end - begin)
        if held > kept:
            return end - int(kept / size)
        kept -= held
    return stretches[0][0] if stretches else 0
