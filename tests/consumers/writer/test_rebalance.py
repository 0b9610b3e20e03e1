"""Several writers on Kafka: partitions change hands under load, and nothing is lost, doubled or
counted twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from support_kafka import fresh, kafka_url, until
from support_kafka_load import Load

from naiad_consumers.writer import GROUP, Writer
from naiad_eventlog import EventLog, open_event_log
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
async def writing(url: str, store: Store) -> AsyncIterator[Writer]:
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
            owners = [third._listening._spans.keys(), fourth._listening._spans.keys()]
            assert all(owners)
            assert not owners[0] & owners[1]
        await load.stored()
    await load.check(store)
    assert not sum((await log.lag(RECORDS.name, GROUP)).values())
