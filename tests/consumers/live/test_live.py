"""Live state against a real Valkey, which goes away and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_envelopes import FINISHED, Pen, append, as_records, now_ms, seal
from support_naiad import LONGER
from support_valkey import Valkey, running_valkey

from naiad_consumers.live import GROUP, Live, WriterSeen, last_seen, latest_values
from naiad_consumers.live import gathering as gathering_module
from naiad_consumers.live import live as live_module
from naiad_consumers.live import mirror as mirror_module
from naiad_consumers.live.gathering import Gathering
from naiad_consumers.live.layout import EXPIRY_SECONDS, pack_values, values_key, writers_key
from naiad_eventlog import EventLog, OnRevoke, StartFrom, Subscription, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS, run_key
from naiad_proto.v1 import records_pb2
from naiad_state import State
from naiad_state import breaker as breaker_module

NAN = float("nan")
PROJECT, RUN = "team/vision", "run-1"
EPOCH = 7
# Seconds: these are tests of what is there, not of how soon.
PATIENCE = 60.0


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop reads and writes everything, also on a machine that stands still meanwhile."""
    monkeypatch.setattr(mirror_module, "_PATIENCE", PATIENCE)
    monkeypatch.setattr(live_module, "_DRAIN", PATIENCE)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with running_valkey(tmp_path) as valkey:
        yield valkey


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EventLog]:
    async with await open_event_log(f"sqlite:///{tmp_path}/log.db") as log:
        await log.create_topics(ALL_TOPICS)
        yield log


@contextlib.asynccontextmanager
async def running(log: EventLog, url: str) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with State.open(url) as state:
        task = asyncio.create_task(Live(log, state).run(stop))
        try:
            yield
            stop.set()
            await asyncio.wait_for(task, 60 * LONGER)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def values(valkey: Valkey, run_id: str = RUN) -> dict[str, tuple[float, float]]:
    """(step, value) by path."""
    async with State.open(valkey.url) as state:
        found = await state.read(
            lambda redis: latest_values(redis, PROJECT, run_id), patience=PATIENCE
        )
    return {path: (point.step / 1e6, point.value) for path, point in found.items()}


async def seen(valkey: Valkey, run_id: str = RUN) -> dict[str, WriterSeen]:
    async with State.open(valkey.url) as state:
        return await state.read(lambda redis: last_seen(redis, PROJECT, run_id), patience=PATIENCE)


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds * LONGER):
        # Another process's state: nothing there to wait on but asking.
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def lag(log: EventLog) -> int:
    async with await log.subscribe(RECORDS.name, GROUP) as subscription:
        return sum((await subscription.lag()).values())


async def committed(log: EventLog) -> bool:
    """Whether the consumer knows that what was logged stands in Redis."""
    return not sum((await log.lag(RECORDS.name, GROUP)).values())


async def test_the_latest_of_everything(log: EventLog, valkey: Valkey) -> None:
    pen, other = Pen(), Pen(run_id="other")
    before = now_ms()
    async with running(log, valkey.url):
        await append(log, pen.status(), pen.metrics({"a": [1, 2, 3], "b": [1, 1, NAN]}))
        await append(log, pen.metrics({"a": [9]}, first_step=7), other.metrics({"a": [5]}))
        await append(log, pen.metrics({"a": [7]}, first_step=9, preview=True))
    found = await values(valkey)
    assert found["a"] == (7, 9)
    assert found["b"][0] == 2
    assert math.isnan(found["b"][1])
    assert await values(valkey, "other") == {"a": (0, 5)}
    (writer,) = (await seen(valkey)).values()
    assert writer.state == "running"
    assert before <= writer.seen_at <= now_ms()
    assert (await seen(valkey, "other"))[other.writer_id].state == ""
    assert await values(valkey, "nobody") == {}
    async with State.open(valkey.url) as state:
        for key in await state.read(lambda redis: redis.keys("naiad:live:*"), patience=PATIENCE):
            ttl = await state.read(lambda redis, key=key: redis.ttl(key), patience=PATIENCE)  # type: ignore[misc]
            assert 0 < ttl <= EXPIRY_SECONDS
    assert await lag(log) == 0


