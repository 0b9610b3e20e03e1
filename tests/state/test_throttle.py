"""Limits across processes, on a real Valkey that goes away and comes back."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from support_naiad import LONGER
from support_valkey import Valkey

from naiad_state import Cost, Excess, Limits, State, Throttle
from naiad_state import breaker as breaker_module
from naiad_state import throttle as throttle_module

PROJECT = "team/vision"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker_module, "LONGEST_PAUSE", 0.3)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def points(number: int) -> Cost:
    return Cost(points=number, bytes=8 * number)


async def took(throttle: Throttle, cost: Cost, project: str = PROJECT, token: str = "ann") -> float:
    """0 if it was let through, else the wait."""
    excess = await throttle.take(project, token, cost)
    return excess.wait if excess else 0.0


async def test_a_bucket_alone() -> None:
    clock = Clock()
    limits = Limits.parse("project=*:points_per_second=100,burst_seconds=2")
    throttle = Throttle(limits, monotonic=clock)
    # A burst, into debt by the last batch; then nothing until that is made up for.
    assert [await took(throttle, points(150)) for _ in range(3)] == [0, 0, pytest.approx(1.0)]
    # Another project's bucket is full.
    assert await took(throttle, points(150), "team/other") == 0
    clock.now += 0.9
    assert await took(throttle, points(1)) == pytest.approx(0.1)
    # What was refused took nothing.
    clock.now += 0.11
    assert await took(throttle, points(1)) == 0
    # A batch larger than all that a bucket holds passes too, and is made up for.
    clock.now += 100
    assert await took(throttle, points(1_000)) == 0
    assert await took(throttle, points(1)) == pytest.approx(8.0)
    clock.now += 100
    assert await took(throttle, points(100_000)) == 0
    assert await took(throttle, points(1)) == 10
    clock.now += 997
    assert await took(throttle, points(1)) == pytest.approx(1.0)


async def test_a_refusal_names_the_limit_that_is_worst() -> None:
    limits = Limits.parse(
        "project=*:points_per_second=1000000,burst_seconds=1;token=ann:batches_per_second=2"
    )
    throttle = Throttle(limits, monotonic=Clock())
    excess: Excess | None = None
    for _ in range(10):
        excess = excess or await throttle.take(PROJECT, "ann", points(10))
    assert excess
    assert "token 'ann' may send 2 batches per second" in excess.reason
    assert await throttle.take(PROJECT, "bob", points(1_000_001)) is None
    excess = await throttle.take(PROJECT, "bob", points(1))
    assert excess
    assert "project 'team/vision' may send 1,000,000 points per second" in excess.reason


async def test_over_time_the_rate_is_exact_whatever_the_sizes() -> None:
    clock, dice = Clock(), random.Random(7)
    throttle = Throttle(Limits.parse("project=*:points_per_second=1000"), monotonic=clock)
    sent = dict.fromkeys((1, 100, 20000), 0)
    for _ in range(60_000):
        clock.now += 0.005
        size = dice.choice(list(sent))
        if not await took(throttle, points(size)):
            sent[size] += size
    assert sum(sent.values()) == pytest.approx(300_000, rel=0.1)
    # Small ones in between don't keep large ones out for ever.
    assert sent[20_000] > 60_000


@pytest.mark.usefixtures("patience")
async def test_replicas_share_what_is_allowed(valkey: Valkey) -> None:
    limits = Limits.parse("project=*:points_per_second=20000,burst_seconds=0.5")
    async with State.open(valkey.url) as one, State.open(valkey.url) as other:
        throttles = [Throttle(limits, one), Throttle(limits, other)]
        began = time.monotonic()
        let_through = 0

        async def send(throttle: Throttle) -> None:
            nonlocal let_through
            while let_through < 40_000:
                if wait := await took(throttle, points(500)):
                    await asyncio.sleep(min(wait, 0.1))
                else:
                    let_through += 500

        async with asyncio.timeout(60 * LONGER):
            await asyncio.gather(*(send(throttle) for throttle in throttles for _ in range(8)))
        took_seconds = time.monotonic() - began
        for throttle in throttles:
            await throttle.close()
    # Two buckets of their own would let twice as much through.
    assert let_through <= 20_000 * (took_seconds + 0.5) + 500


@pytest.mark.usefixtures("patience")
async def test_the_wait_is_right_and_refusals_take_nothing(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Waits of many minutes, which are not over before they are looked at.
    monkeypatch.setattr(throttle_module, "_LONGEST_WAIT", 1e6)
    limits = Limits.parse("project=*:points_per_second=100;token=*:bytes_per_second=8000")
    async with State.open(valkey.url) as state:
        throttle = Throttle(limits, state)
        began = time.monotonic()
        assert await took(throttle, points(100_200)) == 0
        waits = [await took(throttle, points(1000)) for _ in range(20)]
        passed = time.monotonic() - began
        # 100,000 more than a full bucket of 2 s.
        assert waits == sorted(waits, reverse=True)
        assert 1000 - passed - 0.01 <= waits[-1] <= waits[0] <= 1000
        ttls = [
            await state.read(lambda redis, key=key: redis.pttl(key))  # type: ignore[misc]
            for key in await state.read(lambda redis: redis.keys("naiad:limit:*"))
        ]
        assert len(ttls) == 2
        assert all(0 < ttl <= 1_003_001 for ttl in ttls)
        assert await took(throttle, points(210), "team/other", "bob") == 0
        # 0, and it took one more, if the machine stood still for that long.
        if wait := await took(throttle, points(1), "team/other", "bob"):
            await asyncio.sleep(wait)
            assert await took(throttle, points(1), "team/other", "bob") == 0
        await throttle.close()


@pytest.mark.usefixtures("patience")
async def test_a_clock_that_was_set_back_bars_nobody(valkey: Valkey) -> None:
    # A bucket that takes an hour to fill is remembered for that long.
    limits = Limits.parse("project=*:points_per_second=1000,burst_seconds=3600")
    async with State.open(valkey.url) as state:
        throttle = Throttle(limits, state)
        await took(throttle, points(3_600_100))
        (key,) = await state.read(lambda redis: redis.keys("naiad:limit:*"))
        await state.write(lambda redis: redis.hincrby(key, "at", 3_600_000_000))
        assert await took(throttle, points(1)) > 0
        await asyncio.sleep(0.2)
        assert await took(throttle, points(1)) == 0
        await throttle.close()


@pytest.mark.parametrize("how", ["killed", "paused", "full"])
async def test_while_redis_is_away_each_replica_holds_to_the_limit(
    valkey: Valkey, how: str
) -> None:
    limits = Limits.parse("project=*:points_per_second=1000,burst_seconds=1")
    async with State.open(valkey.url) as state:
        throttle = Throttle(limits, state)
        began = time.monotonic()
        assert await took(throttle, points(900)) == 0
        match how:
            case "killed":
                valkey.stop()
            case "paused":
                valkey.pause()
            case "full":
                assert valkey.command("CONFIG", "SET", "maxmemory", "1") == "+OK"
        let_through = 0
        async with asyncio.timeout(60 * LONGER):
            while let_through < 1000:
                if not await took(throttle, points(50)):
                    let_through += 50
                await asyncio.sleep(0.002)
        seconds = time.monotonic() - began
        assert state.away
        # Not a full bucket to begin with: it has been taken from before.
        assert let_through <= 1000 * seconds + 150
        match how:
            case "killed":
                # It comes back empty: a full bucket, once.
                valkey.start()
            case "paused":
                valkey.resume()
            case "full":
                assert valkey.command("CONFIG", "SET", "maxmemory", "0") == "+OK"
        async with asyncio.timeout(15 * LONGER):
            while state.away:
                await took(throttle, points(1))
                await asyncio.sleep(0.01)
        await throttle.close()


@pytest.mark.usefixtures("patience")
async def test_what_is_asked_at_once_goes_together(valkey: Valkey) -> None:
    limits = Limits.parse("project=*:batches_per_second=1000000")
    async with State.open(valkey.url) as state:
        throttle = Throttle(limits, state)
        answers = await asyncio.gather(*(took(throttle, points(1)) for _ in range(2_000)))
        assert answers == [0] * 2_000
        assert not state.away
        connections = await state.read(lambda redis: redis.info("clients"))
        assert connections["connected_clients"] <= 3
        await throttle.close()


async def test_who_waits_at_the_close_is_answered(valkey: Valkey) -> None:
    async with State.open(valkey.url) as state:
        throttle = Throttle(Limits.parse("project=*:batches_per_second=10"), state)
        valkey.pause()
        waiting = [asyncio.create_task(took(throttle, points(1))) for _ in range(500)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await throttle.close()
        assert len(await asyncio.wait_for(asyncio.gather(*waiting), 30 * LONGER)) == 500
        valkey.resume()
