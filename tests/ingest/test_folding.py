"""A topic read to its end before anybody is served from it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from naiad_eventlog import EventLog, EventLogError, Record, TopicPartition, open_event_log
from naiad_eventlog.sqlite.subscription import SqliteSubscription
from naiad_eventlog.topics import EPOCHS
from naiad_ingest import folding
from naiad_ingest.folding import Fold

# Polls that give a member nothing which has no partitions just then.
LATE = 3


class Unsettled:
    """Members whose group has not shared out its partitions by their first polls."""

    def __init__(self, polls: float) -> None:
        self.left = polls
        self._poll, self._caught_up = SqliteSubscription.poll, SqliteSubscription.caught_up

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def poll(member: SqliteSubscription, **bounds: Any) -> list[Record]:
            if self.left > 0:
                self.left -= 1
                await asyncio.sleep(bounds["wait"])
                return []
            return await self._poll(member, **bounds)

        def caught_up(member: SqliteSubscription) -> dict[TopicPartition, float]:
            return {} if self.left > 0 else self._caught_up(member)

        monkeypatch.setattr(SqliteSubscription, "poll", poll)
        monkeypatch.setattr(SqliteSubscription, "caught_up", caught_up)


async def log_with(tmp_path: Path, records: int) -> EventLog:
    log = await open_event_log(f"sqlite:///{tmp_path / 'log.db'}")
    await log.create_topics([EPOCHS])
    for number in range(records):
        await log.append(EPOCHS.name, b"key %d" % number, b"%d" % number)
    return log


@pytest.mark.parametrize("records", [0, 40])
async def test_a_start_knows_everything_also_where_the_group_settles_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: int
) -> None:
    found: list[bytes] = []
    async with await log_with(tmp_path, records) as log:
        unsettled = Unsettled(LATE)
        unsettled.install(monkeypatch)
        fold = Fold(log, EPOCHS.name, lambda record: found.append(record.value))
        await fold.start()
        assert unsettled.left == 0
        assert sorted(found) == sorted(b"%d" % number for number in range(records))
        await fold.stop()


async def test_a_start_that_never_comes_to_the_end_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "_START_SECONDS", 0.3)
    async with await log_with(tmp_path, 1) as log:
        Unsettled(float("inf")).install(monkeypatch)
        with pytest.raises(EventLogError, match=f"{EPOCHS.name} could not be read to its end"):
            await Fold(log, EPOCHS.name, lambda record: None).start()
