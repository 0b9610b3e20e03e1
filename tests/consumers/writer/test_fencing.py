"""An owner of partitions that was taken for dead wakes after its successor wrote: nothing of
what it still says overwrites what the successor said."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import support_writer_child
from support_clickhouse import ClickHouse, emptied, migrated
from support_envelopes import Pen, append
from support_kafka import fresh, kafka_url
from support_kafka_load import Load
from support_naiad import LONGER
from support_stalling import Stalling

from naiad_consumers.writer import GROUP, Writer
from naiad_consumers.writer.tenure import take
from naiad_eventlog import EventLog, TopicPartition, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS
from naiad_ingest.progress import Progress
from naiad_proto.v1.log_pb2 import WriterProgress
from naiad_store import Store

__all__ = ["kafka_url"]


@contextlib.asynccontextmanager
async def running(log: EventLog, store: Any) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    task = asyncio.create_task(Writer(log, store).run(stop))
    try:
        yield task
    finally:
        stop.set()
        if isinstance(store, Stalling):
            store.go_on.set()
        await task


async def stored(log: EventLog, store: Any) -> None:
    """Runs a writer until it has committed all."""
    async with running(log, store) as task, asyncio.timeout(30 * LONGER):
        while sum((await log.lag(RECORDS.name, GROUP)).values()):
            assert not task.done() or task.result()
            await asyncio.sleep(0.02)


def row_of(store: Store) -> tuple[list[tuple[int, int]], int, int]:
    (row,) = store.query("SELECT stored, points, warnings FROM writers FINAL").to_pylist()
    return [tuple(pair.values()) for pair in row["stored"]], row["points"], len(row["warnings"])


async def told(log: EventLog, pen: Pen) -> WriterProgress:
    """What an ingest that starts now tells a client."""
    progress = Progress(log)
    await progress.start()
    try:
        (entry,) = progress.of(pen.project, pen.run_id)
        return entry
    finally:
        await progress.stop()


def changed(pen: Pen, **value: Any) -> Any:
    """A record of the path `x`."""
    batch = pen._batch(1)
    item = batch.items.add(record=pen.record, timestamp=1)
    item.set_attribute.path = "x"
    for name, given in value.items():
        setattr(item.set_attribute.value, name, given)
    return batch


@pytest.mark.parametrize("late", ["points", "writers"])
async def test_the_last_word_of_an_old_owner_comes_too_late(
    tmp_path: Path, store: Store, late: str
) -> None:
    """Two openings of one file don't know of each other's members: as long as both are there,
    each is an owner that doesn't know that it was replaced."""
    url = f"sqlite:///{tmp_path / 'log.db'}"
    pen = Pen()
    async with await open_event_log(url) as before:
        await before.create_topics(ALL_TOPICS)
        await append(before, pen.metrics({"a": [1, 2], "b": [3, 4]}), changed(pen, int_value=1))
        stalling = Stalling(store, late)
        async with running(before, stalling):
            assert await asyncio.to_thread(stalling.stands.wait, 30 * LONGER)
            async with await open_event_log(url) as after:
                more = pen.metrics({"a": [5, 6, 7]}, first_step=2)
                await append(after, more, changed(pen, string_value="one"))
                await stored(after, store)
                assert row_of(store) == ([(1, 7)], 7, 1)
                assert not sum((await after.lag(RECORDS.name, GROUP)).values())
                # It wakes, says what it knows, and sets the group back to where it is.
                stalling.go_on.set()
                async with asyncio.timeout(30 * LONGER):
                    # Another opening's offsets: only asking tells.
                    while sum((await after.lag(RECORDS.name, GROUP)).values()) != 2:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
    assert row_of(store) == ([(1, 7)], 7, 1)
    # Opening it drops, of each key, all but the newest.
    async with await open_event_log(url) as log:
        entry = await told(log, pen)
        assert [(i.first, i.last) for i in entry.stored] == [(1, 7)]
        assert [w.path for w in entry.warnings] == ["x"]
        # The next owner goes on from the later one's word, whatever was committed last.
        await append(log, pen.metrics({"a": [8]}, first_step=5))
        await stored(log, store)
        assert row_of(store) == ([(1, 8)], 8, 1)
        assert [(i.first, i.last) for i in (await told(log, pen)).stored] == [(1, 8)]
    points = store.query("SELECT value FROM points FINAL ORDER BY path, step")
    assert points.to_pydict() == {"value": [1, 2, 5, 6, 7, 8, 3, 4]}


