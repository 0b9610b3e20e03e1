"""What the roller leaves behind goes, and nobody misses it who has asked before."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support_clickhouse import migrated
from support_naiad import LONGER
from support_query import Spool
from support_rolling import (
    PARTITIONS,
    Failing,
    Owner,
    assert_nothing_superseded,
    counted,
    rows_of,
)

from naiad_eventlog.partitioning import partition_of
from naiad_eventlog.topics import run_key
from naiad_store import Store, StoreUnavailable
from naiad_store import run_key as key_of
from naiad_store.collecting import Collector
from naiad_store.rollupcheck import check_rollups
from naiad_store.selects import stepbuckets
from naiad_store.selects.buckets import metric_buckets
from naiad_store.selects.rolled import MARKS, rolled
from naiad_store.selects.runs import Which, select_runs
from naiad_store.selects.scope import Scope
from naiad_store.selects.superseded import dealt_with, editions, parts, settled

_NUMBERS = itertools.count()
POINTS = 6000


@pytest.fixture(
    scope="module", params=["chdb", "http", pytest.param("sharded", marks=pytest.mark.long)]
)
def store_url(request: pytest.FixtureRequest, chdb_folder: Path) -> str:
    if request.param == "chdb":
        return f"chdb://{chdb_folder}"
    if request.param == "sharded":
        return str(request.getfixturevalue("sharded_url"))
    return str(request.getfixturevalue("clickhouse_server").url)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with migrated(store_url) as opened:
        yield opened


@pytest.fixture
def project() -> str:
    return f"team/left-{next(_NUMBERS)}"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def begun(project: str, run: str = "run") -> Spool:
    spool = Spool(project, run).create()
    return spool.metrics({"v": list(np.arange(POINTS, dtype=float))})


def overwrite(owner: Owner, spool: Spool, step: int, value: float, count: int = 300) -> None:
    spool.metrics({"v": [value] * count}, steps=list(range(step, step + count)))
    owner.write(spool)


def greatest(store: Store, project: str) -> float:
    scope = Scope.of(store, project, select_runs(store, project, Which()))
    found = metric_buckets(store, scope, ["v"], columns=1, from_x=0, to_x=POINTS - 10)
    return max(found.column("max_y").to_pylist())


def marks(store: Store, project: str) -> int:
    found = store.query(
        "SELECT count() AS n FROM dirty_stretches WHERE project = {p:String}", {"p": project}
    )
    return int(found.column(0)[0].as_py())


def test_it_goes_when_nobody_can_count_on_it(store: Store, project: str) -> None:
    clock = Clock()
    collector = Collector(store, delay=100, share=0.0, clock=clock)
    owner = Owner(store)
    spool = begun(project)
    owner.write(spool)
    owner.roll()
    first = rows_of(store, project)
    assert collector.collect() == (0, 0, 0)
    overwrite(owner, spool, 2000, 1e6)
    overwrite(owner, spool, 100, 1e6)
    asked = rolled(store, project, [key_of(project, "run")], ["v"])
    owner.roll()
    all_rows = rows_of(store, project)
    assert first < all_rows
    assert marks(store, project) >= 1
    # Found, and not removed; what is superseded later has a time of its own.
    assert collector.collect() == (0, 0, 0)
    clock.now += 99
    overwrite(owner, spool, 3000, 1e7)
    owner.roll()
    assert collector.collect() == (0, 0, 0)
    assert all_rows < rows_of(store, project)
    clock.now += 2
    before = rows_of(store, project)
    removed = collector.collect()
    after = rows_of(store, project)
    assert removed.rollups == len(before) - len(after) > 0
    assert removed.marks >= 1
    assert removed.bytes > 0
    assert counted(store, project, before) <= after
    # Not yet what the last overwriting has left.
    assert after != counted(store, project, before)
    assert greatest(store, project) == 1e7
    for _ in range(2):
        clock.now += 101
        collector.collect()
    assert_nothing_superseded(store, project)
    assert marks(store, project) == 0
    assert rows_of(store, project) == counted(store, project, before)
    assert check_rollups(store, seed=1).problems == []
    assert rolled(store, project, [key_of(project, "run")], ["v"]) != asked
    assert collector.collect() == (0, 0, 0)


def test_little_of_it_stays(store: Store, project: str) -> None:
    """Removing rows has those beside them written again."""
    collector = Collector(store, delay=0, share=0.9)
    owner = Owner(store)
    spool = begun(project)
    owner.write(spool)
    owner.roll()
    overwrite(owner, spool, 2000, 1e6)
    owner.roll()
    rows = rows_of(store, project)
    for _ in range(3):
        assert collector.collect().rollups == 0
    assert rows_of(store, project) == rows


def test_a_roll_under_way_loses_nothing(store: Store, project: str) -> None:
    """Its rows are there and nothing names them."""
    collector = Collector(store, delay=0, share=0.0)
    owner = Owner(failing := Failing(store))
    spool = begun(project)
    owner.write(spool)
    seen: list[int] = []
    insert = failing.insert

    def look_first(table: str, rows: object) -> None:
        if table == "rolled":
            for _ in range(3):
                collector.collect()
            seen.append(len(rows_of(store, project)))
        insert(table, rows)  # type: ignore[arg-type]

    failing.insert = look_first  # type: ignore[method-assign]
    owner.roll()
    overwrite(owner, spool, 2000, 1e6)
    owner.roll()
    assert len(seen) >= 2
    assert min(seen) > 0
    assert check_rollups(store, seed=2).problems == []
    known = rolled(store, project, [key_of(project, "run")], ["v"])[key_of(project, "run"), "v"]
    assert known.dirty == []
    assert known.end >= (POINTS - 300) * 10**6


@pytest.mark.parametrize("after", [False, True])
def test_what_was_cut_off_goes(store: Store, project: str, after: bool) -> None:
    """Named by nobody, and later by somebody who names others; or by an owner that is none any
    more."""
    collector = Collector(store, delay=0, share=0.0)
    owner = Owner(failing := Failing(store))
    spool = begun(project)
    owner.write(spool)
    with failing.fails("rolled", after=after), pytest.raises(StoreUnavailable):
        owner.roll()
    cut_off = rows_of(store, project)
    assert cut_off
    for _ in range(2):
        collector.collect()
    # For all that anybody else knows it is under way.
    assert rows_of(store, project) == cut_off
    successor = Owner(store)
    for _ in range(2):
        collector.collect()
    assert rows_of(store, project) == (cut_off if after else set())
    successor.roll()
    owner.roll()
    for _ in range(2):
        collector.collect()
    assert_nothing_superseded(store, project)
    assert greatest(store, project) == POINTS - 1
    assert check_rollups(store, seed=3).problems == []


def test_who_takes_over_finds_what_it_takes(store: Store, project: str) -> None:
    """Taken over is what counted then; the owner before goes on until the new one's epoch
    counts."""
    collector = Collector(store, delay=0, share=0.0)
    owner = Owner(store)
    spool = begun(project)
    owner.write(spool)
    owner.roll()
    stopped = Failing(store)
    with stopped.fails("rollers"), pytest.raises(StoreUnavailable):
        Owner(stopped)
    overwrite(owner, spool, 2000, 1e6)
    owner.roll()
    for _ in range(2):
        collector.collect()
    assert greatest(store, project) == 1e6
    # As the one that stood before its last step does, waking.
    epochs = store.query("SELECT log_partition, max(epoch) AS epoch FROM owners GROUP BY 1")
    store.insert("rollers", epochs)
    assert rolled(store, project, [key_of(project, "run")], ["v"])
    assert greatest(store, project) == 1e6
    successor = Owner(store)
    successor.roll()
    for _ in range(2):
        collector.collect()
    assert_nothing_superseded(store, project)
    assert greatest(store, project) == 1e6


def test_of_a_run_in_two_partitions_marks_stay(store: Store, project: str) -> None:
    collector = Collector(store, delay=0, share=0.0)
    owner = Owner(store)
    spool = begun(project)
    owner.write(spool)
    owner.roll()
    home = partition_of(run_key(project, "run"), PARTITIONS)
    elsewhere = (home + 1) % PARTITIONS
    for value in (1e6, 1e7):
        other = Owner(store, owned=[elsewhere])
        spool.metrics({"v": [value]}, steps=[7])
        other.write(spool, partition=elsewhere)
    found = store.query("SELECT path, generation FROM dirty_stretches FINAL ORDER BY generation")
    assert found.column("path").to_pylist() == ["", ""]
    for _ in range(2):
        collector.collect()
    # The newest of two that say the same.
    left = store.query("SELECT path, generation FROM dirty_stretches FINAL")
    assert left.to_pylist() == found.to_pylist()[1:]
    owner.roll()
    assert greatest(store, project) == 1e7


def test_a_mark_of_a_series_that_is_not_rolled_goes_once_nobody_rolls_it(
    store: Store, project: str
) -> None:
    owner = Owner(store)
    spool = begun(project)
    owner.write(spool)
    home = partition_of(run_key(project, "run"), PARTITIONS)
    row = {
        "project": project, "path": "v", "run": key_of(project, "run"), "log_partition": home,
        "begin": 0, "end": 10, "generation": next(owner.marks.tenure.numbers),
    }  # fmt: skip
    store.insert("dirty_stretches", MARKS.empty_table().from_pylist([row], schema=MARKS))
    # It may be of a roll that has begun.
    assert dealt_with(store, settled(store)) == []
    owner.roll()
    (found,) = dealt_with(store, settled(store))
    assert (found.through, found.marks) == (row["generation"], 1)
    # Of another partition's owner nothing is known, if its records are there too.
    assert dealt_with(store, settled(store), lambda *_: (home + 1) % PARTITIONS) == []
    assert [one for part in parts(store) for one in editions(store, part, settled(store))] == []


@pytest.mark.one_engine
def test_readers_during_the_sweep(
    store: Store, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The greatest value is told by every answer, be it from before or after the last roll."""
    # Answers that take longer than half of it are none.
    delay = 2.0 * LONGER
    monkeypatch.setattr(stepbuckets, "GOOD_FOR", delay / 2)
    collector = Collector(store, delay=delay, share=0.0)
    owner = Owner(store)
    spool = begun(project)
    owner.write(spool)
    owner.roll()
    stop = threading.Event()
    problems: list[object] = []
    answers = removed = 0
    least = [0.0]

    def read() -> None:
        nonlocal answers
        while not stop.is_set():
            known = least[0]
            try:
                found = greatest(store, project)
            except StoreUnavailable:
                continue
            answers += 1
            if found < known:
                problems.append((found, known))

    def collect() -> None:
        nonlocal removed
        while not stop.is_set():
            removed += collector.collect().rollups

    def guarded(work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=guarded, args=[one]) for one in (read, read, collect)]
    for thread in threads:
        thread.start()
    try:
        until = time.monotonic() + 60 * LONGER
        number = 0
        while (answers < 10 or removed < 200) and not problems and time.monotonic() < until:
            number += 1
            value = 1e6 + number
            overwrite(owner, spool, number * 37 % 5000, value)
            least[0] = value
            owner.roll()
    finally:
        stop.set()
        for thread in threads:
            thread.join(60 * LONGER)
    assert problems == []
    assert answers >= 10
    assert removed >= 200
    owner.roll()
    assert check_rollups(store, seed=4).problems == []
