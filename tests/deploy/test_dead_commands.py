"""`naiad dead`, as who runs it sees it: without a server, with one, and on a cluster."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from support_commands import ill, naiad, well
from support_envelopes import Pen, append
from support_kafka import fresh, kafka_url
from support_naiad import LONGER, running_naiad, wait_until

from naiad_consumers.writer import GROUP
from naiad_consumers.writer.dead import DeadLetters
from naiad_consumers.writer.parsing import Poison
from naiad_eventlog import EventLog, Record, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS
from naiad_standalone.datafolder import DataFolder

__all__ = ["kafka_url"]


async def fill(log: EventLog) -> None:
    """Two records that nothing can read, and one that was mended since."""
    await log.create_topics(ALL_TOPICS)
    dead = DeadLetters(log, GROUP)
    pen = Pen(project="team/p", run_id="mended")
    # In the log first, so that its value is what ingest makes of it.
    position = await append(log, pen.metrics({"a": [1.0]}))
    async with await log.subscribe(RECORDS.name, "fill") as reading:
        (good,) = await reading.poll(wait=10 * LONGER)
    assert good.position == position
    for number, value in enumerate((b"\xff\x00", b"", good.value)):
        run = "mended" if value == good.value else f"r{number}"
        record = Record(RECORDS.name, 3, 40 + number, f"team/p/{run}".encode(), value, 1)
        await dead.put([Poison(record, f"reason {number}")])
    async with await log.subscribe(RECORDS.name, GROUP) as writer:
        await writer.commit(dict(await log.end_offsets(RECORDS.name)))


async def fill_folder(data: Path) -> None:
    with DataFolder.open(data) as folder:
        async with await open_event_log(folder.log_url) as log:
            await fill(log)


def letters(*arguments: object, **environment: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        well("dead", "list", "--json", *arguments, **environment)
    )
    return found


@pytest.mark.slow
def test_without_a_server_and_with_one(tmp_path: Path) -> None:
    data = tmp_path / "data"
    asyncio.run(fill_folder(data))
    where = ("--data", data)
    first, _, third = letters(*where)
    assert (first["run"], first["project"], first["reason"]) == ("r0", "team/p", "reason 0")
    assert (first["origin"], first["size_bytes"]) == ("naiad.records/3@40", 2)
    assert first["at"].startswith("20")
    table = well("dead", "list", *where)
    assert len(table.splitlines()) == 4
    assert "reason 1" in table
    shown = well("dead", "show", third["number"], *where)
    assert "writer_id" in shown
    (unread,) = json.loads(well("dead", "show", "--json", first["number"], *where))
    assert unread["begins"] == "ff00"
    assert unread["unreadable"]

    assert "name the records" in ill("dead", "replay", *where)
    assert "name the records" in ill("dead", "discard", "--all", "1", *where)
    assert f"no dead letter {third['number'] + 7} waits" in ill(
        "dead", "discard", third["number"] + 7, *where
    )
    assert "is not a data folder" in ill("dead", "list", "--data", tmp_path / "absent")
    assert well("dead", "discard", first["number"], *where) == "1 record is discarded.\n"

    with running_naiad(data) as server:
        assert [one["run"] for one in letters(*where)] == ["r1", "mended"]
        assert "1 record is in the log again" in well("dead", "replay", third["number"], *where)
        wait_until(
            lambda: (
                "mended"
                in naiad("runs", "list", "--project", "team/p", NAIAD_URL=server.url).stdout
            ),
            60,
            "the replayed record is stored",
        )
        assert [one["run"] for one in letters(*where)] == ["r1"]
        # What still can't be stored comes back.
        well("dead", "replay", "--all", *where)
        wait_until(
            lambda: [one["reason"] for one in letters(*where)] not in ([], ["reason 1"]),
            60,
            "it is put aside again",
        )
        well("dead", "discard", "--all", *where)
        assert "No records wait" in well("dead", "list", *where)
    assert letters(*where) == []


def test_on_a_cluster(kafka_url: str) -> None:
    url = fresh(kafka_url)

    async def prepare() -> None:
        async with await open_event_log(url) as log:
            await fill(log)

    asyncio.run(prepare())
    found = letters(NAIAD_EVENT_LOG=url)
    assert [one["reason"] for one in found] == ["reason 0", "reason 1", "reason 2"]
    well("dead", "discard", found[1]["number"], NAIAD_EVENT_LOG=url)
    left = letters(NAIAD_EVENT_LOG=url)
    assert sorted(one["reason"] for one in left) == ["reason 0", "reason 2"]
    assert "2 records are" in well("dead", "replay", "--all", NAIAD_EVENT_LOG=url)
    assert letters(NAIAD_EVENT_LOG=url) == []
    assert "can't be reached" in ill("dead", "list", NAIAD_EVENT_LOG="kafka://127.0.0.1:1")
