"""How the lives of a run's writers fold into its state: the view against a plain reference."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_clickhouse import emptied, migrated

from naiad_store import Store
from naiad_store.selects.runs import lives_of

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ENDS = ("finished", "stopped", "failed", "killed")
TIME = pa.timestamp("ms", tz="UTC")
_RUNS = itertools.count(1)


@dataclass(frozen=True)
class Life:
    """Seconds after BEGIN. Without an end it runs, as far as anybody knows."""

    epoch: int
    started: int
    seen: int
    state: str


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


@pytest.fixture(scope="module")
def lives(store_url: str) -> Iterator[Store]:
    with migrated(store_url, "test_lives") as opened:
        yield opened


def write(store: Store, run: int, found: Sequence[Life], partition: int = 0) -> None:
    rows = [
        {
            "project": "team/p", "run": run, "writer_id": str(life.epoch),
            "log_partition": partition, "epoch": life.epoch, "host": "node", "state": life.state,
            "reason": f"{life.state} {life.epoch}",
            "started_at": at(life.started), "last_seen_at": at(life.seen),
            "ended_at": at(0 if life.state == "running" else life.seen), "points": 1,
        }
        for life in found
    ]  # fmt: skip
    schema = pa.schema(
        [("project", pa.string()), ("run", pa.uint64()), ("writer_id", pa.string()),
         ("log_partition", pa.uint32()), ("epoch", pa.uint64()), ("host", pa.string()),
         ("state", pa.string()), ("reason", pa.string()), ("started_at", TIME),
         ("last_seen_at", TIME), ("ended_at", TIME), ("points", pa.uint64())]
    )  # fmt: skip
    store.insert("writers", pa.Table.from_pylist(rows, schema=schema))


def listened(
    store: Store, since: float, until: float, *, told: float | None = None, partition: int = 0
) -> None:
    row = {"listener": f"naiad.writer/{partition}", "log_partition": partition,
           "since": at(since), "until": at(until),
           "told_at": at(until if told is None else told)}  # fmt: skip
    schema = pa.schema(
        [("listener", pa.string()), ("log_partition", pa.uint32()), ("since", TIME),
         ("until", TIME), ("told_at", TIME)]
    )  # fmt: skip
    store.insert("listening", pa.Table.from_pylist([row], schema=schema))


def nobody_listened(store: Store) -> None:
    emptied(store, "listening")


def state(store: Store, found: Sequence[Life], partition: int = 0) -> tuple[str, str]:
    run = next(_RUNS)
    write(store, run, found, partition)
    lived = lives_of(store, "team/p", [run])[run]
    assert (lived.ended_at is None) == (lived.state in ("running", "unreachable"))
    return lived.state, lived.reason


def expected(found: Sequence[Life], since: int, until: int) -> str:
    """The rule, in other words than the view's: grow the newest life by those that touch it,
    until none does."""
    lives = []
    for life in found:
        silent = life.state == "running" and until - max(life.seen, since) >= 50
        lives.append((life, "unreachable" if silent else life.state))
    if any(now == "running" for _, now in lives):
        return "running"
    newest = max(found, key=lambda life: life.epoch)
    inside = [pair for pair in lives if pair[0] is newest]
    while True:
        begin = min(life.started for life, _ in inside)
        more = [pair for pair in lives if pair not in inside and pair[0].seen >= begin]
        if not more:
            break
        inside += more
    return max((now for _, now in inside), key=[*ENDS, "unreachable"].index)


@st.composite
def some_lives(draw: st.DrawFn) -> list[Life]:
    found = []
    for epoch in range(1, draw(st.integers(1, 6)) + 1):
        started = draw(st.integers(0, 300))
        seen = started + draw(st.integers(0, 120))
        found.append(Life(epoch, started, seen, draw(st.sampled_from(("running", *ENDS)))))
    return found


@pytest.mark.one_engine
@given(some_lives(), st.integers(0, 400), st.integers(0, 200))
@settings(deadline=None)
def test_the_fold_is_the_rule(lives: Store, found: list[Life], since: int, span: int) -> None:
    nobody_listened(lives)
    listened(lives, since, since + span)
    assert state(lives, found)[0] == expected(found, since, since + span)


def test_silence_is_unreachable_and_taken_back(lives: Store) -> None:
    nobody_listened(lives)
    silent = Life(1, 0, 100, "running")
    assert state(lives, [silent])[0] == "running"
    listened(lives, 0, 149)
    assert state(lives, [silent])[0] == "running"
    listened(lives, 0, 150)
    assert state(lives, [silent]) == (
        "unreachable", "host node has not been heard since 2026-01-01 00:01:40 UTC",
    )  # fmt: skip
    assert state(lives, [Life(1, 0, 101, "running")])[0] == "running"
    assert state(lives, [silent, Life(2, 0, 140, "running")])[0] == "running"


def test_a_restart_of_the_server_marks_nobody(lives: Store) -> None:
    nobody_listened(lives)
    trains = Life(1, 0, 100, "running")
    listened(lives, 0, 105)
    # Away for an hour.
    listened(lives, 3700, 3749)
    assert state(lives, [trains])[0] == "running"
    listened(lives, 3700, 3750)
    assert state(lives, [trains])[0] == "unreachable"


def test_who_listens_to_another_partition_hears_nothing_of_a_run(lives: Store) -> None:
    nobody_listened(lives)
    trains = Life(1, 0, 100, "running")
    listened(lives, 0, 500, partition=1)
    listened(lives, 0, 120, partition=2)
    assert state(lives, [trains], 1)[0] == "unreachable"
    # Its owner is behind, or dead and nobody's has taken it over yet.
    assert state(lives, [trains], 2)[0] == "running"
    # Nobody ever told of this one.
    assert state(lives, [trains], 3)[0] == "running"
    # The next owner has to listen for as long.
    listened(lives, 500, 540, partition=2)
    assert state(lives, [trains], 2)[0] == "running"
    listened(lives, 500, 550, partition=2)
    assert state(lives, [trains], 2)[0] == "unreachable"


def test_a_spool_in_two_partitions_is_one_writer(lives: Store) -> None:
    nobody_listened(lives)
    listened(lives, 0, 1000, partition=1)
    listened(lives, 0, 1000, partition=9)
    run = next(_RUNS)
    write(lives, run, [Life(1, 0, 100, "running")], partition=1)
    assert lives_of(lives, "team/p", [run])[run].state == "unreachable"
    # Partitions were added, and it goes on in another one.
    write(lives, run, [Life(1, 100, 980, "running")], partition=9)
    assert lives_of(lives, "team/p", [run])[run].state == "running"
    (row,) = lives.query("SELECT * FROM spools WHERE run = {run:UInt64}", {"run": run}).to_pylist()
    assert (row["log_partition"], row["points"], row["last_seen_at"]) == (9, 2, at(980))
    assert row["started_at"] == at(0)


def test_a_host_that_died_does_not_haunt_the_run_that_was_resumed(lives: Store) -> None:
    nobody_listened(lives)
    listened(lives, 0, 10_000)
    died, resumed = Life(1, 0, 100, "running"), Life(2, 500, 900, "finished")
    assert state(lives, [died, resumed]) == ("finished", "finished 2")
    beside = Life(2, 50, 900, "finished")
    assert state(lives, [died, beside])[0] == "unreachable"
