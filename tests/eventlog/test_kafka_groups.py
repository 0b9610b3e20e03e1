"""Groups on Kafka whose members come, go, are killed and wake from the dead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import support_kafka_member
from support_eventlog import next_offsets
from support_kafka import drained, fresh, kafka_url, until
from support_naiad import LONGER

from naiad_eventlog import (
    EventLog,
    Position,
    Record,
    Subscription,
    Topic,
    TopicPartition,
    open_event_log,
)

__all__ = ["kafka_url"]
pytestmark = pytest.mark.long

TOPIC = Topic("river", partitions=6)
KEYS = 12


@pytest.fixture
def url(kafka_url: str) -> str:
    return fresh(kafka_url)


@pytest.fixture
async def log(url: str) -> AsyncIterator[EventLog]:
    async with await open_event_log(url) as log:
        await log.create_topics([TOPIC])
        yield log


class Member:
    """One in a process of its own, and what it said that it has handled."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.handled: list[Position] = []
        self.committed = asyncio.Event()
        self._joined = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    @contextlib.asynccontextmanager
    async def joining(cls, url: str) -> AsyncIterator[Member]:
        program = [sys.executable, str(Path(support_kafka_member.__file__)), url, "g"]
        member = cls(await asyncio.create_subprocess_exec(*program, stdin=PIPE, stdout=PIPE))
        try:
            await asyncio.wait_for(member._joined.wait(), 30 * LONGER)
            yield member
        finally:
            await member.kill()

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            match line.split():
                case [b"joined"]:
                    self._joined.set()
                case [b"committed"]:
                    self.committed.set()
                case [partition, offset, _]:
                    self.handled.append(Position("river", int(partition), int(offset)))


class Worker:
    """A member in this process, which polls and commits until it is told to leave."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.handled: list[Record] = []

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[Subscription]:
        leave = asyncio.Event()
        async with await self._log.subscribe("river", "g") as member:
            task = asyncio.create_task(self._work(member, leave))
            try:
                yield member
            finally:
                leave.set()
                await task

    async def _work(self, member: Subscription, leave: asyncio.Event) -> None:
        while not leave.is_set():
            records = await member.poll(max_records=5, wait=0.05)
            self.handled += records
            await member.commit(next_offsets(records))


@pytest.mark.slow
async def test_members_join_leave_and_die_without_loss(log: EventLog, url: str) -> None:
    appended: list[Position] = []
    stop = asyncio.Event()

    async def append() -> None:
        number = 0
        while not stop.is_set():
            appended.append(await log.append("river", b"key %d" % (number % KEYS), b"%d" % number))
            number += 1
            await asyncio.sleep(0.003)

    # More than members read ahead of what they handle.
    appended += await asyncio.gather(
        *(log.append("river", b"key %d" % (n % KEYS), b"backlog") for n in range(1500))
    )
    appending = asyncio.create_task(append())
    first, second = Worker(log), Worker(log)
    dead: list[Member] = []

    def partitions(records: list[Record], among: set[Position]) -> set[int]:
        return {r.partition for r in records if r.position in among}

    async def check() -> None:
        """Nothing is committed that nobody has handled."""
        committed = await member.committed()
        handled = {r.position for r in first.handled + second.handled}
        handled |= {position for one in dead for position in one.handled}
        for position in appended:
            if position.offset < committed.get(TopicPartition("river", position.partition), 0):
                assert position in handled

    async with first.working() as member:
        await until(lambda: len(first.handled) > 50)
        await check()
        async with Member.joining(url) as other:
            dead.append(other)
            # It takes its share while it lives ...
            await until(lambda: len(other.handled) > 50)
            async with second.working():
                await until(lambda: len(second.handled) > 20)
                await check()
            await other.kill()
            await check()
            # ... and what was its share goes on with those who are left.
            share = {position.partition for position in other.handled[-10:]}
            mark = len(appended)
            await until(lambda: share <= partitions(first.handled, set(appended[mark:])))
        stop.set()
        await appending
        await drained(member)
        await check()
    handled = [r.position for r in first.handled + second.handled]
    handled += [position for one in dead for position in one.handled]
    assert set(handled) == set(appended)
    # Twice stands only what was under way when members were killed, or given away.
    assert len(handled) - len(set(handled)) < len(appended) / 4


async def test_a_member_that_slept_through_its_end_sets_nothing_back(
    log: EventLog, url: str
) -> None:
    for number in range(60):
        await log.append("river", b"key %d" % (number % KEYS), b"%d" % number)
    async with Member.joining(url) as sleeper:
        # Some come twice, where it has stood still before.
        await until(lambda: len(set(sleeper.handled)) == 60)
        os.kill(sleeper.process.pid, signal.SIGSTOP)
        later = [
            await log.append("river", b"key %d" % (number % KEYS), b"%d" % number)
            for number in range(60, 120)
        ]
        worker = Worker(log)
        async with worker.working() as member:
            # The group waits for the sleeper as long as its session lasts, and not for ever.
            await until(lambda: {r.position for r in worker.handled} >= set(later))
            await drained(member)
        done = await _committed(log)
        os.kill(sleeper.process.pid, signal.SIGCONT)
        assert sleeper.process.stdin
        sleeper.process.stdin.write(b"now\n")
        await asyncio.wait_for(sleeper.committed.wait(), 30 * LONGER)
    after = await _committed(log)
    assert done == after


async def _committed(log: EventLog) -> dict[TopicPartition, int]:
    async with await log.subscribe("river", "g") as member:
        return await member.committed()
