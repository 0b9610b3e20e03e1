"""Several alerters on Kafka: one works, the others stand by, and what the first one raised or
left undone is the next one's."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import support_alerter_child
from support_clickhouse import ClickHouse
from support_envelopes import Pen, append
from support_kafka import fresh, kafka_url, until
from support_naiad import LONGER
from support_webhook import Receiver, running_receiver

from naiad_consumers.alerter import AlertConfig, Alerter, Webhook, delivery, lead
from naiad_consumers.alerter.alerter import GROUP
from naiad_eventlog import EventLog, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS
from naiad_store import Store

__all__ = ["kafka_url"]
NAN = float("nan")


@pytest.fixture
def url(kafka_url: str) -> str:
    # Nobody is taken for dead who stands still for some seconds: what it was sending just then
    # the next one would send again. Shorter than one that joins waits for another that is stopped.
    return fresh(kafka_url, session_seconds=15)


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who ends has time to hear that what it has sent was taken."""
    monkeypatch.setattr(delivery, "_GRACE", 20 * LONGER)


@pytest.fixture
async def log(url: str) -> AsyncIterator[EventLog]:
    async with await open_event_log(url) as log:
        await log.create_topics(ALL_TOPICS)
        yield log


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


def config(receiver: Receiver) -> AlertConfig:
    # One that isn't answered in time may have been taken, and is sent again.
    return AlertConfig(webhooks=(Webhook(name="team", url=receiver.url, timeout=60),), log=False)


@contextlib.asynccontextmanager
async def alerting(url: str, store: Store, receiver: Receiver) -> AsyncIterator[asyncio.Task[None]]:
    """An alerter as in a process of its own."""
    stop = asyncio.Event()
    async with await open_event_log(url) as log:
        task = asyncio.create_task(Alerter(log, store, config(receiver)).run(stop))
        try:
            yield task
        finally:
            stop.set()
            with contextlib.suppress(asyncio.CancelledError):
                await task


class Runs:
    """Runs in many partitions, each of which goes bad and well again."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._pens = [Pen(run_id=f"run-{n}") for n in range(12)]
        self.expected: Counter[tuple[str, str]] = Counter()

    async def go(self, *, bad: bool) -> None:
        for pen in self._pens:
            await append(self._log, pen.metrics({"loss": [NAN if bad else 1.0]}))
            self.expected[pen.run_id, "firing" if bad else "resolved"] += 1

    def told(self, receiver: Receiver) -> bool:
        return not self.expected - self._counts(receiver)

    def check(self, receiver: Receiver) -> None:
        """None is lost and none is sent twice."""
        assert self._counts(receiver) == self.expected
        sent = Counter((body["id"], body["state"]) for body in receiver.taken)
        assert set(sent.values()) == {1}

    @staticmethod
    def _counts(receiver: Receiver) -> Counter[tuple[str, str]]:
        return Counter((body["run_id"], body["state"]) for body in receiver.taken)


async def marked(store: Store, events: int) -> None:
    sql = "SELECT count() AS n FROM alert_deliveries FINAL"
    async with asyncio.timeout(30 * LONGER):
        while (await asyncio.to_thread(store.query, sql)).column(0)[0].as_py() < events:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def members(log: EventLog) -> int:
    return await log.members(RECORDS.name, GROUP)


@pytest.mark.long
async def test_one_works_and_the_next_one_goes_on(
    url: str, log: EventLog, store: Store, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, lead.__name__)
    runs = Runs(log)
    async with alerting(url, store, receiver):
        await runs.go(bad=True)
        await until(lambda: runs.told(receiver))
        async with alerting(url, store, receiver):
            # Before it has made up its mind, nothing could be seen of it.
            await until(lambda: "this one stands by" in caplog.text)
            for bad in (False, True, False):
                await runs.go(bad=bad)
                await until(lambda: runs.told(receiver))
                # The one that stands by reads nothing.
                assert await members(log) <= 1
            await runs.go(bad=True)
    # The first one left, or the second, whichever worked; what was there is told.
    async with alerting(url, store, receiver):
        await runs.go(bad=False)
        await until(lambda: runs.told(receiver))
    # What is taken just as an alerter dies is sent again, so here nothing is taken.
    with running_receiver(lambda body: 503) as refusing:
        async with alerting(url, store, refusing) as dying:
            await runs.go(bad=True)
            await until(lambda: bool(refusing.seen))
            dying.cancel()
    async with alerting(url, store, receiver):
        await until(lambda: runs.told(receiver))
    runs.check(receiver)


async def test_never_do_two_lead(log: EventLog, url: str) -> None:
    at_work: list[int] = []
    led: set[int] = set()

    async def member(number: int, stop: asyncio.Event) -> None:
        async with await open_event_log(url) as own, lead.Lead(own) as leading:
            while not stop.is_set() and await leading.wait(stop):
                at_work.append(number)
                led.add(number)
                assert len(at_work) == 1
                while not stop.is_set() and await leading.stands():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                at_work.remove(number)
                leading.rest()

    stops = [asyncio.Event() for _ in range(3)]
    async with asyncio.timeout(60 * LONGER), asyncio.TaskGroup() as tasks:
        for number, stop in enumerate(stops):
            tasks.create_task(member(number, stop))
        for _ in stops:
            await until(lambda: bool(at_work))
            leader = at_work[0]
            stops[leader].set()
            await until(lambda leader=leader: leader not in at_work)  # type: ignore[misc]
    assert led == {0, 1, 2}


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_one_that_was_stopped_says_nothing_again(
    url: str, log: EventLog, clickhouse_server: ClickHouse, receiver: Receiver, tmp_path: Path
) -> None:
    file = tmp_path / "alerts.yaml"
    webhook = f"{{name: team, url: '{receiver.url}', timeout: 60}}"
    file.write_text(f"log: false\nwebhooks:\n  - {webhook}\n")
    arguments = [support_alerter_child.__file__, url, clickhouse_server.url, str(file)]
    runs = Runs(log)
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE)
    try:
        assert process.stdout
        assert await asyncio.wait_for(process.stdout.readline(), 60 * LONGER) == b"ready\n"
        await runs.go(bad=True)
        await until(lambda: runs.told(receiver), 60)
        with Store.open(clickhouse_server.url) as store:
            # A sink may hear again what it took just before an alerter died.
            await marked(store, sum(runs.expected.values()))
            process.send_signal(signal.SIGSTOP)
            async with alerting(url, store, receiver):
                for bad in (False, True, False):
                    await runs.go(bad=bad)
                    await until(lambda: runs.told(receiver), 60)
                process.send_signal(signal.SIGCONT)
                for bad in (True, False):
                    await runs.go(bad=bad)
                    await until(lambda: runs.told(receiver), 60)
    finally:
        process.kill()
        await process.wait()
    runs.check(receiver)


def test_the_clock_of_silence_stands_while_nobody_can_be_heard() -> None:
    from naiad_consumers.alerter.silence import ServingClock

    now: Any = [0.0]
    clock = ServingClock(lambda: now[0])
    now[0] = 1.0
    assert clock.look() == 1.0
    now[0] = 2.0
    assert clock.look(counts=False) == 1.0
    now[0] = 3.0
    assert clock.look() == 2.0
