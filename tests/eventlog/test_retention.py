"""Old records go, and never one that a group needs: on both logs, and what is SQLite's own."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest
from support_eventlog import next_offsets, read
from support_kafka import LONG_SESSION_SECONDS, fresh, kafka_url
from support_naiad import LONGER
from support_retention import LATER, RetentionContract, fill, read_all

from naiad_eventlog import Topic, TopicPartition, open_event_log
from naiad_eventlog.kafka import retaining

__all__ = ["kafka_url"]


class TestSqliteRetention(RetentionContract):
    @pytest.fixture
    def log_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.mark.long
class TestKafkaRetention(RetentionContract):
    @pytest.fixture
    def log_url(self, kafka_url: str) -> str:
        return fresh(kafka_url, session_seconds=LONG_SESSION_SECONDS)

    @pytest.fixture(autouse=True)
    def samples_come_late(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Records that do not come in time are taken for none, and sizes are wrong.
        monkeypatch.setattr(retaining, "_SAMPLE_SECONDS", 20 * LONGER)


async def test_the_file_is_used_again_and_appends_go_on(tmp_path: Path) -> None:
    file = tmp_path / "log.db"
    async with await open_event_log(f"sqlite:///{file}") as log:
        await log.create_topics([Topic("river", 1)])
        async with await log.subscribe("river", "g") as member:
            sizes: list[int] = []
            beside = 0
            for _ in range(4):
                for _ in range(200):
                    await log.append("river", b"k", bytes(100_000))
                await member.commit(next_offsets(await read(member, 200)))
                retaining = asyncio.create_task(log.retain("river", before=LATER))
                waits = []
                while not retaining.done():
                    began = time.monotonic()
                    await log.append("river", b"k", b"beside")
                    waits.append(time.monotonic() - began)
                # Those of the round before, too, and none that is not committed.
                assert await retaining == 200 + beside
                beside = len(waits)
                await member.commit(next_offsets(await read(member, beside)))
                # 20 MB go in parts of 8: an append gets its turn between them.
                assert beside >= 2
                sizes.append(file.stat().st_size)
    assert max(sizes) < 1.5 * sizes[0]


async def test_at_the_bound_what_goes_is_noted_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}?max_bytes=1048576"
    async with await open_event_log(url) as log:
        await log.create_topics([Topic("river", 1)])
        async with await log.subscribe("river", "g") as member:
            for _ in range(40):
                last = await log.append("river", b"k", bytes(100_000))
                await member.commit(next_offsets(await read(member, 1)))
        (start,) = (await log.start_offsets("river")).values()
    assert last.offset - 11 < start <= last.offset


async def test_a_log_of_the_release_before_is_brought_up(tmp_path: Path) -> None:
    file = tmp_path / "log.db"
    async with await open_event_log(f"sqlite:///{file}") as log:
        await log.create_topics([Topic("river", 2)])
        offsets = await fill(log, 3)
        await read_all(log, "g", 6)
    connection = sqlite3.connect(file)
    with connection:
        connection.execute("DROP TABLE starts")
        connection.execute("DELETE FROM records WHERE offset <= ?", (offsets[0],))
        connection.execute("PRAGMA user_version=1")
    connection.close()
    async with await open_event_log(f"sqlite:///{file}") as log:
        starts = await log.start_offsets("river")
        assert max(starts.values()) == offsets[1]
        assert sum((await log.lag("river", "g")).values()) == 0
        assert TopicPartition("river", 0) in starts
        assert await log.retain("river", before=LATER) == 5
