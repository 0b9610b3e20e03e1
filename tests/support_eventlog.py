"""What every event log must do. An engine's test module subclasses `EventLogContract` and
gives the fixture `log_url`."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_naiad import LONGER

from naiad_eventlog import (
    EventLog,
    EventLogError,
    Record,
    StartFrom,
    Subscription,
    Topic,
    TopicPartition,
    open_event_log,
)

TOPIC = Topic("river", partitions=4)
EXAMPLES = itertools.count()
COMPACTED = Topic("newest", partitions=1, compacted=True)


async def read(subscription: Subscription, count: int, seconds: float = 20) -> list[Record]:
    """Polls until `count` records came; fails if they don't."""
    found: list[Record] = []
    async with asyncio.timeout(seconds * LONGER):
        while len(found) < count:
            found += await subscription.poll(wait=0.5)
    assert len(found) == count
    return found


async def all_there(subscription: Subscription) -> list[Record]:
    """All that the log has for it now. While its group settles, as it also does with a member
    that stood still, a poll that does not wait gives nothing."""
    found: list[Record] = []
    async with asyncio.timeout(60 * LONGER):
        while True:
            generation = subscription.generation
            records = await subscription.poll(wait=0)
            found += records
            if not records:
                if await subscription.confirm(generation):
                    return found
                await asyncio.sleep(0.02)


def next_offsets(records: list[Record]) -> dict[TopicPartition, int]:
    offsets: dict[TopicPartition, int] = {}
    for record in records:
        where = TopicPartition(record.topic, record.partition)
        offsets[where] = max(offsets.get(where, 0), record.offset + 1)
    return offsets


