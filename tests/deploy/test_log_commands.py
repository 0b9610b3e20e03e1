"""`naiad log`, as who runs it sees it: without a server, with one, and on a cluster."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from support_commands import ill, well
from support_envelopes import Pen, append
from support_kafka import fresh, kafka_url
from support_naiad import running_naiad, wait_until

from naiad_consumers.live import GROUP as LIVE
from naiad_consumers.writer import GROUP
from naiad_eventlog import EventLog, TopicPartition, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS
from naiad_standalone.datafolder import DataFolder

__all__ = ["kafka_url"]


async def fill(log: EventLog) -> None:
    """Records, of which a group that was tried once has read one."""
    await log.create_topics(ALL_TOPICS)
    for _ in range(3):
        position = await append(log, Pen(project="team/p", run_id="r").metrics({"a": [1.0]}))
    async with await log.subscribe(RECORDS.name, "tried") as tried:
        await tried.commit({TopicPartition(RECORDS.name, position.partition): position.offset})


def behind(listed: str) -> dict[str, int]:
    return {
        row["group"]: row["records_behind"]
        for row in json.loads(listed) if row["topic"] == RECORDS.name
    }  # fmt: skip


def test_in_a_data_folder_without_a_server_and_with_one(tmp_path: Path) -> None:
    data = tmp_path / "data"

    def listed() -> str:
        return well("log", "groups", "--json", "--data", data)

    assert "is not a data folder of Naiad" in ill("log", "groups", "--data", data)
    with DataFolder.open(data) as folder:
        asyncio.run(_filled(folder.log_url))
    assert behind(listed()) == {"tried": 1}
    told = well("log", "groups", "--data", data)
    assert "tried" in told
    assert "records_behind" in told
    with running_naiad(data, "--no-dashboard"):
        wait_until(lambda: behind(listed()).keys() >= {"tried", GROUP, LIVE}, 30, "all have read")
        found = json.loads(listed())
        (writer,) = [row for row in found if row["group"] == GROUP]
        assert writer["members"] == 1
        assert "has members that read the log now" in ill("log", "forget", GROUP, "--data", data)
        assert "Group tried is forgotten" in well("log", "forget", "tried", "--data", data)
        assert "see: naiad log groups" in ill("log", "forget", "tried", "--data", data)
    assert "tried" not in behind(listed())


def test_on_a_cluster(kafka_url: str) -> None:
    url = fresh(kafka_url)
    empty = fresh(kafka_url)
    asyncio.run(_filled(url))
    assert behind(well("log", "groups", "--json", NAIAD_EVENT_LOG=url)) == {"tried": 1}
    well("log", "forget", "tried", NAIAD_EVENT_LOG=url)
    assert "Nobody has read" in well("log", "groups", NAIAD_EVENT_LOG=url)
    assert "no topic" in ill("log", "groups", NAIAD_EVENT_LOG=empty)


async def _filled(url: str) -> None:
    async with await open_event_log(url) as log:
        await fill(log)
