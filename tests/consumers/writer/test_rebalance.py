"""Several writers on Kafka: partitions change hands under load, and nothing is lost, doubled or
counted twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support_kafka import fresh, kafka_url, until
from support_kafka_load import Load
from support_naiad import LONGER
from support_stalling import Slow

from naiad_consumers.writer import GROUP, Writer
from naiad_eventlog import EventLog, Topic, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS
from naiad_store import Store

__all__ = ["kafka_url"]


@pytest.fixture
def url(kafka_url: str) -> str:
    return fresh(kafka_url)


@pytest.fixture
async def log(url: str) -> AsyncIterator[EventLog]:
    async with await open_event_log(url) as log:
        await log.create_topics(ALL_TOPICS)
        yield log


@contextlib.asynccontextmanager
async def writing(url: str, store: Any) -> AsyncIterator[Writer]:
    """A writer as in a process of its own."""
    stop = asyncio.Event()
    async with await open_event_log(url) as log:
        writer = Writer(log, store)
        task = asyncio.create_task(writer.run(stop))
        try:
            yield writer
            assert not task.done() or task.result()
        finally:
            stop.set()
            await task


async def owns(writer: Writer) -> None:
    """Returns when the writer has begun with partitions of its own."""
    await until(lambda: bool(writer._listening._spans))


@pytest.mark.long
async def test_a_second_writer_comes_and_goes_under_load(
    url: str, log: EventLog, store: Store
) -> None:
    load = Load(log, runs=8)
    async with load.going_on(), writing(url, store) as first:
        await owns(first)
        async with writing(url, store) as second:
            await owns(second)
            await load.more(100)
        await load.more(100)
    async with writing(url, store):
        await load.stored()
    await load.check(store)


@pytest.mark.long
async def test_writers_join_and_leave_under_load(url: str, log: EventLog, store: Store) -> None:
    load = Load(log)
    async with contextlib.AsyncExitStack() as rest:
        async with load.going_on():
            async with writing(url, store) as first:
                await owns(first)
                async with writing(url, store) as second:
                    await owns(second)
                    third = await rest.enter_async_context(writing(url, store))
                    await owns(third)
                    await load.more(200)
                # Its partitions go to the others.
                await load.more(200)
            fourth = await rest.enter_async_context(writing(url, store))
            await owns(fourth)
            await load.more(200)

            def shared_out() -> bool:
                owners = [third._listening._spans.keys(), fourth._listening._spans.keys()]
                return all(owners) and not owners[0] & owners[1]

            # Who stood still for longer than a session hears only then that it was left out.
            await until(shared_out)
        await load.stored()
    await load.check(store)
    assert not sum((await log.lag(RECORDS.name, GROUP)).values())


@pytest.mark.parametrize("stays", [True, pytest.param(False, marks=pytest.mark.long)])
async def test_partitions_are_added_under_load(
    url: str, log: EventLog, store: Store, stays: bool
) -> None:
    """Runs stay in their partitions. They may move all the same, where several ingests met them
    at once: then they go on in another one while what they logged before still waits in the
    first, for another owner."""
    load = Load(log, runs=16, stays=stays, resent=0.1 if stays else 0.0)
    more = RECORDS.partitions + 4
    async with load.going_on(), writing(url, store) as first, writing(url, store) as second:
        await owns(first)
        await owns(second)
        await load.more(100)
        async with await open_event_log(url) as admin:
            await admin.create_topics([Topic(RECORDS.name, more)])
        # Within far less than the five minutes in which Kafka's clients look by themselves.
        await until(lambda: len(first._listening._spans) + len(second._listening._spans) == more)
        await load.more(200)
    # Who starts later asks for as many as it knows of.
    async with writing(url, store) as last:
        async with await open_event_log(url) as late:
            await late.create_topics(ALL_TOPICS)
        await owns(last)
        await load.stored()
    await load.check(store)
    (rows,) = store.query("SELECT count() AS n FROM writers FINAL").column(0).to_pylist()
    assert (rows == load.runs) if stays else (rows > load.runs)
    (runs,) = store.query("SELECT count() AS n, uniqExact(run_id) AS u FROM runs FINAL").to_pylist()
    assert (runs["n"], runs["u"]) == (load.runs, load.runs)


@pytest.mark.long
@pytest.mark.parametrize("seconds", [5, 12])
async def test_a_rebalance_while_an_insert_runs(
    url: str, log: EventLog, store: Store, seconds: int
) -> None:
    """It takes longer than a session, and then longer than the group waits: what it holds is
    committed by no one, and stored again by who has the partitions next."""
    slow = Slow(store, "points", seconds)
    load = Load(log, runs=8)
    async with load.going_on(), writing(url, slow) as first:
        await owns(first)
        await load.more(50)
        slow.armed.set()
        assert await asyncio.to_thread(slow.begun.wait, 30 * LONGER)
        async with writing(url, store) as second:
            await owns(second)
            await load.more(100)
        await load.more(50)
    async with writing(url, store):
        await load.stored()
    await load.check(store)