async def test_an_older_step_never_replaces_a_newer_one(log: EventLog, valkey: Valkey) -> None:
    """Not within a process, and not after a restart."""
    pen = Pen()
    for step, value, latest in ((5, 1, (5, 1)), (3, 2, (5, 1)), (5, 3, (5, 3))):
        async with running(log, valkey.url):
            await append(log, pen.metrics({"a": [value]}, first_step=step))
        assert await values(valkey) == {"a": latest}
    async with running(log, valkey.url):
        await append(log, *(pen.metrics({"a": [8]}, first_step=step) for step in (8, 6)))
    assert await values(valkey) == {"a": (8, 8)}


@pytest.fixture
def revokes(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> list[OnRevoke]:
    """What the consumer does before its partitions go away, for a test to call."""
    found: list[OnRevoke] = []
    subscribe = log.subscribe

    async def note(
        topic: str,
        group: str,
        start: StartFrom = StartFrom.COMMITTED,
        on_revoke: OnRevoke | None = None,
    ) -> Subscription:
        if on_revoke:
            found.append(on_revoke)
        return await subscribe(topic, group, start, on_revoke)

    monkeypatch.setattr(log, "subscribe", note)
    return found


async def set_step_9(valkey: Valkey) -> None:
    """As another member would."""
    packed = pack_values(*(np.array([n]) for n in (9_000_000, 0, 9.0)))
    async with State.open(valkey.url) as state:
        key = values_key(PROJECT, RUN)
        await state.write(lambda redis: redis.hset(key, "a", packed[0]), patience=PATIENCE)


async def test_what_another_member_wrote_meanwhile_counts(
    log: EventLog, valkey: Valkey, revokes: list[OnRevoke]
) -> None:
    """A member whose partitions go away and come back knows nothing of the time between."""
    pen = Pen()
    async with running(log, valkey.url):
        await append(log, pen.metrics({"a": [1]}, first_step=1))

        async def written() -> bool:
            return await values(valkey) == {"a": (1, 1)} and await committed(log)

        await until(written)
        await revokes[0]()
        await set_step_9(valkey)
        await append(log, pen.metrics({"a": [5]}, first_step=5))
    assert await values(valkey) == {"a": (9, 9)}


async def test_partitions_go_away_in_the_middle_of_a_write(
    log: EventLog, valkey: Valkey, revokes: list[OnRevoke], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are handed over once it has ended, so that nothing of it is remembered."""
    began, go_on = asyncio.Event(), asyncio.Event()
    what_is_held = mirror_module.Mirror._what_is_held

    async def halting(self: mirror_module.Mirror, *of_run: Any) -> Any:
        held = await what_is_held(self, *of_run)
        began.set()
        await go_on.wait()
        return held

    monkeypatch.setattr(mirror_module.Mirror, "_what_is_held", halting)
    pen = Pen()
    async with running(log, valkey.url):
        await append(log, pen.metrics({"a": [1]}, first_step=1))
        await asyncio.wait_for(began.wait(), PATIENCE)
        handing_over = asyncio.create_task(revokes[0]())
        # Turns enough for one that does not wait.
        for _ in range(100):
            await asyncio.sleep(0)
        assert not handing_over.done()
        go_on.set()
        await handing_over
        assert await values(valkey) == {"a": (1, 1)}
        await set_step_9(valkey)
        await append(log, pen.metrics({"a": [5]}, first_step=5))
    assert await values(valkey) == {"a": (9, 9)}


async def test_an_end_is_final_and_heartbeats_are_heard(log: EventLog, valkey: Valkey) -> None:
    pen = Pen()
    start, end = pen.status(), pen.status(FINISHED)
    async with running(log, valkey.url):
        await append(log, start, end)
        await append(log, start)
    first = (await seen(valkey))[pen.writer_id]
    assert first.state == "finished"
    async with running(log, valkey.url):
        await append(log, start, pen.heartbeat())
    second = (await seen(valkey))[pen.writer_id]
    assert (second.state, second.record) == ("finished", 2)
    assert second.seen_at >= first.seen_at


async def test_rejected_and_unreadable_parts_are_left_out(log: EventLog, valkey: Valkey) -> None:
    pen = Pen()
    batch = pen.metrics({"a": [1, 2, 3], "b": [1, 2, 3]})
    rejections = [
        records_pb2.Rejection(group_index=0, path_index=0, row_index=2),
        records_pb2.Rejection(group_index=0, path_index=1),
    ]
    key = run_key(PROJECT, RUN)
    async with running(log, valkey.url):
        await log.append(RECORDS.name, key, seal(batch, rejections=rejections))
        await log.append(RECORDS.name, key, b"\xff\xff")
    assert await values(valkey) == {"a": (1, 2)}


async def test_the_number_of_paths_is_bounded(
    log: EventLog, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "MAX_PATHS", 10)
    pen = Pen()
    async with running(log, valkey.url):
        for first in (0, 6, 12):
            data = {f"m{n}": [1.0] for n in range(first, first + 6)}
            await append(log, pen.metrics(data))
        await append(log, pen.metrics({"m0": [2.0]}, first_step=1))
    found = await values(valkey)
    assert len(found) == 10
    assert found["m0"] == (1, 2)


async def test_without_redis_the_log_is_read_on(
    log: EventLog,
    valkey: Valkey,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(breaker_module, "LONGEST_PAUSE", 0.1)
    pen, other = Pen(), Pen(run_id="other")
    async with running(log, valkey.url):
        await append(log, pen.metrics({"a": [1], "b": [1]}))
        # One that has not heard that it is written would write it again.
        await until(lambda: committed(log))
        valkey.stop()
        for number in range(5):
            await append(log, pen.metrics({"a": [2]}, first_step=1 + number))
            await append(log, other.metrics({"c": [number]}, first_step=number), other.heartbeat())
        await until(_logged(caplog, "can't be used"))

        async def read_on() -> bool:
            return await lag(log) == 0

        await until(read_on)
        # It comes back empty and fills with what came meanwhile, of runs that are silent now too.
        valkey.start()

        async def filled() -> bool:
            return bool(await values(valkey)) and bool(await values(valkey, "other"))

        await until(filled)
        assert await values(valkey) == {"a": (5, 2)}
        assert await values(valkey, "other") == {"c": (4, 4)}
        assert other.writer_id in await seen(valkey, "other")
        await append(log, pen.metrics({"a": [3]}, first_step=10))

        async def goes_on() -> bool:
            return await values(valkey) == {"a": (10, 3)}

        await until(goes_on)
    assert caplog.text.count("can't be used") == 1
    assert caplog.text.count("valkey.sock is back") == 1
    assert await lag(log) == 0


def test_what_waits_is_bounded_and_newer_news_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering_module, "MAX_RUNS", 2)
    monkeypatch.setattr(gathering_module, "MAX_PATHS", 2)
    gathering = Gathering()

    def gather(run_id: str, data: dict[str, list[float]], step: float = 0) -> None:
        pen = Pen(run_id=run_id, writer_id="w" * 32, epoch=EPOCH)
        for record in as_records(pen.metrics(data, first_step=step)):
            gathering.add(record)

    gather("one", {"a": [1], "b": [1]}, step=5)
    gather("two", {"a": [2]})
    taken = gathering.take()
    gather("one", {"a": [9], "c": [9]}, step=4)
    gather("three", {"a": [3]})
    gathering.put_back(taken)
    left = {run: news.parts[EPOCH].values for (_, run), news in gathering.take().items()}
    assert list(left) == ["one", "three"]
    assert {path: (at.step, at.value) for path, at in left["one"].items()} == {
        "a": (5_000_000, 1),
        "c": (4_000_000, 9),
    }


async def test_a_redis_that_was_never_there_costs_no_data(
    log: EventLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(log, f"unix://{tmp_path}/absent.sock"):
        for _ in range(3):
            await append(log, Pen().metrics({"a": [1]}))
    assert await lag(log) == 0
    assert caplog.text.count("can't be used") == 1


async def test_what_another_layout_wrote_is_not_misread(log: EventLog, valkey: Valkey) -> None:
    valkey.command("HSET", values_key(PROJECT, RUN), "old", "\x09something")
    valkey.command("HSET", writers_key(PROJECT, RUN), "w", "\x09")
    assert await values(valkey) == {}
    assert await seen(valkey) == {}
    async with running(log, valkey.url):
        await append(log, Pen().metrics({"old": [1]}))
    assert await values(valkey) == {"old": (0, 1)}


def _logged(caplog: pytest.LogCaptureFixture, text: str) -> Callable[[], Awaitable[bool]]:
    async def found() -> bool:
        return text in caplog.text

    return found
