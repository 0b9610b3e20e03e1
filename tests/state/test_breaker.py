"""When a service that is away is tried again."""

from __future__ import annotations

import itertools

from naiad_state.breaker import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(FAILURES):
        assert breaker.admits()
        breaker.failed()
    assert breaker.open
    return breaker


def test_a_single_failure_is_no_outage() -> None:
    breaker = Breaker()
    for _ in range(5 * FAILURES):
        breaker.failed()
        assert not breaker.open
        breaker.succeeded()
    assert breaker.admits()


def test_one_try_after_each_pause_and_longer_pauses() -> None:
    clock = Clock()
    breaker = opened(clock)
    tries = []
    for _ in range(20_000):
        clock.now += 0.01
        if breaker.admits():
            # One at a time.
            assert not breaker.admits()
            tries.append(clock.now)
            breaker.failed()
    gaps = [after - before for before, after in itertools.pairwise(tries)]
    assert tries[0] - 100 <= FIRST_PAUSE + 0.02
    assert gaps[-1] > 10 * FIRST_PAUSE * 0.5
    assert max(gaps) <= LONGEST_PAUSE + 0.02


def test_a_try_that_succeeds_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += LONGEST_PAUSE
    assert breaker.admits()
    breaker.succeeded()
    assert not breaker.open
    assert breaker.admits()
    assert breaker.admits()


def test_a_try_whose_caller_went_away_lets_the_next_one_through() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += LONGEST_PAUSE
    assert breaker.admits()
    breaker.gave_up()
    assert breaker.admits()


def test_failures_of_calls_from_before_dont_lengthen_the_pause() -> None:
    clock = Clock()
    breaker = opened(clock)
    for _ in range(50):
        breaker.failed()
    clock.now += FIRST_PAUSE
    assert breaker.admits()


def test_a_refusal_is_no_busy_moment() -> None:
    breaker = Breaker()
    breaker.failed(refused=True)
    assert breaker.open
