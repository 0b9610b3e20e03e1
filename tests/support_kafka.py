"""A real Apache Kafka for tests: one broker for the whole run, started by the first that asks.

NAIAD_TEST_KAFKA names a cluster that runs already (kafka://host:port, with options if it
needs them); tests that end brokers still start their own.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import kafka_cluster
import pytest
from support_naiad import LONGER

from naiad_eventlog import Subscription

_NUMBERS = itertools.count(1)
# Groups of tests notice a dead member within seconds. Of one that stands still they take the same.
SESSION_SECONDS = 2 * LONGER
# Where nobody dies, a machine that stands still must not make anybody look dead.
LONG_SESSION_SECONDS = 20


@pytest.fixture(scope="session")
def kafka_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if named := os.environ.get("NAIAD_TEST_KAFKA"):
        yield named
        return
    if lack := kafka_cluster.missing():
        pytest.skip(lack)
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        # All test processes of this run have it in common.
        folder = folder.parent
    users, said = folder / "kafka.users", folder / "kafka.url"
    with users.open("w") as user, (folder / "kafka.lock").open("w") as lock:
        # The broker's keeper ends it when the last of us has let go of this, dead or alive.
        fcntl.flock(user, fcntl.LOCK_SH)
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Those who had it before us may all have gone, and it with them.
        if not said.exists() or not answers(said.read_text()):
            keep(users, said)
        fcntl.flock(lock, fcntl.LOCK_UN)
        yield said.read_text()


def answers(url: str) -> bool:
    server = urlsplit(url)
    try:
        with socket.create_connection((server.hostname, server.port or 0), 10 * LONGER):
            return True
    except OSError:
        return False


def keep(users: Path, said: Path) -> None:
    """Starts a broker that lasts as long as somebody holds a lock on `users`; writes its URL
    to `said`."""
    output = said.with_suffix(".log")
    with output.open("wb") as file:
        keeper = subprocess.Popen(
            [sys.executable, kafka_cluster.__file__, "--while-locked", str(users)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while not (text := output.read_text()).startswith("kafka://") or not text.endswith("\n"):
        if keeper.poll() is not None:
            pytest.fail(f"no Kafka: {text}")
        time.sleep(0.05)
    # It outlives this process where others still need it.
    keeper.returncode = 0
    said.write_text(text.strip())


def fresh(url: str, **options: object) -> str:
    """The URL of an event log of its own in that cluster."""
    prefix = f"test-{os.getpid()}-{uuid.uuid4().hex[:8]}-{next(_NUMBERS)}."
    given = {
        "prefix": prefix,
        "session_seconds": SESSION_SECONDS,
        "append_seconds": 20 * LONGER,
        **options,
    }
    words = "&".join(f"{name}={value}" for name, value in given.items())
    return f"{url}{'&' if '?' in url else '/?'}{words}"


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds * LONGER):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)


async def drained(member: Subscription, seconds: float = 30) -> None:
    """Returns when nothing of the member's partitions is left to commit."""
    async with asyncio.timeout(seconds * LONGER):
        while True:
            if not sum((await member.lag()).values()):
                return
            await asyncio.sleep(0.05)
