"""Naiad as in a cluster, under siege: every stage a process of its own, on three brokers of
Apache Kafka, a store behind ClickHouse's HTTP interface, and Valkey.

There are two writers. Between the stages and the store, and between the stages and Valkey, stand
networks that can be cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import kafka_cluster
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from support_clickhouse import PASSWORD, USER, ClickHouse
from support_naiad import LONGER, wait_until
from support_networks import cut
from support_ports import free_port
from support_proxy import CuttingProxy
from support_serve import Stage, Stages
from support_siege import Fault, Siege
from support_valkey import Valkey, running_valkey

# Long enough for a busy machine, short enough to be waited for.
SESSION_SECONDS = 5
_PREFIX = "siege."


class Cluster:
    """Its parts by name, each of which can be killed and started again."""

    def __init__(
        self, folder: Path, brokers: kafka_cluster.KafkaCluster, store: ClickHouse, valkey: Valkey,
        valkey_port: int, seed: int,
    ) -> None:  # fmt: skip
        self.brokers = brokers
        self.store = store
        self.valkey = valkey
        self.to_store = CuttingProxy(store.port, seed)
        self.to_valkey = CuttingProxy(valkey_port, seed + 1)
        self.to_store.calm = self.to_valkey.calm = True
        self.stages = Stages(
            folder / "stages",
            event_log=f"{brokers.url}/?prefix={_PREFIX}&session_seconds={SESSION_SECONDS}",
            store=f"clickhouse://{USER}:{PASSWORD}@127.0.0.1:{self.to_store.port}/naiad",
            state=f"redis://127.0.0.1:{self.to_valkey.port}/0",
        )
        self.ingest = self.stages.make("ingest")
        self.writers = [self.stages.make("writer"), self.stages.make("writer")]
        self.live = self.stages.make("live")
        self.alerter = self.stages.make("alerter")
        self.query = self.stages.make("query")

    @property
    def url(self) -> str:
        """Of the reading side."""
        return self.query.url

    @property
    def port(self) -> int:
        """Of the writing side."""
        return self.ingest.port

    def start(self) -> None:
        """The stages."""
        for stage in self.stages.all:
            stage.spawn()
        for stage in self.stages.all:
            stage.until_ready()

    def start_all(self) -> None:
        """Engines and stages at once, as after a power cut: each waits for what it needs."""
        for node in self.brokers.nodes:
            self.brokers.spawn(node)
        for stage in self.stages.all:
            stage.spawn()
        self.valkey.start()
        self.store.start()
        for node in self.brokers.nodes:
            self.brokers.wait(node)
        for stage in self.stages.all:
            stage.until_ready()

    def kill_all(self) -> None:
        for stage in self.stages.all:
            stage.kill()
        for node in self.brokers.nodes:
            self.brokers.kill_broker(node)
        self.valkey.stop()
        self.store.kill()

    def inserting(self) -> bool:
        """Whether a part of a table is being written right now."""
        return any((self.store.folder / "store" / "store").glob("*/*/tmp_insert_*"))

    def told(self) -> str:
        told = []
        for stage in self.stages.all:
            lines = stage.said.splitlines()[-30:]
            _, metrics = stage.get("/metrics")
            of_interest = re.compile(r"naiad_\w+(_total|_records|_bytes|_count)[ {]")
            counts = [line for line in metrics.splitlines() if of_interest.match(line)]
            told.append("\n  ".join([f"--- {stage.name} ({stage.output.name})", *counts, *lines]))
        return "\n".join(told)

    def close(self) -> None:
        self.stages.close()
        self.to_store.close()
        self.to_valkey.close()


@contextlib.contextmanager
def cluster(folder: Path, seed: int) -> Iterator[Cluster]:
    if lack := kafka_cluster.missing():
        pytest.skip(lack)
    with contextlib.ExitStack() as ending:
        brokers = ending.enter_context(kafka_cluster.KafkaCluster(folder / "kafka", 3))
        store = ClickHouse(folder / "clickhouse").start()
        ending.callback(store.kill)
        port = free_port()
        (folder / "valkey").mkdir()
        valkey = ending.enter_context(running_valkey(folder / "valkey", port=str(port)))
        platform = Cluster(folder, brokers, store, valkey, port, seed)
        ending.callback(platform.close)
        platform.start()
        yield platform


def _of(siege: Siege) -> Cluster:
    assert isinstance(siege.platform, Cluster)
    return siege.platform


def _killed(siege: Siege, stage: Stage) -> float:
    stage.kill()
    siege.load.log(siege.random.randint(20, 150))
    began = time.monotonic()
    stage.spawn()
    siege.afterwards.append(stage.until_ready)
    return began


def ingest_killed(siege: Siege) -> float:
    return _killed(siege, _of(siege).ingest)


def query_killed(siege: Siege) -> float:
    return _killed(siege, _of(siege).query)


def consumers_killed(siege: Siege) -> float:
    """Those that write nothing that is audited: they must hold up nobody."""
    _killed(siege, _of(siege).live)
    return _killed(siege, _of(siege).alerter)


def a_writer_killed(siege: Siege) -> float:
    """The other one takes over: time counts from the kill."""
    stage = siege.random.choice(_of(siege).writers)
    began = time.monotonic()
    stage.kill()
    siege.afterwards.append(stage.start)
    return began


def both_writers_killed(siege: Siege) -> float:
    first, second = _of(siege).writers
    first.kill()
    began = _killed(siege, second)
    siege.afterwards.append(first.start)
    return began


def _in_an_insert(siege: Siege) -> None:
    """Returns while one goes on; it takes a few milliseconds, so it is lain in wait for."""
    platform, until = _of(siege), time.monotonic() + 20 * LONGER
    while not platform.inserting():
        assert time.monotonic() < until, "no insert was seen"


def writers_killed_in_an_insert(siege: Siege) -> float:
    _in_an_insert(siege)
    return both_writers_killed(siege)


def store_killed_in_an_insert(siege: Siege) -> float:
    _in_an_insert(siege)
    return store_killed(siege)


def store_killed(siege: Siege) -> float:
    platform = _of(siege)
    platform.store.kill()
    siege.load.log(siege.random.randint(20, 150))
    began = time.monotonic()
    platform.store.start()
    return began


def writer_wakes_after_its_successor(siege: Siege) -> float:
    """Stopped until the group has given its partitions away and the other one has stored more
    of the same runs; then it goes on with what it was about to do."""
    stage = siege.random.choice(_of(siege).writers)
    stage.pause()
    try:
        # Of whichever writer the partition of this run was.
        siege.moment(1.0)
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > SESSION_SECONDS + 1, 60, "the session ends")
        siege.recovered()
    finally:
        stage.wake()
    return time.monotonic()


def both_writers_stopped(siege: Siege) -> float:
    """Past their sessions, both: nobody takes over."""
    for stage in _of(siege).writers:
        stage.pause()
    time.sleep(SESSION_SECONDS + siege.random.uniform(0.5, 3))
    for stage in _of(siege).writers:
        stage.wake()
    return time.monotonic()


def a_broker_killed(siege: Siege) -> float:
    """The two others go on: time counts from the kill."""
    brokers = _of(siege).brokers
    node = siege.random.choice(brokers.nodes)
    began = time.monotonic()
    brokers.kill_broker(node)

    def again() -> None:
        brokers.spawn(node)
        brokers.wait(node)

    siege.afterwards.append(again)
    return began


def all_brokers_killed(siege: Siege) -> float:
    brokers = _of(siege).brokers
    for node in brokers.nodes:
        brokers.kill_broker(node)
    siege.load.log(siege.random.randint(20, 150))
    began = time.monotonic()
    for node in brokers.nodes:
        brokers.spawn(node)
    for node in brokers.nodes:
        brokers.wait(node)
    return began


def valkey_killed(siege: Siege) -> float:
    valkey = _of(siege).valkey
    valkey.stop()
    # Accepting and storing go on without: what is logged now must be readable now.
    siege.recovered()
    began = time.monotonic()
    valkey.start()
    return began


def valkey_stopped(siege: Siege) -> float:
    """It takes connections and answers nobody."""
    valkey = _of(siege).valkey
    valkey.pause()
    try:
        siege.recovered()
    finally:
        valkey.resume()
    return time.monotonic()


def store_cut_off(siege: Siege) -> float:
    return cut(_of(siege).to_store)


def store_silent(siege: Siege) -> float:
    network = _of(siege).to_store
    network.hold = True
    siege.moment(5.0)
    network.hold = False
    return time.monotonic()


def valkey_cut_off(siege: Siege) -> float:
    network = _of(siege).to_valkey
    network.cut()
    network.calm = False
    siege.load.log(100)
    siege.moment(2.0)
    network.calm = True
    return time.monotonic()


def partitions_added(siege: Siege) -> float:
    """Most runs' records go to other partitions from now on, while the old ones still hold some."""
    siege.auditor.counted_twice = True
    asyncio.run(_add_partitions(_of(siege).brokers.url.removeprefix("kafka://")))
    return time.monotonic()


async def _add_partitions(servers: str) -> None:
    topic = f"{_PREFIX}naiad.records"
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        (found,) = await admin.describe_topics([topic])
        count = len(found["partitions"])
        await admin.create_partitions({topic: NewPartitions(count + 3)})
    finally:
        await admin.close()


STAGES: dict[str, Fault] = {
    "ingest killed": ingest_killed,
    "query killed": query_killed,
    "live and alerter killed": consumers_killed,
    "a writer killed": a_writer_killed,
    "both writers killed": both_writers_killed,
    "writers killed in an insert": writers_killed_in_an_insert,
    "a writer wakes after its successor wrote": writer_wakes_after_its_successor,
    "both writers stopped": both_writers_stopped,
}
ENGINES: dict[str, Fault] = {
    "a broker killed": a_broker_killed,
    "all brokers killed": all_brokers_killed,
    "partitions added": partitions_added,
    "the store killed": store_killed,
    "the store killed in an insert": store_killed_in_an_insert,
    "the store cut off": store_cut_off,
    "the store silent": store_silent,
    "Valkey killed": valkey_killed,
    "Valkey stopped": valkey_stopped,
    "Valkey cut off": valkey_cut_off,
}
