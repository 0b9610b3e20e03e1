"""The writer and the roller at the same time, and what each waits for."""

from __future__ import annotations

import asyncio
import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
from support_envelopes import seal
from support_naiad import LONGER
from support_query import BEGIN, Spool
from support_rolling import PARTITIONS, Owner
from support_stalling import Stalling

from naiad_consumers import Marks, Roller, Writer
from naiad_consumers.writer import GROUP
from naiad_eventlog import open_event_log
from naiad_eventlog.partitioning import partition_of
from naiad_eventlog.topics import ALL_TOPICS, RECORDS, run_key
from naiad_store import Store
from naiad_store.rollupcheck import check_rollups
from naiad_store.selects.buckets import metric_buckets
from naiad_store.selects.rolled import Rolled, rolled
from naiad_store.selects.runs import Which, select_runs
from naiad_store.selects.scope import Scope

_NUMBERS = itertools.count()


def begun(project: str, points: int = 2000) -> Spool:
    spool = Spool(project, "run").create()
    return spool.metrics({"v": list(np.arange(points, dtype=float))})


def known(store: Store, project: str) -> Rolled | None:
    (run,) = select_runs(store, project, Which())
    return rolled(store, project, [run.run], ["v"]).get((run.run, "v"))


def greatest(store: Store, project: str) -> float:
    scope = Scope.of(store, project, select_runs(store, project, Which()))
    found = metric_buckets(store, scope, ["v"], columns=1, from_x=0, to_x=1990)
    return max(found.column("max_y").to_pylist())


@pytest.fixture
def project() -> str:
    return f"team/together-{next(_NUMBERS)}"


def test_a_mark_is_there_before_its_point(store: Store, project: str) -> None:
    owner = Owner(Stalling(store, "points"))
    owner.store.go_on.set()
    spool = begun(project)
    owner.write(spool)
    owner.roll()
    assert known(store, project).dirty == []  # type: ignore[union-attr]
    owner.store.go_on.clear()
    owner.store.stands.clear()
    spool.metrics({"v": [1e6]}, steps=[7])
    writing = threading.Thread(target=owner.write, args=[spool])
    writing.start()
    try:
        assert owner.store.stands.wait(30 * LONGER)
        ((begin, end),) = known(store, project).dirty  # type: ignore[union-attr]
        assert begin <= 7_000_000 < end
        assert greatest(store, project) < 1e6
        # A roll waits for the points of the marks that it takes.
        rolling = threading.Thread(target=owner.roll)
        rolling.start()
        rolling.join(0.3)
        assert rolling.is_alive()
    finally:
        owner.store.go_on.set()
        writing.join(30 * LONGER)
    rolling.join(30 * LONGER)
    assert known(store, project).dirty == []  # type: ignore[union-attr]
    assert greatest(store, project) == 1e6
    assert check_rollups(store, seed=1).problems == []


def test_a_roll_waits_for_points_below_its_end(store: Store, project: str) -> None:
    """They were on their way before it began, when nobody had to mark them."""
    owner = Owner(Stalling(store, "points"))
    owner.store.go_on.set()
    spool = begun(project)
    owner.write(spool)
    owner.store.go_on.clear()
    owner.store.stands.clear()
    spool.metrics({"v": [1e6]}, steps=[7])
    writing = threading.Thread(target=owner.write, args=[spool])
    writing.start()
    try:
        assert owner.store.stands.wait(30 * LONGER)
        rolling = threading.Thread(target=owner.roll)
        rolling.start()
        rolling.join(0.3)
        assert rolling.is_alive()
    finally:
        owner.store.go_on.set()
        writing.join(30 * LONGER)
    rolling.join(30 * LONGER)
    assert known(store, project).stretches  # type: ignore[union-attr]
    assert greatest(store, project) == 1e6


def test_what_is_on_its_way_is_not_counted_as_rolled(store: Store, project: str) -> None:
    """A look at what is due, just while the points go in, doesn't make them be forgotten."""
    owner = Owner(Stalling(store, "points"))
    # From here on it knows only what the writer tells it.
    owner.roll()
    spool = begun(project)
    writing = threading.Thread(target=owner.write, args=[spool])
    writing.start()
    never = asyncio.Event()
    try:
        assert owner.store.stands.wait(30 * LONGER)
        looking = threading.Thread(target=owner.roller._look, args=[never])
        looking.start()
        looking.join(0.3)
    finally:
        owner.store.go_on.set()
        writing.join(30 * LONGER)
    looking.join(60 * LONGER)
    owner.roller._look(never)
    found = known(store, project)
    assert found
    assert found.stretches


def test_a_run_in_two_partitions_is_read_from_its_points(store: Store, project: str) -> None:
    owner = Owner(store)
    spool = begun(project)
    owner.write(spool)
    owner.roll()
    assert known(store, project).dirty == []  # type: ignore[union-attr]
    # What stood in another partition before some were added is read by another owner, who does
    # not know how far the run is rolled.
    elsewhere = (partition_of(run_key(project, "run"), PARTITIONS) + 1) % PARTITIONS
    other = Owner(store, owned=[elsewhere])
    spool.metrics({"v": [1e6]}, steps=[7])
    other.write(spool, partition=elsewhere)
    assert greatest(store, project) == 1e6
    found = known(store, project)
    assert found
    assert found.dirty == [(0, found.end)]
    owner.roll()
    assert known(store, project).dirty  # type: ignore[union-attr]
    assert greatest(store, project) == 1e6


async def test_the_consumers(store: Store, project: str, tmp_path: Path) -> None:
    """As `naiad up` runs them: what is logged gets rolled, and what overwrites it, too."""
    marks = Marks(store, long=500)
    async with await open_event_log(f"sqlite:///{tmp_path / 'log.db'}") as log:
        await log.create_topics(ALL_TOPICS)
        stop = asyncio.Event()
        consumers = [
            Writer(log, store, marks=marks),
            Roller(store, marks, pause=0.02, share=0.9, quiet=0.05),
        ]
        tasks = [asyncio.create_task(one.run(stop)) for one in consumers]
        spool = begun(project)

        async def log_it() -> None:
            for batch in spool.batches:
                key = run_key(project, "run")
                await log.append(RECORDS.name, key, seal(batch, received_at=BEGIN))
            spool.batches.clear()
            while sum((await log.lag(RECORDS.name, GROUP)).values()):
                assert not any(task.done() for task in tasks)
                await asyncio.sleep(0.02)

        async def until_rolled() -> None:
            while not (found := await asyncio.to_thread(known, store, project)) or found.dirty:
                assert not any(task.done() for task in tasks)
                await asyncio.sleep(0.02)

        try:
            async with asyncio.timeout(60 * LONGER):
                await log_it()
                await until_rolled()
                spool.metrics({"v": [1e6]}, steps=[7])
                await log_it()
                assert greatest(store, project) == 1e6
                await until_rolled()
                assert greatest(store, project) == 1e6
        finally:
            stop.set()
            await asyncio.gather(*tasks)
