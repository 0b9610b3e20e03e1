"""The Kafka log and a broker of its own: killed, gone, back again; with TLS and a login."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import kafka_cluster
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from kafka_cluster import KafkaCluster, Secure
from support_eventlog import all_there, next_offsets, read
from support_kafka import fresh, until
from support_naiad import LONGER

from naiad_eventlog import (
    EventLog,
    EventLogError,
    EventLogFull,
    Position,
    StartFrom,
    Topic,
    TopicPartition,
    open_event_log,
)
from naiad_eventlog.kafka import address, appending
from naiad_eventlog.kafka.log import KafkaEventLog

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def broker(
    authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaCluster]:
    if lack := kafka_cluster.missing():
        pytest.skip(lack)
    folder = tmp_path_factory.mktemp("broker")
    issued = authority.issue_cert("localhost", "127.0.0.1")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for blob in issued.cert_chain_pems:
        pem += blob.bytes()
    (folder / "broker.pem").write_bytes(pem)
    secure = Secure(folder / "broker.pem", "naiad", "s3cret")
    with KafkaCluster(folder / "cluster", secure=secure) as cluster:
        yield cluster


async def started_again(broker: KafkaCluster) -> None:
    broker.spawn(1)
    await asyncio.to_thread(broker.wait, 1)


def hurry(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has its appends give up after a second: less than a slow machine may take for those that
    have to succeed."""
    assert isinstance(log, KafkaEventLog)
    appender = log._appender
    monkeypatch.setattr(appender, "_address", replace(appender._address, append_seconds=1))


@pytest.mark.slow
async def test_a_broker_killed_in_the_middle_loses_nothing(broker: KafkaCluster) -> None:
    acknowledged: list[tuple[Position, bytes]] = []
    unsure: set[bytes] = set()
    handled: list[Position] = []
    stop, killed, appended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def lacking() -> set[Position]:
        return {position for position, _ in acknowledged} - set(handled)

    async with await open_event_log(fresh(broker.url)) as log:
        await log.create_topics([Topic("river", 4)])

        async def append(task: int) -> None:
            number = 0
            while not stop.is_set():
                value = b"%d.%d" % (task, number)
                try:
                    acknowledged.append((await log.append("river", b"key %d" % task, value), value))
                except EventLogError:
                    # As a shipper would: again, and it may be there twice.
                    unsure.add(value)
                else:
                    number += 1

        async def consume() -> None:
            async with await log.subscribe("river", "g") as member:
                # Of the appends that are under way at the stop some are acknowledged yet.
                while not appended.is_set() or lacking():
                    try:
                        records = await member.poll(wait=0.1)
                        handled.extend(r.position for r in records)
                        await member.commit(next_offsets(records))
                    except EventLogError:
                        assert killed.is_set()

        def more(count: int) -> Callable[[], bool]:
            enough = len(acknowledged) + count
            return lambda: len(acknowledged) >= enough

        writers = [asyncio.create_task(append(task)) for task in range(6)]
        consuming = asyncio.create_task(consume())
        async with asyncio.timeout(90 * LONGER):
            await until(more(200))
            killed.set()
            broker.kill_broker(1)
            await started_again(broker)
            await until(more(200))
            stop.set()
            await asyncio.gather(*writers)
            appended.set()
            await consuming
        async with await log.subscribe("river", "audit", StartFrom.EARLIEST) as audit:
            found = {r.position: r.value for r in await all_there(audit)}
    assert dict(acknowledged).items() <= found.items()
    assert not lacking()
    # What the client library sent again by itself stands once.
    twice = {value for value, count in Counter(found.values()).items() if count > 1}
    assert twice <= unsure


async def test_without_a_broker_appends_end_in_time_and_are_bounded(
    broker: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "MAX_BYTES_UNDER_WAY", 10_000)
    # The client library drops what waits for longer than a request may take, if a broker that has
    # just come back leads nothing yet.
    monkeypatch.setattr(address, "REQUEST_SECONDS", 100 * LONGER)
    loop = asyncio.get_running_loop()
    async with await open_event_log(fresh(broker.url)) as log:
        await log.create_topics([Topic("river")])
        await log.append("river", b"k", b"before")
        async with await log.subscribe("river", "g") as member:
            await member.commit(next_offsets(await read(member, 1)))
            broker.kill_broker(1, signal.SIGTERM)
            began = loop.time()
            with monkeypatch.context() as patch:
                hurry(log, patch)
                with pytest.raises(EventLogError, match="did not confirm within 1 s") as first:
                    await log.append("river", b"k", bytes(8000))
                assert not isinstance(first.value, EventLogFull)
                with pytest.raises(EventLogFull, match="wait for Kafka at") as second:
                    await log.append("river", b"k", bytes(8000))
            assert second.value.retry_after > 0
            assert loop.time() - began < 15 * LONGER
            assert await member.poll(wait=0.1) == []
            await started_again(broker)
            # The first went out after all; with it there is room again.
            assert len((await read(member, 1, seconds=30))[0].value) == 8000
            await log.append("river", b"k", b"after")
            assert [r.value for r in await read(member, 1)] == [b"after"]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_tls_and_login(
    broker: KafkaCluster,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mechanism: str,
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    monkeypatch.setenv("NAIAD_KAFKA_USER", "naiad")
    monkeypatch.setenv("NAIAD_KAFKA_PASSWORD", "s3cret")

    def url(ca: str) -> str:
        server = f"kafka://{broker.secure_servers}"
        return fresh(server, tls="true", ca=tmp_path / ca, sasl=mechanism)

    async with await open_event_log(url("ca.pem")) as log:
        await log.create_topics([Topic("river")])
        await log.append("river", b"k", b"v")
        async with await log.subscribe("river", "g") as member:
            (record,) = await read(member, 1)
            await member.commit({TopicPartition("river", 0): record.offset + 1})
            assert await member.lag() == {TopicPartition("river", 0): 0}
    with pytest.raises(EventLogError, match="can't be reached"):
        await open_event_log(url("other.pem"))
    monkeypatch.setenv("NAIAD_KAFKA_PASSWORD", "wrong")
    with pytest.raises(EventLogError, match="can't be reached") as refused:
        await open_event_log(url("ca.pem"))
    assert "wrong" not in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 0.3])
async def test_a_subscription_closes_without_its_broker(
    broker: KafkaCluster, seconds: float
) -> None:
    """Quietly: an error out of there would look like the end that somebody asked for."""
    async with await open_event_log(fresh(broker.url)) as log:
        await log.create_topics([Topic("river", 4)])
        await log.append("river", b"k", b"v")
        subscription = await log.subscribe("river", "g")
        await read(subscription, 1)
        broker.kill_broker(1)
        try:
            await asyncio.sleep(seconds)
            await subscription.close()
        finally:
            await started_again(broker)


# The client library leaves a socket behind whose broker went away while it sent.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_closing_does_not_wait_for_ever(
    broker: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    log = await open_event_log(fresh(broker.url))
    await log.create_topics([Topic("river")])
    await log.append("river", b"k", b"before")
    # The last test of this file, so that nobody waits for it to start again.
    broker.kill_broker(1)
    hurry(log, monkeypatch)
    with pytest.raises(EventLogError):
        await log.append("river", b"k", b"lost")
    began = loop.time()
    await log.close()
    assert loop.time() - began < 15 * LONGER
