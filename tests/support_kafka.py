"""A real Apache Kafka for tests: one broker per test process, started by the first that asks.

NAIAD_TEST_KAFKA names a cluster that runs already (kafka://host:port, with options if it
needs them); tests that end brokers still start their own.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Iterator

import kafka_cluster
import pytest
from kafka_cluster import KafkaCluster

_NUMBERS = itertools.count(1)
# Groups of tests notice a dead member within seconds.
SESSION_SECONDS = 2


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A cluster of one broker, which tests may end and start again."""
    if lack := kafka_cluster.missing():
        pytest.skip(lack)
    with KafkaCluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def kafka_url(request: pytest.FixtureRequest) -> str:
    """A cluster without options."""
    named = os.environ.get("NAIAD_TEST_KAFKA")
    if named:
        return named
    cluster: KafkaCluster = request.getfixturevalue("broker")
    return cluster.url


def fresh(url: str) -> str:
    """The URL of an event log of its own in that cluster."""
    prefix = f"test-{os.getpid()}-{uuid.uuid4().hex[:8]}-{next(_NUMBERS)}."
    joint = "&" if "?" in url else "/?"
    return f"{url}{joint}prefix={prefix}&session_seconds={SESSION_SECONDS}"
