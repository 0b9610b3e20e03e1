"""Silence of a run's writers: told by a real writer consumer, decided by the store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support_naiad import LONGER

from naiad_consumers.writer import Writer
from naiad_consumers.writer.listening import GAP_SECONDS, Listening
from naiad_eventlog import EventLog, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS, run_key
from naiad_proto.v1 import records_pb2 as pb
from naiad_proto.v1.log_pb2 import Envelope
from naiad_store import Store
from naiad_store import run_key as store_key
from naiad_store.selects.runs import lives_of

PROJECT, RUN, WRITER = "team/p", "r", "ab" * 16


class Clock:
    """Unix seconds that the test turns, or that go on by themselves with every look."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.step = 0.0
        # Since the test turned it.
        self.looked = False

    def __call__(self) -> float:
        self.looked = True
        self.now += self.step
        return self.now


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EventLog]:
    async with await open_event_log(f"sqlite:///{tmp_path / 'log.db'}") as log:
        await log.create_topics(ALL_TOPICS)
        yield log


@contextlib.asynccontextmanager
async def writing(log: EventLog, store: Store, clock: Clock) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(Writer(log, store, clock=clock).run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def say(log: EventLog, at: float, status: pb.WriterStatus | None = None) -> None:
    """A batch that ingest took `at`; without a status a heartbeat."""
    batch = pb.Batch(project=PROJECT, run_id=RUN, writer_id=WRITER, epoch=10)
    if status:
        batch.records.first = batch.records.last = 1
        batch.items.add(record=1, timestamp=int(at * 1000), writer_status=status)
    envelope = Envelope(
        min_reader_version=1, received_at=int(at * 1000), principal="ann",
        batch=batch.SerializeToString(),
    )  # fmt: skip
    await log.append(RECORDS.name, run_key(PROJECT, RUN), envelope.SerializeToString())


def state(store: Store) -> str | None:
    run = store_key(PROJECT, RUN)
    found = lives_of(store, PROJECT, [run])
    return found[run].state if run in found else None


async def becomes(store: Store, wanted: str) -> None:
    async with asyncio.timeout(60 * LONGER):
        while True:
            if await asyncio.to_thread(state, store) == wanted:
                return
            await asyncio.sleep(0.05)


async def listened(store: Store, clock: Clock) -> None:
    """Some seconds, until what the consumer told goes beyond now."""
    moment = clock.now
    async with asyncio.timeout(60 * LONGER):
        while True:
            found = store.query("SELECT max(toUnixTimestamp64Milli(until)) AS t FROM listening")
            if found.to_pylist()[0]["t"] > moment * 1000:
                return
            # In step with a consumer that may stand still: it must not seem to be away for long.
            if clock.looked:
                clock.looked = False
                clock.now += 0.5
            await asyncio.sleep(0.05)


@pytest.mark.long
async def test_a_host_falls_silent_and_comes_back(log: EventLog, store: Store) -> None:
    clock = Clock()
    running = pb.WriterStatus(state=pb.WRITER_STATE_RUNNING, host="node", pid=7)
    await say(log, clock.now, running)
    async with writing(log, store, clock):
        await becomes(store, "running")
        begin = clock.now
        clock.step = 0.25
        await becomes(store, "unreachable")
        assert clock.now - begin >= 50
        clock.step = 0.0
        await say(log, clock.now)
        await becomes(store, "running")


async def test_a_server_that_was_away_marks_nobody(log: EventLog, store: Store) -> None:
    clock = Clock()
    await say(log, clock.now, pb.WriterStatus(state=pb.WRITER_STATE_RUNNING))
    async with writing(log, store, clock):
        await becomes(store, "running")
        await listened(store, clock)
    clock.now += 3600
    async with writing(log, store, clock):
        await listened(store, clock)
        assert state(store) == "running"
        # Asleep, as a laptop: nobody heard anything meanwhile.
        clock.now += 3600
        await listened(store, clock)
        assert state(store) == "running"


async def test_what_still_waits_in_the_log_is_no_silence(log: EventLog, store: Store) -> None:
    clock = Clock()
    await say(log, clock.now, pb.WriterStatus(state=pb.WRITER_STATE_RUNNING))
    async with writing(log, store, clock):
        await becomes(store, "running")
    # Two minutes that ingest took and this consumer hears only now.
    for _ in range(12):
        clock.now += 10
        await say(log, clock.now)
    async with writing(log, store, clock):
        await listened(store, clock)
        assert state(store) == "running"


def test_gaps_make_silence_count_anew() -> None:
    clock = Clock()
    listening = Listening(clock)
    listening.begin([3])
    assert not listening.due
    first = listening.look()
    clock.now += 1
    # Of a partition that is another's nothing is told.
    listening.heard({4: listening.look()})
    assert not listening.due
    listening.heard({3: listening.look()})
    assert listening.due
    clock.now += GAP_SECONDS + 1
    late = listening.look()
    assert listening._spans[3].since == late > first
    assert not listening.due
    # The clock was set back.
    clock.now -= 100
    assert listening.look() == listening._spans[3].since


def test_a_partition_that_comes_back_was_not_heard_in_between() -> None:
    clock = Clock()
    listening = Listening(clock)
    listening.begin([0, 1])
    since = clock.now
    clock.now += 1
    listening.begin([0])
    clock.now += 1
    listening.begin([0, 1])
    assert listening._spans[0].since == since
    assert listening._spans[1].since == clock.now
