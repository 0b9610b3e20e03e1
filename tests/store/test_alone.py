"""One process at a time changes the tables of a store."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support_naiad import LONGER, wait_until

from naiad_store import Store, StoreUnavailable
from naiad_store.alone import held


def locks(store: Store) -> int:
    found = store.query(
        "SELECT 1 FROM system.tables WHERE database = currentDatabase() AND name = 'migrating'"
    )
    return int(found.num_rows)


def test_one_at_a_time_and_none_is_left_out(store: Store) -> None:
    inside, most, done = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, done
        with held(store, stale=60):
            with guard:
                inside += 1
                most = max(most, inside)
            time.sleep(0.05)
            with guard:
                inside -= 1
                done += 1

    with ThreadPoolExecutor(5) as pool:
        for result in [pool.submit(work) for _ in range(5)]:
            result.result(60 * LONGER)
    assert (most, done) == (1, 5)
    assert not locks(store)


def test_one_that_fails_lets_the_next_in(store: Store) -> None:
    with contextlib.suppress(ZeroDivisionError), held(store, stale=60):
        assert locks(store) == 1
        _ = 1 / 0
    assert not locks(store)


def test_a_lock_that_a_killed_process_left_is_taken_over(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.command("CREATE TABLE migrating (holder String) ENGINE = Memory COMMENT 'process 7'")
    with held(store, stale=1):
        assert "the migration that process 7 began never ended" in caplog.text
        assert locks(store) == 1
    assert not locks(store)


def test_waiting_ends(store: Store) -> None:
    release, taken = threading.Event(), threading.Event()

    def keep() -> None:
        with held(store, stale=60):
            taken.set()
            release.wait()

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        wait_until(taken.is_set, 20, "the lock is taken")
        with (
            pytest.raises(StoreUnavailable, match=r"process \d+ on .* has been changing"),
            held(store, stale=60, patience=0.5),
        ):
            pytest.fail("two at once")
    finally:
        release.set()
        keeper.join(30 * LONGER)
