"""The Kafka log keeps the contract on a real broker, with topics that are fit for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from support_eventlog import EventLogContract, read
from support_kafka import LONG_SESSION_SECONDS, SESSION_SECONDS, fresh, kafka_url
from support_naiad import LONGER

from naiad_eventlog import (
    EventLog,
    EventLogError,
    Position,
    Topic,
    TopicPartition,
    open_event_log,
)
from naiad_eventlog.kafka.address import KafkaAddress
from naiad_eventlog.kafka.errors import MAX_RECORD_BYTES
from naiad_eventlog.kafka.subscription import KafkaSubscription
from naiad_proto.limits import MAX_MESSAGE_BYTES

__all__ = ["kafka_url"]
pytestmark = pytest.mark.long


class TestKafkaEventLog(EventLogContract):
    @pytest.fixture
    def log_url(self, kafka_url: str) -> str:
        return fresh(kafka_url, session_seconds=LONG_SESSION_SECONDS)


async def admin(url: str) -> AIOKafkaAdminClient:
    client = AIOKafkaAdminClient(**KafkaAddress.parse(url).client_options())
    await client.start()
    return client


async def make(url: str, topic: str, settings: dict[str, str]) -> None:
    """As somebody else would have made it."""
    client = await admin(url)
    name = KafkaAddress.parse(url).prefix + topic
    try:
        await client.create_topics([NewTopic(name, 1, 1, topic_configs=settings)])
        async with asyncio.timeout(20 * LONGER):
            # The broker may take a moment to hear of it from its controller.
            while name not in await client.list_topics():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await client.close()


async def settings(url: str, topic: str) -> dict[str, str]:
    client = await admin(url)
    try:
        name = KafkaAddress.parse(url).prefix + topic
        (found,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    finally:
        await client.close()
    return {name: value for name, value, *_ in found.resources[0][4]}


async def test_topics_are_made_with_what_naiad_needs(kafka_url: str) -> None:
    url = fresh(kafka_url, retention_hours=48)
    async with await open_event_log(url) as log:
        await log.create_topics([Topic("river", 3), Topic("newest", compacted=True)])
    river, newest = await settings(url, "river"), await settings(url, "newest")
    assert river["cleanup.policy"] == "delete"
    # Whatever is asked for: brokers would not wait for groups.
    assert river["retention.ms"] == river["retention.bytes"] == "-1"
    assert newest["cleanup.policy"] == "compact"
    for made in (river, newest):
        assert made["max.message.bytes"] == str(MAX_RECORD_BYTES)
        assert made["message.timestamp.type"] == "LogAppendTime"


@pytest.mark.parametrize(
    ("setting", "compacted", "named"),
    [
        ({"max.message.bytes": "1048588"}, False, "'river'.*max.message.bytes=1048588"),
        ({"cleanup.policy": "compact"}, False, "'river'.*cleanup.policy=compact"),
        ({"cleanup.policy": "compact,delete"}, True, "'river'.*cleanup.policy=compact,delete"),
        ({"compression.type": "zstd"}, False, "'river'.*compression.type=zstd"),
    ],
)
async def test_topics_that_cannot_serve_are_named(
    kafka_url: str, setting: dict[str, str], compacted: bool, named: str
) -> None:
    url = fresh(kafka_url)
    wanted = {
        "max.message.bytes": str(MAX_RECORD_BYTES),
        "cleanup.policy": "compact" if compacted else "delete",
        **setting,
    }
    await make(url, "river", wanted)
    async with await open_event_log(url) as log:
        with pytest.raises(EventLogError, match=named):
            await log.create_topics([Topic("river", compacted=compacted)])


async def test_a_topic_that_another_has_just_made_is_asked_about_again(
    kafka_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker that is asked for its settings may hear of it a moment later."""
    describe = AIOKafkaAdminClient.describe_configs
    answers: list[int] = []

    async def late(self: AIOKafkaAdminClient, resources: list[ConfigResource]) -> Any:
        found = await describe(self, resources)
        if not answers:
            found[0].resources = [(3, "", 2, "river", [])]
        answers.append(found[0].resources[0][0])
        return found

    monkeypatch.setattr(AIOKafkaAdminClient, "describe_configs", late)
    url = fresh(kafka_url)
    async with await open_event_log(url) as log, await open_event_log(url) as other:
        await log.create_topics([Topic("river")])
        await other.create_topics([Topic("river")])
    assert answers == [3, 0]