async def test_a_warning_is_said_though_the_owner_died_between_rows_and_word(
    tmp_path: Path, store: Store
) -> None:
    pen = Pen()
    async with await open_event_log(f"sqlite:///{tmp_path / 'log.db'}") as log:
        await log.create_topics(ALL_TOPICS)
        await append(log, changed(pen, int_value=1), changed(pen, string_value="one"))
        stalling = Stalling(store, "writers")
        dying = asyncio.create_task(Writer(log, stalling).run(asyncio.Event()))  # type: ignore[arg-type]
        assert await asyncio.to_thread(stalling.stands.wait, 30 * LONGER)
        types = store.query("SELECT type FROM attributes FINAL ORDER BY type")
        assert types.to_pydict() == {"type": ["int", "string"]}
        dying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await dying
        await stored(log, store)
        stalling.go_on.set()
        # Of whichever record comes first.
        assert [w.path for w in (await told(log, pen)).warnings] == ["x"]
        # ... and once.
        await append(log, changed(pen, string_value="two"), changed(pen, int_value=3))
        await stored(log, store)
        assert len((await told(log, pen)).warnings) == 1


def test_each_epoch_is_above_all_that_were_written_under(store: Store) -> None:
    one, two = TopicPartition("t", 1), TopicPartition("t", 2)
    first = take(store, [one, two])
    assert take(store, [two]) == first + 1
    found = store.query("SELECT log_partition AS p, epoch AS e FROM owners FINAL ORDER BY p")
    assert found.to_pylist() == [{"p": 1, "e": first}, {"p": 2, "e": first + 1}]
    # Should the table be lost, what was written tells.
    emptied(store, "owners")
    store.command("INSERT INTO writers (row_version) VALUES ({v:UInt64})", {"v": (first + 9) << 40})
    assert take(store, [one]) == first + 10


# --- with processes that are stopped ---------------------------------------------------------


@contextlib.asynccontextmanager
async def child(log: str, server: ClickHouse, database: str) -> AsyncIterator[Process]:
    """A writer that is told to end, and does, when the block does."""
    arguments = [support_writer_child.__file__, log, server.url, database]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE)
    try:
        assert process.stdout
        assert await asyncio.wait_for(process.stdout.readline(), 60 * LONGER) == b"ready\n"
        yield process
        assert process.returncode is None, "it ended by itself"
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 60 * LONGER) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def owners(store: Store) -> set[int]:
    """Process ids of those that have partitions."""
    found = await asyncio.to_thread(store.query, "SELECT DISTINCT owner FROM owners FINAL")
    return {int(owner.rpartition(":")[2]) for owner in found.column(0).to_pylist()}


async def until_owners(store: Store, wanted: set[int]) -> None:
    async with asyncio.timeout(60 * LONGER):
        while await owners(store) != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_processes_that_are_stopped_and_wake(
    kafka_url: str, clickhouse_server: ClickHouse
) -> None:
    url = fresh(kafka_url)
    choose = random.Random(7)
    with migrated(clickhouse_server.url) as store:
        async with await open_event_log(url) as log:
            await log.create_topics(ALL_TOPICS)
            load = Load(log, runs=12)
            async with contextlib.AsyncExitStack() as children:
                async with load.going_on():
                    members = [
                        await children.enter_async_context(
                            child(url, clickhouse_server, store.database)
                        )
                        for _ in range(2)
                    ]
                    await until_owners(store, {one.pid for one in members})
                    for _ in range(4):
                        await load.more(choose.randint(1, 100))
                        stopped, other = choose.sample(members, 2)
                        stopped.send_signal(signal.SIGSTOP)
                        # All partitions are the other's, which stores what the first had.
                        await until_owners(store, {other.pid})
                        await load.more(100)
                        stopped.send_signal(signal.SIGCONT)
                        await until_owners(store, {one.pid for one in members})
                await load.stored()
            await load.check(store)
