"""What every event log must do about old records. An engine's test subclasses
`RetentionContract` and gives the fixture `log_url`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from support_eventlog import all_there, next_offsets, read
from support_kafka import until
from support_naiad import LONGER

from naiad_eventlog import (
    EventLog,
    EventLogError,
    Retainer,
    StartFrom,
    Topic,
    TopicPartition,
    open_event_log,
)

TOPIC = Topic("river", partitions=2)
LATER = 1 << 42
# Of the two keys, each has a partition.
KEYS = (b"key 1", b"key 4")


async def fill(log: EventLog, count: int, size: int = 10) -> list[int]:
    """Appends to both partitions in turn; offsets of the first one's records."""
    offsets = []
    for number in range(count):
        for key in KEYS:
            position = await log.append("river", key, b"%06d" % number + b"." * size)
            if key == KEYS[0]:
                offsets.append(position.offset)
    return offsets


async def what_is_there(log: EventLog) -> list[bytes]:
    async with await log.subscribe("river", "audit", StartFrom.EARLIEST) as member:
        return [record.value[:6] for record in await all_there(member)]


async def read_all(log: EventLog, group: str, count: int) -> None:
    async with await log.subscribe("river", group) as member:
        await member.commit(next_offsets(await read(member, count)))


class RetentionContract:
    @pytest.fixture
    async def log(self, log_url: str) -> AsyncIterator[EventLog]:
        async with await open_event_log(log_url) as log:
            await log.create_topics([TOPIC, Topic("newest", compacted=True)])
            yield log

    async def test_the_keys_have_a_partition_each(self, log: EventLog) -> None:
        where = {(await log.append("river", key, b"")).partition for key in KEYS}
        assert where == {0, 1}

    async def test_what_was_read_by_all_goes_by_age(self, log: EventLog) -> None:
        await fill(log, 5)
        async with await log.subscribe("river", "a") as member:
            newest = max(record.timestamp for record in await read(member, 10))
        await until(lambda: time.time() * 1000 > newest + 1)
        between = newest + 1
        await fill(log, 5)
        await read_all(log, "a", 20)
        assert await log.retain("river", before=between - 1_000_000) == 0
        assert await log.retain("river", before=between) == 10
        assert sorted(await what_is_there(log)) == sorted(
            value for n in range(5) for value in [b"%06d" % n] * 2
        )
        assert await log.retain("river", before=between) == 0
        # The commits hold.
        assert sum((await log.lag("river", "a")).values()) == 0

    async def test_what_one_group_still_needs_stays(self, log: EventLog) -> None:
        await fill(log, 10)
        await read_all(log, "fast", 20)
        async with await log.subscribe("river", "slow") as member:
            records = await read(member, 20)
            for partition in (0, 1):
                mine = [r for r in records if r.partition == partition]
                # Of one partition four, of the other one.
                done = mine[: 4 if partition else 1]
                await member.commit(next_offsets(done))
        assert await log.retain("river", before=LATER, max_bytes=0) == 5
        assert await log.retain("river", before=LATER, max_bytes=0) == 0
        assert len(await what_is_there(log)) == 15
        assert sum((await log.lag("river", "slow")).values()) == 15

    async def test_a_group_that_has_to_come_first_keeps_everything(self, log: EventLog) -> None:
        await fill(log, 3)
        # Nobody has read anything.
        assert await log.retain("river", before=LATER) == 0
        await read_all(log, "fast", 6)
        assert await log.retain("river", before=LATER, needed_by=["writer"]) == 0
        async with await log.subscribe("river", "writer") as member:
            records = await read(member, 6)
            await member.commit(next_offsets([r for r in records if r.partition == 0]))
        # Of the other partition it has committed nothing.
        assert await log.retain("river", before=LATER, needed_by=["writer"]) == 3
        assert len(await what_is_there(log)) == 3

    async def test_the_oldest_go_by_size(self, log: EventLog) -> None:
        await fill(log, 60, size=100_000)
        await read_all(log, "a", 120)
        most = 4_000_000
        # Estimates, both of them: of pages, and from samples.
        assert 60 <= await log.retain("river", max_bytes=most) <= 100
        left = await what_is_there(log)
        assert sum(left.count(b"%06d" % n) for n in range(56, 60)) == 8
        assert await log.retain("river", max_bytes=most) <= 10

    async def test_where_a_partition_begins_is_known(self, log: EventLog, log_url: str) -> None:
        offsets = await fill(log, 5)
        first = (await log.append("river", KEYS[0], b"")).partition
        assert set((await log.start_offsets("river")).values()) == {0}
        async with await log.subscribe("river", "g") as member:
            await member.commit({TopicPartition("river", first): offsets[3]})
        assert await log.committed("river", "g") == {TopicPartition("river", first): offsets[3]}
        assert await log.retain("river", before=LATER) == 3
        starts = await log.start_offsets("river")
        assert offsets[2] < starts[TopicPartition("river", first)] <= offsets[3]
        assert starts[TopicPartition("river", 1 - first)] == 0
        async with await open_again(log, log_url) as again:
            assert await again.start_offsets("river") == starts

    async def test_who_comes_when_all_is_dropped_has_all(self, log: EventLog) -> None:
        """Else it would not watch for silence, say, until the next record of each partition."""
        await fill(log, 5)
        await read_all(log, "a", 10)
        assert await log.retain("river", before=LATER) == 10
        async with await log.subscribe("river", "new") as member, asyncio.timeout(20 * LONGER):
            while member.caught_up().keys() != member.owned or len(member.owned) < TOPIC.partitions:
                assert await member.poll(wait=0.05) == []
            await log.append("river", KEYS[0], b"next")
            assert [record.value for record in await read(member, 1)] == [b"next"]

    async def test_members_are_counted_from_outside(self, log: EventLog) -> None:
        assert await log.members("river", "g") == 0
        async with await log.subscribe("river", "g"), await log.subscribe("river", "g"):
            assert await log.members("river", "g") == 2
        assert await log.members("river", "g") == 0

    async def test_a_group_that_is_gone_for_good_can_be_forgotten(self, log: EventLog) -> None:
        await fill(log, 10)
        await read_all(log, "stays", 20)
        async with await log.subscribe("river", "leaves") as member:
            await member.commit(next_offsets((await read(member, 20))[:5]))
        assert await log.groups("river") == {"stays", "leaves"}
        assert await log.groups("newest") == frozenset()
        assert await log.retain("river", before=LATER) <= 5
        async with await log.subscribe("river", "leaves"):
            with pytest.raises(EventLogError, match="'leaves' has members"):
                await log.forget("leaves")
        await log.forget("leaves")
        assert await log.groups("river") == {"stays"}
        with pytest.raises(EventLogError, match="no group 'leaves'"):
            await log.forget("leaves")
        await log.retain("river", before=LATER)
        assert await what_is_there(log) == []

    async def test_compacted_and_unknown_topics_are_refused(self, log: EventLog) -> None:
        with pytest.raises(EventLogError, match="'newest' is compacted"):
            await log.retain("newest", before=LATER)
        with pytest.raises(EventLogError, match="'absent'"):
            await log.retain("absent", before=LATER)
        with pytest.raises(EventLogError, match="'absent'"):
            await log.start_offsets("absent")
        with pytest.raises(EventLogError, match="'absent'"):
            await log.groups("absent")

    async def test_the_task_goes_by_what_the_url_says(self, log_url: str) -> None:
        now = time.time()
        async with await open_event_log(with_option(log_url, "retention_hours=2")) as log:
            await log.create_topics([TOPIC])
            await fill(log, 3)
            await read_all(log, "writer", 6)
            hour = 3600.0
            for clock, gone in ((now + hour, 0), (now + 2.1 * hour, 6)):
                task = Retainer(log, {"river": ["writer"]}, clock=lambda at=clock: at)
                assert await task.retain() == gone

    async def test_the_task_outlives_what_fails(
        self, log_url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with await open_event_log(log_url) as log:
            await log.create_topics([TOPIC])
            await fill(log, 2)
            await read_all(log, "writer", 4)
            stop = asyncio.Event()
            topics = {"absent": [], "river": []}
            later = lambda: time.time() + 1e7  # noqa: E731
            running = asyncio.create_task(Retainer(log, topics, every=0.01, clock=later).run(stop))
            await until(lambda: caplog.text.count("records of absent could not be dropped") > 1)
            stop.set()
            await asyncio.wait_for(running, 10 * LONGER)
            assert await what_is_there(log) == []


async def open_again(log: EventLog, url: str) -> EventLog:
    await log.close()
    return await open_event_log(url)


def with_option(url: str, option: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{option}"