def by_key(records: list[Record]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = defaultdict(list)
    for record in records:
        found[record.key].append(record.value)
    return dict(found)


class EventLogContract:
    @pytest.fixture
    async def log(self, log_url: str) -> AsyncIterator[EventLog]:
        async with await open_event_log(log_url) as log:
            await log.create_topics([TOPIC, COMPACTED])
            yield log

    async def test_what_is_appended_comes_back_in_order(self, log: EventLog) -> None:
        positions = [await log.append("river", b"k", b"%d" % n) for n in range(20)]
        assert len({p.partition for p in positions}) == 1
        assert [p.offset for p in positions] == sorted({p.offset for p in positions})
        async with await log.subscribe("river", "g") as subscription:
            records = await read(subscription, 20)
        assert [r.value for r in records] == [b"%d" % n for n in range(20)]
        assert [r.position for r in records] == positions
        assert all(r.key == b"k" and r.timestamp > 1_600_000_000_000 for r in records)

    async def test_empty_and_large_values(self, log: EventLog) -> None:
        large = bytes(range(256)) * 40_000
        await log.append("river", b"k", b"")
        await log.append("river", b"k", large)
        async with await log.subscribe("river", "g") as subscription:
            assert [r.value for r in await read(subscription, 2)] == [b"", large]

    async def test_a_record_over_max_bytes_still_comes(self, log: EventLog) -> None:
        for n in range(3):
            await log.append("river", b"k", bytes([n]) * 1000)
        async with await log.subscribe("river", "g") as subscription:
            sizes = [len(await subscription.poll(max_bytes=10, wait=20 * LONGER)) for _ in range(3)]
        assert sizes == [1, 1, 1]

    async def test_max_records_bounds_a_poll(self, log: EventLog) -> None:
        for n in range(10):
            await log.append("river", b"%d" % n, b"")
        async with await log.subscribe("river", "g") as subscription:
            assert len(await subscription.poll(max_records=3, wait=5)) <= 3

    async def test_groups_read_on_their_own(self, log: EventLog) -> None:
        await log.append("river", b"k", b"v")
        for group in ("one", "two"):
            async with await log.subscribe("river", group) as subscription:
                records = await read(subscription, 1)
                await subscription.commit(next_offsets(records))

    async def test_what_was_not_committed_comes_again(self, log: EventLog, log_url: str) -> None:
        for n in range(6):
            await log.append("river", b"k", b"%d" % n)
        async with await log.subscribe("river", "g") as subscription:
            records = await read(subscription, 6)
            await subscription.commit(next_offsets(records[:2]))
            assert set((await subscription.committed()).values()) == {records[2].offset}
            assert sum((await subscription.lag()).values()) == 4
        async with await log.subscribe("river", "g") as subscription:
            assert [r.value for r in await read(subscription, 4)] == [b"2", b"3", b"4", b"5"]

    async def test_the_lag_of_a_group_is_known_without_joining_it(self, log: EventLog) -> None:
        for n in range(6):
            position = await log.append("river", b"k", b"%d" % n)
        where = TopicPartition("river", position.partition)
        lag = await log.lag("river", "g")
        assert len(lag) == TOPIC.partitions
        assert (sum(lag.values()), lag[where]) == (6, 6)
        async with await log.subscribe("river", "g") as subscription:
            records = await read(subscription, 6)
            await subscription.commit(next_offsets(records[:2]))
            assert await log.lag("river", "g") == lag | {where: 4} == await subscription.lag()
            # The member has all partitions still.
            await log.append("river", b"k", b"6")
            assert [r.value for r in await read(subscription, 1)] == [b"6"]
        assert sum((await log.lag("river", "another")).values()) == 7
        with pytest.raises(EventLogError, match="'absent'"):
            await log.lag("absent", "g")

    async def test_commits_and_records_outlive_the_process(self, log_url: str) -> None:
        async with await open_event_log(log_url) as log:
            await log.create_topics([TOPIC])
            await log.append("river", b"k", b"first")
            async with await log.subscribe("river", "g") as subscription:
                await subscription.commit(next_offsets(await read(subscription, 1)))
        async with await open_event_log(log_url) as log:
            await log.create_topics([TOPIC])
            await log.append("river", b"k", b"second")
            async with await log.subscribe("river", "g") as subscription:
                assert [r.value for r in await read(subscription, 1)] == [b"second"]

    async def test_replay_from_the_earliest_and_from_a_position(self, log: EventLog) -> None:
        positions = [await log.append("river", b"k", b"%d" % n) for n in range(5)]
        async with await log.subscribe("river", "g") as subscription:
            await subscription.commit(next_offsets(await read(subscription, 5)))
        async with await log.subscribe("river", "g", StartFrom.EARLIEST) as subscription:
            assert len(await read(subscription, 5)) == 5
            where = TopicPartition("river", positions[0].partition)
            await subscription.seek(where, positions[3].offset)
            assert [r.value for r in await read(subscription, 2)] == [b"3", b"4"]

    async def test_the_latest_skips_what_was_there(self, log: EventLog) -> None:
        await log.append("river", b"k", b"old")
        async with await log.subscribe("river", "g", StartFrom.LATEST) as subscription:
            assert await subscription.poll(wait=0) == []
            await log.append("river", b"k", b"new")
            assert [r.value for r in await read(subscription, 1)] == [b"new"]

    async def test_a_waiting_poll_wakes_up(self, log: EventLog) -> None:
        async with await log.subscribe("river", "g") as subscription:
            polling = asyncio.create_task(subscription.poll(wait=60 * LONGER))
            await asyncio.sleep(0)
            await log.append("river", b"k", b"v")
            async with asyncio.timeout(20 * LONGER):
                records = await polling
                if not records:
                    records = await read(subscription, 1)
            assert [r.value for r in records] == [b"v"]

    async def test_members_of_a_group_share_the_partitions(self, log: EventLog) -> None:
        keys = [b"key %d" % n for n in range(40)]
        async with await log.subscribe("river", "g") as first:
            async with await log.subscribe("river", "g") as second:
                for key in keys:
                    await log.append("river", key, b"v")
                seen: list[set[int]] = [set(), set()]
                records: list[Record] = []
                async with asyncio.timeout(60 * LONGER):
                    while len(records) < len(keys):
                        for number, member in enumerate((first, second)):
                            came = await member.poll(wait=0.2)
                            seen[number] |= {r.partition for r in came}
                            records += came
                            await member.commit(next_offsets(came))
                assert sorted(r.key for r in records) == sorted(keys)
                assert not seen[0] & seen[1]
            await log.append("river", b"after", b"v")
            # All partitions are the first member's again, from where the second committed.
            assert [r.key for r in await read(first, 1)] == [b"after"]

    async def test_what_was_dealt_with_is_committed_before_partitions_move(
        self, log: EventLog
    ) -> None:
        for n in range(40):
            await log.append("river", b"key %d" % n, b"v")
        done: list[Record] = []

        async def hand_over() -> dict[TopicPartition, int]:
            return next_offsets(done)

        async with await log.subscribe("river", "g", on_revoke=hand_over) as first:
            records = await read(first, 40)
            # Some of each partition.
            for partition in range(TOPIC.partitions):
                of_it = [r for r in records if r.partition == partition]
                done += of_it[: len(of_it) // 2]
            assert await first.committed() == {}
            async with await log.subscribe("river", "g") as second:
                assert await second.committed() == next_offsets(done)
                moved = {where.partition for where in await second.lag()}
                assert 0 < len(moved) < TOPIC.partitions
                expected = [r for r in records if r.partition in moved and r not in done]
                came = await read(second, len(expected))
                assert sorted(r.position for r in came) == sorted(r.position for r in expected)
                # What stayed goes on where it was, dealt with or not.
                assert await first.poll(wait=0) == []

    async def test_a_member_that_fails_to_hand_over_keeps_nobody_out(
        self, log: EventLog, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def fail() -> dict[TopicPartition, int]:
            raise RuntimeError("a fault of the member")

        for n in range(20):
            await log.append("river", b"key %d" % n, b"v")
        async with await log.subscribe("river", "g", on_revoke=fail) as first:
            records = await read(first, 20)
            async with await log.subscribe("river", "g") as second:
                moved = {where.partition for where in await second.lag()}
                came = await read(second, len([r for r in records if r.partition in moved]))
                assert {r.partition for r in came} == moved
        assert "a fault of the member" in caplog.text

    async def test_a_member_knows_what_it_owns_and_for_how_long(self, log: EventLog) -> None:
        async with await log.subscribe("river", "g") as first:
            generation = first.generation
            assert generation
            assert first.owned == {TopicPartition("river", n) for n in range(TOPIC.partitions)}
            assert await first.confirm(generation)
            assert not await first.confirm(generation - 1)

            async def generation_over() -> None:
                while await first.confirm(generation):
                    await first.poll(wait=0.05)

            async with await log.subscribe("river", "g") as second:
                async with asyncio.timeout(30 * LONGER):
                    await generation_over()
                    # The group may have to settle, and each of them hears of it by itself.
                    while not (
                        await first.confirm(first.generation)
                        and await second.confirm(second.generation)
                    ):
                        await first.poll(wait=0.05)
                assert first.generation > generation
                assert not first.owned & second.owned
                assert len(first.owned | second.owned) == TOPIC.partitions
                assert await second.confirm(second.generation)

    async def test_a_late_commit_of_another_generation_is_left_out(self, log: EventLog) -> None:
        for n in range(20):
            await log.append("river", b"key %d" % n, b"v")
        async with await log.subscribe("river", "g") as first:
            generation = first.generation
            records = await read(first, 20)
            async with await log.subscribe("river", "g"):
                pass
            # Another one had some of them, and all of them are its own again.
            async with asyncio.timeout(30 * LONGER):
                while len(first.owned) < TOPIC.partitions or not await first.confirm(
                    first.generation
                ):
                    await first.poll(wait=0.05)
            await first.commit(next_offsets(records), generation=generation)
            assert await first.committed() == {}
            await first.commit(next_offsets(records), generation=first.generation)
            assert await first.committed() == next_offsets(records)

    async def test_a_member_knows_of_which_partitions_it_has_all(self, log: EventLog) -> None:
        async with await log.subscribe("river", "g") as member:
            async with asyncio.timeout(20 * LONGER):
                while member.caught_up().keys() != member.owned:
                    assert not await member.poll(wait=0.05)
            # Others may be appending, and it can't have heard of that yet.
            positions = [await log.append("river", b"key %d" % n, b"v") for n in range(20)]
            await read(member, 20)

            def lately() -> bool:
                known = member.caught_up()
                return known.keys() == member.owned and all(0 <= ago < 5 for ago in known.values())

            async with asyncio.timeout(20 * LONGER):
                # What it knew before this process stood still is old; it hears again.
                while not lately():
                    assert not await member.poll(wait=0.05)
            # One that was read in part, again from its beginning.
            where = TopicPartition("river", positions[0].partition)
            await member.seek(where, 0)
            assert where not in member.caught_up()
            async with asyncio.timeout(20 * LONGER):
                while member.caught_up().keys() != member.owned:
                    await member.poll(wait=0.05)

    async def test_end_offsets_are_beyond_every_record(self, log: EventLog) -> None:
        position = await log.append("river", b"k", b"v")
        ends = await log.end_offsets("river")
        assert len(ends) == TOPIC.partitions
        assert ends[TopicPartition("river", position.partition)] > position.offset

    async def test_a_compacted_topic_keeps_the_newest_of_each_key(self, log_url: str) -> None:
        async with await open_event_log(log_url) as log:
            await log.create_topics([COMPACTED])
            for n in range(50):
                await log.append("newest", b"key %d" % (n % 5), b"%d" % n)
        async with await open_event_log(log_url) as log:
            await log.create_topics([COMPACTED])
            async with await log.subscribe("newest", "g", StartFrom.EARLIEST) as subscription:
                records: list[Record] = []
                async with asyncio.timeout(20 * LONGER):
                    while not records or records[-1].value != b"49":
                        records += await subscription.poll(wait=0.5)
        newest = {key: values[-1] for key, values in by_key(records).items()}
        assert newest == {b"key %d" % n: b"%d" % (45 + n) for n in range(5)}

    async def test_unknown_topics_and_wrong_settings_are_named(self, log: EventLog) -> None:
        with pytest.raises(EventLogError, match="'absent'"):
            await log.append("absent", b"k", b"v")
        with pytest.raises(EventLogError, match="'absent'"):
            await log.subscribe("absent", "g")
        with pytest.raises(EventLogError, match="'river'"):
            await log.create_topics([Topic("river", partitions=4, compacted=True)])
        # Asking again for what is there is fine, and so are more partitions ...
        await log.create_topics([TOPIC])
        await log.create_topics([Topic("river", partitions=6)])
        assert len(await log.end_offsets("river")) == 6
        # ... which stay when another process asks for as many as it knows of.
        await log.create_topics([TOPIC])
        assert len(await log.end_offsets("river")) == 6
        await log.create_topics([Topic("keys", partitions=2, compacted=True)])
        with pytest.raises(EventLogError, match="'keys'"):
            await log.create_topics([Topic("keys", partitions=1, compacted=True)])

    async def test_concurrent_appends_all_arrive_once(self, log: EventLog) -> None:
        async def append(task: int) -> None:
            for n in range(25):
                await log.append("river", b"key %d" % task, b"%d" % n)

        await asyncio.gather(*(append(task) for task in range(20)))
        async with await log.subscribe("river", "g") as subscription:
            records = await read(subscription, 500)
        assert by_key(records) == {
            b"key %d" % task: [b"%d" % n for n in range(25)] for task in range(20)
        }

    async def test_a_closed_log_says_so(self, log: EventLog) -> None:
        await log.close()
        with pytest.raises(EventLogError, match="closed"):
            await log.append("river", b"k", b"v")

    @settings(
        max_examples=15,
        deadline=None,
        # Each engine has a class of its own, and none replays another's examples.
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
    )
    @given(
        actions=st.lists(
            st.one_of(
                st.tuples(st.just("append"), st.integers(0, 5)),
                st.tuples(st.just("poll"), st.integers(1, 7)),
                st.just(("commit", 0)),
                st.just(("reopen", 0)),
            ),
            max_size=40,
        )
    )
    async def test_each_record_comes_at_least_once_and_in_order(
        self, log: EventLog, actions: list[tuple[str, int]]
    ) -> None:
        topic = Topic(f"example-{next(EXAMPLES)}", 3)
        await log.create_topics([topic])
        subscription = await log.subscribe(topic.name, "g")
        sent: dict[bytes, list[bytes]] = defaultdict(list)
        pending: list[Record] = []
        done: list[Record] = []

        async def commit() -> None:
            await subscription.commit(next_offsets(pending))
            done.extend(pending)
            pending.clear()

        for number, (action, argument) in enumerate(actions):
            if action == "append":
                key = b"key %d" % argument
                await log.append(topic.name, key, b"%d" % number)
                sent[key].append(b"%d" % number)
            elif action == "poll":
                pending += await subscription.poll(max_records=argument, wait=0)
            elif action == "commit":
                await commit()
            else:
                await subscription.close()
                pending.clear()
                subscription = await log.subscribe(topic.name, "g")
        while sum((await subscription.lag()).values()):
            pending += await subscription.poll(wait=0.2)
            await commit()
        await subscription.close()
        # What was done and committed, whatever was interrupted between, is all, in order.
        assert by_key(done) == dict(sent)
