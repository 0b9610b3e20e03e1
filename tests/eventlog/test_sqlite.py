"""The SQLite log keeps the contract, and what is its own: one file, a bound, SIGKILL."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from support_child import child
from support_eventlog import EventLogContract, by_key, next_offsets, read

from naiad_eventlog import (
    EventLogError,
    EventLogFull,
    Topic,
    TopicPartition,
    open_event_log,
)


class TestSqliteEventLog(EventLogContract):
    @pytest.fixture
    def log_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'log.db'}"


APPENDER = """
import asyncio, sys
from naiad_eventlog import Topic, open_event_log

async def main():
    log = await open_event_log(sys.argv[1])
    await log.create_topics([Topic("river", 4)])

    async def append(task):
        n = 0
        while True:
            await log.append("river", b"key %d" % task, b"%d" % n + b"." * 3000)
            print(task, n, flush=True)
            n += 1

    await asyncio.gather(*(append(task) for task in range(8)))

asyncio.run(main())
"""


def killed_appender(url: str) -> set[tuple[int, int]]:
    """What a process that appends was told to be durable before it was killed."""
    acknowledged: set[tuple[int, int]] = set()
    with subprocess.Popen(
        child(sys.executable, "-c", APPENDER, url), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                # The kill may come between two pieces of a line: PYTHONUNBUFFERED
                # writes each by itself.
                if not line.endswith("\n"):
                    break
                task, n = line.split()
                acknowledged.add((int(task), int(n)))
                if len(acknowledged) == 200:
                    process.kill()
        finally:
            process.kill()
    assert len(acknowledged) >= 200
    return acknowledged


async def test_sigkill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    acknowledged = await asyncio.to_thread(killed_appender, url)
    records = []
    async with (
        await open_event_log(url) as log,
        await log.subscribe("river", "g") as subscription,
    ):
        while came := await subscription.poll(wait=0.5):
            records += came
    found = {(int(r.key.split()[1]), int(r.value.rstrip(b"."))) for r in records}
    assert acknowledged <= found
    assert len(found) == len(records)


async def test_offsets_are_never_given_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}?max_bytes=1048576"
    async with await open_event_log(url) as log:
        await log.create_topics([Topic("river", 1)])
        async with await log.subscribe("river", "g") as subscription:
            seen: list[int] = []
            for n in range(40):
                position = await log.append("river", b"k", b"%d" % n + b"." * 100_000)
                seen.append(position.offset)
                await subscription.commit(next_offsets(await read(subscription, 1)))
    assert seen == sorted(set(seen))
    assert (tmp_path / "log.db").stat().st_size < 3 * 1024 * 1024
    async with await open_event_log(url) as log:
        await log.create_topics([Topic("river", 1)])
        position = await log.append("river", b"k", b"after")
    assert position.offset > seen[-1]


async def test_at_its_bound_it_pushes_back_until_the_readers_catch_up(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}?max_bytes=1048576"
    async with await open_event_log(url) as log:
        await log.create_topics([Topic("river", 1)])
        slow = await log.subscribe("river", "slow")
        fast = await log.subscribe("river", "fast")
        appended = 0
        await slow.commit({TopicPartition("river", 0): 0})
        try:
            while appended < 1000:
                await log.append("river", b"k", b"." * 50_000)
                appended += 1
        except EventLogFull as full:
            retry_after = full.retry_after
        assert retry_after > 0
        assert appended >= 10
        # One group that has read everything makes no room: the other still needs it.
        await fast.commit(next_offsets(await read(fast, appended)))
        with pytest.raises(EventLogFull):
            await log.append("river", b"k", b"." * 50_000)
        records = await read(slow, appended)
        assert len(records) == appended
        await slow.commit(next_offsets(records))
        await log.append("river", b"k", b"." * 50_000)
        assert len(by_key(await read(slow, 1))) == 1


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("redis://x", "unknown scheme 'redis'"),
        ("sqlite:////tmp/x.db?colour=red", "unknown option 'colour'"),
        ("sqlite:////tmp/x.db?max_bytes=few", "max_bytes=few"),
    ],
)
async def test_wrong_urls_are_named(url: str, named: str) -> None:
    with pytest.raises(EventLogError, match=named):
        await open_event_log(url)


async def test_other_files_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("not a database at all, but long enough to be read as one " * 20)
    with pytest.raises(EventLogError, match="can't be opened"):
        await open_event_log(f"sqlite:///{text}")
    foreign = tmp_path / "foreign.db"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(EventLogError, match="another program"):
        await open_event_log(f"sqlite:///{foreign}")
    newer = tmp_path / "newer.db"
    async with await open_event_log(f"sqlite:///{newer}"):
        pass
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(EventLogError, match="newer Naiad"):
        await open_event_log(f"sqlite:///{newer}")


async def test_a_cancelled_append_harms_nobody(tmp_path: Path) -> None:
    async with await open_event_log(f"sqlite:///{tmp_path / 'log.db'}") as log:
        await log.create_topics([Topic("river", 1)])
        task = asyncio.create_task(log.append("river", b"k", b"given up"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await log.append("river", b"k", b"kept")
        async with await log.subscribe("river", "g") as subscription:
            values = [r.value for r in await subscription.poll(wait=5)]
        assert values[-1] == b"kept"