async def test_a_retention_of_the_brokers_own_is_warned_of(
    kafka_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = fresh(kafka_url)
    wanted = {"max.message.bytes": str(MAX_RECORD_BYTES), "retention.ms": "3600000"}
    await make(url, "river", wanted)
    async with await open_event_log(url) as log:
        await log.create_topics([Topic("river"), Topic("other")])
    warnings = [r.getMessage() for r in caplog.records if "is there with" in r.getMessage()]
    assert len(warnings) == 1
    assert "'river' is there with retention.ms=3600000" in warnings[0]


async def test_asking_for_a_topic_does_not_make_it(kafka_url: str) -> None:
    # Brokers make topics that are merely asked for, unless told not to: ours isn't.
    url = fresh(kafka_url)
    async with await open_event_log(url) as log:
        with pytest.raises(EventLogError, match="'absent'"):
            await log.append("absent", b"k", b"v")
        with pytest.raises(EventLogError, match="'absent'"):
            await log.end_offsets("absent")
    client = await admin(url)
    try:
        assert KafkaAddress.parse(url).prefix + "absent" not in await client.list_topics()
    finally:
        await client.close()


async def test_the_largest_batches_pass_and_larger_ones_are_refused(kafka_url: str) -> None:
    largest = bytes(range(256)) * ((MAX_MESSAGE_BYTES + 1024 * 1024) // 256)
    # 120 MB through one connection.
    async with await open_event_log(fresh(kafka_url, append_seconds=60 * LONGER)) as log:
        await log.create_topics([Topic("river", 8)])
        with pytest.raises(EventLogError, match=f"{MAX_RECORD_BYTES:,}"):
            await log.append("river", b"k", bytes(MAX_RECORD_BYTES))
        # Together more than a broker takes in one request (100 MiB).
        keys = [b"key %d" % n for n in range(7)]
        await asyncio.gather(*(log.append("river", key, largest) for key in keys))
        async with await log.subscribe("river", "g") as subscription:
            found: list[bytes] = []
            async with asyncio.timeout(60 * LONGER):
                while len(found) < len(keys):
                    for record in await subscription.poll(wait=1):
                        assert record.value == largest
                        found.append(record.key)
    assert sorted(found) == keys


async def test_after_a_refused_record_others_still_go(kafka_url: str) -> None:
    url = fresh(kafka_url)
    async with await open_event_log(url) as log:
        await log.create_topics([Topic("river")])
        await log.append("river", b"k", b"first")
        # Behind its back, so that it is the broker that refuses.
        client = await admin(url)
        name = KafkaAddress.parse(url).prefix + "river"
        small = ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": "1000"})
        await client.alter_configs([small])
        await client.close()
        taken: list[Position] = []
        with pytest.raises(EventLogError, match=r"max\.message\.bytes"):
            await asyncio.wait_for(append_until_refused(log, taken), 20 * LONGER)
        await asyncio.gather(*(log.append("river", b"k", b"%d" % n) for n in range(10)))
        async with await log.subscribe("river", "g") as subscription:
            values = [record.value for record in await read(subscription, 11 + len(taken))]
    assert [v for v in values if len(v) < 5000] == [b"first"] + [b"%d" % n for n in range(10)]


async def append_until_refused(log: EventLog, taken: list[Position]) -> None:
    # A broker may take a moment to hear of the setting.
    while True:
        taken.append(await log.append("river", b"k", bytes(5000)))


async def test_a_session_that_the_brokers_refuse_is_named(kafka_url: str) -> None:
    async with await open_event_log(fresh(kafka_url, session_seconds=1)) as log:
        await log.create_topics([Topic("river")])
        async with asyncio.timeout(10 * LONGER):
            with pytest.raises(EventLogError, match=r"'g' could not be joined: .*session_seconds"):
                await log.subscribe("river", "g")


async def test_a_member_whose_insert_takes_long_stays_in_its_group(kafka_url: str) -> None:
    """Longer than a session: it tells of itself whether or not it asks for records."""
    # One longer than this process may stand still.
    seconds = SESSION_SECONDS * LONGER
    async with await open_event_log(fresh(kafka_url, session_seconds=seconds)) as log:
        await log.create_topics([Topic("river", 2)])
        async with await log.subscribe("river", "g") as subscription:
            generation = subscription.generation
            await asyncio.sleep(seconds * 1.5)
            assert await subscription.confirm(generation)
            assert len(subscription.owned) == 2


async def test_a_quiet_topic_is_given_at_once(kafka_url: str) -> None:
    """What a poll that must not wait knows to be there it does not wait for once it is here: of a
    topic to which nothing more comes, that was twenty seconds."""
    url = fresh(kafka_url, session_seconds=LONG_SESSION_SECONDS)
    async with await open_event_log(url) as log:
        await log.create_topics([Topic("river")])
        for n in range(12):
            await log.append("river", b"k", b"%d" % n)
        async with await log.subscribe("river", "g") as subscription:
            assert isinstance(subscription, KafkaSubscription)
            # It asks ahead, and what came lies ready.
            if subscription._taking:
                await asyncio.wait({subscription._taking})
            records = await subscription.poll(wait=0)
            assert subscription._taking is None, "it has waited for more"
    assert [record.value for record in records] == [b"%d" % n for n in range(12)]


async def test_records_lost_to_retention_are_reported(
    kafka_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = fresh(kafka_url)
    async with await open_event_log(url) as log:
        await log.create_topics([Topic("river")])
        for n in range(10):
            await log.append("river", b"k", b"%d" % n)
        where = TopicPartition("river", 0)
        async with await log.subscribe("river", "g") as subscription:
            await read(subscription, 10)
            await subscription.commit({where: 2})
        await drop_records(url, "river", below=6)
        async with await log.subscribe("river", "g") as subscription:
            assert sum((await subscription.lag()).values()) == 4
            records = await read(subscription, 4)
            assert [r.value for r in records] == [b"6", b"7", b"8", b"9"]
        assert "4 records of river, partition 0, were dropped before group 'g'" in caplog.text


async def drop_records(url: str, topic: str, below: int) -> None:
    from aiokafka import TopicPartition as KafkaPartition
    from aiokafka.admin.records_to_delete import RecordsToDelete

    client = await admin(url)
    try:
        where = KafkaPartition(KafkaAddress.parse(url).prefix + topic, 0)
        await client.delete_records({where: RecordsToDelete(before_offset=below)})
    finally:
        await client.close()
