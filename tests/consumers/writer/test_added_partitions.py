"""Partitions are added to the log: a run's records stand in two of them from then on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support_envelopes import Pen, append
from support_naiad import LONGER

from naiad_consumers.writer import GROUP, Writer
from naiad_eventlog import EventLog, Topic, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS
from naiad_store import Store

PROJECT = "team/grown"


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EventLog]:
    async with await open_event_log(f"sqlite:///{tmp_path / 'log.db'}") as log:
        await log.create_topics(ALL_TOPICS)
        yield log


async def stored(log: EventLog, store: Store) -> None:
    """Runs a writer until it has committed everything."""
    stop = asyncio.Event()
    writing = asyncio.create_task(Writer(log, store).run(stop))
    async with asyncio.timeout(30 * LONGER):
        while sum((await log.lag(RECORDS.name, GROUP)).values()):
            assert not writing.done() or writing.result()
            await asyncio.sleep(0.02)
    stop.set()
    await writing


@pytest.mark.xfail(
    strict=True,
    reason="`writers` has a row per spool and partition, and `spools` adds up their points: a batch"
    " that is sent again after its run went to another partition, before the first is stored, is"
    " counted in both",
)
async def test_a_batch_sent_again_is_counted_once(log: EventLog, store: Store) -> None:
    """As a client does that did not hear the first answer."""
    for number in range(40):
        pen = Pen(PROJECT, f"run-{number}", f"{number:032x}", 1_700_000_000_000_000)
        batch = pen.metrics({"loss": [1.0, 2.0, 3.0]})
        before = await append(log, batch)
        await log.create_topics([Topic(RECORDS.name, RECORDS.partitions + 1 + number)])
        if (await append(log, batch)).partition != before.partition:
            break
    else:
        pytest.fail("no run went to another partition")
    await stored(log, store)
    question = "SELECT points FROM view_runs WHERE run_id = {run:String}"
    assert store.query(question, {"run": batch.run_id}).column(0).to_pylist() == [3]
