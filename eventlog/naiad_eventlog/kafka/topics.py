"""Topics of the cluster: made with the settings that Naiad needs, or checked for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupIdNotFound,
    KafkaError,
    NonEmptyGroup,
    TopicAlreadyExistsError,
    for_code,
)
from aiokafka.protocol.admin import DeleteGroupsRequest

from naiad_eventlog.interface import EventLogError, Topic
from naiad_eventlog.kafka.address import KafkaAddress
from naiad_eventlog.kafka.errors import MAX_RECORD_BYTES, as_log_error

log = logging.getLogger(__name__)

# Three copies, of which two have to be there for an append to be confirmed: any one broker
# may be lost or restarted.
_COPIES = 3
# Settings of a topic with which records stand in a form that we can read.
_CODECS = ("producer", "uncompressed", "gzip")
# How long a cluster may be without answer while brokers change, and how often to look.
_PATIENCE = 15.0
_PAUSE = 0.1

T = TypeVar("T")


class TopicAdmin:
    """Names here are the cluster's, with the prefix."""

    def __init__(self, address: KafkaAddress) -> None:
        self._address = address
        self._client = AIOKafkaAdminClient(**address.client_options())

    async def start(self) -> None:
        """Raises EventLogError when no broker answers."""
        try:
            await self._client.start()
        except KafkaError as error:
            raise EventLogError(
                f"{self._address.named} can't be reached: {error}; is a broker running there, and"
                " do TLS and login fit?"
            ) from error

    async def close(self) -> None:
        await self._client.close()

    async def partitions(self, name: str) -> int | None:
        """How many partitions the topic has, None if there is no such topic."""
        found = await self._describe()
        return len(found[name]["partitions"]) if name in found else None

    async def committed(self, name: str, group: str) -> dict[int, int]:
        """The group's offsets in that topic, by partition; those without one are absent."""
        found = await self._patiently(
            lambda: self._client.list_consumer_group_offsets(group),
            f"the offsets of group {group!r} can't be read",
        )
        return {
            where.partition: at.offset
            for where, at in found.items()
            if where.topic == name and at.offset >= 0
        }

    async def groups(self) -> set[str]:
        """All of the cluster that store offsets there."""
        found = await self._patiently(
            self._client.list_consumer_groups, f"{self._address.named} does not name its groups"
        )
        return {name for name, *_ in found}

    async def members(self, group: str) -> int:
        """How many members the group has now."""
        (response,) = await self._patiently(
            lambda: self._client.describe_consumer_groups([group]),
            f"the members of group {group!r} can't be found out",
        )
        return sum(len(described[5]) for described in response.groups)

    async def forget(self, group: str) -> None:
        """Raises NonEmptyGroup, GroupIdNotFound, EventLogError."""
        # The client can't, but has the request; test_kafka.py tells when it changes.
        coordinator = await self._patiently(
            lambda: self._client.find_coordinator(group), f"nobody knows of group {group!r}"
        )
        response = await self._patiently(
            lambda: self._client._send_request(DeleteGroupsRequest([group]), coordinator),
            f"group {group!r} can't be forgotten",
        )
        ((_, code),) = response.results
        if code:
            error = for_code(code)()
            if isinstance(error, NonEmptyGroup | GroupIdNotFound):
                raise error
            raise as_log_error(error, f"group {group!r} can't be forgotten")

    async def drop(self, name: str, below: Mapping[int, int]) -> None:
        """Drops the topic's records below these offsets, by partition."""
        wanted = {
            KafkaPartition(name, number): RecordsToDelete(before_offset=offset)
            for number, offset in below.items()
        }
        await self._patiently(
            lambda: self._client.delete_records(wanted), f"old records of {name} can't be dropped"
        )

    async def ensure(self, name: str, topic: Topic) -> None:
        """Raises EventLogError, naming topic and setting, when what is there can't serve."""
        if topic.partitions < 1:
            raise EventLogError(f"topic {topic.name!r} needs at least one partition")
        there = await self.partitions(name)
        if there is None:
            await self._create(name, topic)
            there = topic.partitions
        else:
            if there > topic.partitions and topic.compacted:
                raise EventLogError(
                    f"topic {topic.name!r} is there with {there} partitions; {topic} was asked"
                    " for, and with more the newest record of a key can't be told"
                )
            await self._check(name, topic)
        if there < topic.partitions:
            wanted = {name: NewPartitions(topic.partitions)}
            await self._patiently(
                lambda: self._client.create_partitions(wanted),
                f"topic {topic.name!r} could not get more partitions",
            )
        await self._until_led(name, topic.partitions)

    async def _create(self, name: str, topic: Topic) -> None:
        brokers = (await self._patiently(self._client.describe_cluster, "no description"))[
            "brokers"
        ]
        copies = self._address.replication or min(_COPIES, len(brokers))
        settings = {
            "max.message.bytes": str(MAX_RECORD_BYTES),
            "min.insync.replicas": "2" if copies >= _COPIES else "1",
            # A record's time is when the log took it, whatever the clock of who appended.
            "message.timestamp.type": "LogAppendTime",
            # As we send it, whatever the brokers' default is.
            "compression.type": "producer",
        }
        if topic.compacted:
            # Only closed segments are compacted: small ones, or a start reads old news for
            # long.
            settings |= {
                "cleanup.policy": "compact",
                "segment.bytes": str(64 * 1024 * 1024),
                "segment.ms": str(3600 * 1000),
            }
        else:
            # Brokers drop by age whatever groups have read; `retain` waits for them.
            settings |= {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}
        new = NewTopic(name, topic.partitions, copies, topic_configs=settings)
        response = await self._patiently(
            lambda: self._client.create_topics([new]), f"topic {topic.name!r} could not be made"
        )
        for _, code, message in response.topic_errors:
            # Another process may have been first.
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise EventLogError(
                    f"topic {topic.name!r} could not be made: {for_code(code).__name__}: {message}"
                )
            if code:
                await self._check(name, topic)

    async def _check(self, name: str, topic: Topic) -> None:
        settings = await self._settings(name)
        size = int(settings.get("max.message.bytes", MAX_RECORD_BYTES))
        if size < MAX_RECORD_BYTES:
            raise EventLogError(
                f"topic {topic.name!r} is there with max.message.bytes={size}; records of up to"
                f" {MAX_RECORD_BYTES} have to fit: change it with kafka-configs.sh"
            )
        policy = settings.get("cleanup.policy", "")
        wanted = "compact" if topic.compacted else "delete"
        if policy and policy != wanted:
            raise EventLogError(
                f"topic {topic.name!r} is there with cleanup.policy={policy}; it has to be"
                f" {wanted}, or records are lost"
            )
        codec = settings.get("compression.type", "producer")
        if codec not in _CODECS:
            raise EventLogError(
                f"topic {topic.name!r} is there with compression.type={codec}, which can't be read"
                f" here; it may be {', '.join(_CODECS)}"
            )
        limits = {
            setting: settings[setting]
            for setting in ("retention.ms", "retention.bytes")
            if settings.get(setting, "-1") != "-1"
        }
        if limits and not topic.compacted:
            log.warning(
                "topic %r is there with %s: its brokers drop records whether or not they were read,"
                " and a consumer that stands still for too long loses some. With %s=-1"
                " (kafka-configs.sh) that is left to Naiad, which waits for its consumers",
                topic.name,
                " and ".join(f"{setting}={value}" for setting, value in limits.items()),
                "=-1 and ".join(limits),
            )

    async def _settings(self, name: str) -> dict[str, str]:
        resource = ConfigResource(ConfigResourceType.TOPIC, name)

        async def ask() -> dict[str, str]:
            (response,) = await self._client.describe_configs([resource])
            settings: dict[str, str] = {}
            for code, message, _, _, entries in response.resources:
                if code:
                    # Of a topic that another process has just made a broker may not know yet.
                    raise for_code(code)(message)
                settings |= {key: value for key, value, *_ in entries if value is not None}
            return settings

        return await self._patiently(ask, f"the settings of topic {name!r} can't be read")

    async def _until_led(self, name: str, partitions: int) -> None:
        """Until each partition has a leader, so that the first append finds one."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while True:
                    found = (await self._describe()).get(name, {"partitions": []})["partitions"]
                    if len(found) >= partitions and all(part["leader"] >= 0 for part in found):
                        return
                    await asyncio.sleep(_PAUSE)
        except TimeoutError as error:
            raise EventLogError(f"topic {name!r} has partitions without a leader") from error

    async def _describe(self) -> dict[str, Any]:
        # All topics, since asking for one by name makes it where the cluster does so.
        topics: Iterable[dict[str, Any]] = await self._patiently(
            self._client.describe_topics, f"{self._address.named} does not name its topics"
        )
        return {topic["topic"]: topic for topic in topics}

    async def _patiently(self, ask: Callable[[], Awaitable[T]], failing: str) -> T:
        """Again while brokers come and go; asking twice for the same is harmless here."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _PATIENCE
        while True:
            try:
                return await ask()
            except (KafkaError, TimeoutError) as error:
                retriable = isinstance(error, TimeoutError) or error.retriable
                if not retriable or loop.time() > until:
                    known = error if isinstance(error, KafkaError) else KafkaError("no answer")
                    raise as_log_error(known, failing) from error
            await asyncio.sleep(_PAUSE)
