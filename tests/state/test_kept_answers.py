"""A server that keeps answers says what one says that doesn't, whatever befalls its Redis."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support_clickhouse import clickhouse, migrated
from support_naiad import LONGER, wait_until
from support_query import BEGIN, Reading, Spool, reading
from support_valkey import Valkey

from naiad.exceptions import NaiadAuthError
from naiad.query.client import Attributes, QueryClient, Runs
from naiad_auth import TokenStore
from naiad_proto.v1 import records_pb2 as pb
from naiad_query import keeping
from naiad_query.calls import charts
from naiad_state import breaker as breaker_module
from naiad_store import Store
from naiad_store.selects import watermarks

pytestmark = pytest.mark.slow

PROJECT, OTHER = "team/vision", "team/other"


@pytest.fixture(autouse=True)
def all_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "OLDNESS_SECONDS", 0.0)
    monkeypatch.setattr(breaker_module, "LONGEST_PAUSE", 0.2)


@pytest.fixture
def however_slow(patience: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what comes from Redis: on a busy machine a server goes without it."""
    monkeypatch.setattr(keeping, "_LONGEST_SECONDS", 20.0 * LONGER)


@pytest.fixture
def servers(store: Store, tmp_path: Path, valkey: Valkey) -> Iterator[tuple[Reading, Reading]]:
    """One that keeps answers, and one that doesn't, over the same store."""
    with (
        reading(store, tmp_path / "keeping", state_url=valkey.url) as keeps,
        reading(store, tmp_path / "plain") as plain,
    ):
        yield keeps, plain


def ask_all(client: QueryClient, project: str) -> list[pa.Table]:
    """Questions of every kind that is kept, and of some shapes."""
    return [
        client.runs_table(project),
        client.runs_table(project, sort_by="loss", limit=2),
        client.runs_table(project, runs=Runs(by_experiment=True)),
        client.metric_buckets(project, max_buckets=7, include_previews=True),
        client.metric_buckets(project, runs=Runs(pattern="run-[01]"), x="relative_time"),
        client.metric_buckets(project, from_x=2.0, to_x=5.0, own_points_only=True),
    ]


def hits(valkey: Valkey) -> int:
    """Answers that came from there: each is a GET and a PTTL."""
    return valkey.number("stats", "keyspace_hits") // 2


class Chance:
    """Random writes of every kind by a few writers."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.spools: list[Spool] = []

    def write(self) -> Spool:
        dice = self.dice
        if len(self.spools) < 2 or dice.random() < 0.15:
            run = f"run-{dice.randrange(5)}"
            spool = Spool(dice.choice([PROJECT, PROJECT, OTHER]), run)
            fork = (f"run-{dice.randrange(5)}", dice.randrange(6)) if dice.random() < 0.4 else None
            spool.create(dice.choice(["", "one", "two"]), fork=fork, inherit_configs=True)
            spool.status(pb.WRITER_STATE_RUNNING)
            self.spools.append(spool)
            return spool
        spool = dice.choice(self.spools)
        match dice.randrange(7):
            case 0 | 1:
                steps = sorted(dice.sample(range(10), 4))
                spool.metrics({"loss": [dice.gauss(0, 1) for _ in steps]}, steps=steps)
            case 2:
                spool.metrics({"acc": [float("nan"), 1.0]}, steps=[1, 2], completions=[0.5, 0.5])
            case 3:
                spool.set("lr", dice.choice([1, 0.5, "high", True]))
            case 4:
                spool.tag("tags", add=dice.sample("abc", 2), remove=dice.sample("abc", 1))
            case 5:
                spool.status(dice.choice([pb.WRITER_STATE_FINISHED, pb.WRITER_STATE_FAILED]))
            case 6:
                spool.set("sys/name", dice.choice(["one", "two", "three"]))
        return spool


@pytest.mark.timeout(800)
@pytest.mark.usefixtures("however_slow")
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_kept_answers_are_those_of_now(
    servers: tuple[Reading, Reading], valkey: Valkey, seed: int
) -> None:
    keeps, plain = servers
    chance = Chance(seed)
    with keeps.client() as kept, plain.client() as fresh:
        for _ in range(5 if seed == 1 else 8):
            keeps.write(*{id(spool): spool for spool in (chance.write(), chance.write())}.values())
            for project in {one.project for one in chance.spools}:
                expected = ask_all(fresh, project)
                # The second time they come from Redis.
                for _ in range(2):
                    for told, true in zip(ask_all(kept, project), expected, strict=True):
                        assert told.schema == true.schema
                        assert told.to_pylist().__repr__() == true.to_pylist().__repr__()
    assert hits(valkey) > 20


def test_a_run_that_falls_silent_is_seen_although_nothing_is_written(
    servers: tuple[Reading, Reading], store: Store
) -> None:
    keeps, plain = servers
    keeps.write(Spool(PROJECT, "r").create().status(pb.WRITER_STATE_RUNNING))

    def heard(until: int) -> None:
        store.command(
            "INSERT INTO listening (listener, log_partition, since, until, told_at)"
            f" SELECT 'w', log_partition, fromUnixTimestamp64Milli({BEGIN - 1000}),"
            f" fromUnixTimestamp64Milli({until}), fromUnixTimestamp64Milli({until}) FROM writers"
        )

    def states(client: QueryClient) -> list[str]:
        table = client.runs_table(PROJECT, attributes=Attributes(paths=["sys/state"]))
        return [str(state) for state in table.column("sys/state:string").to_pylist()]

    with keeps.client() as kept, plain.client() as fresh:
        # Beyond what the writer of the test itself has told.
        now = time.time_ns() // 1_000_000 + 3_600_000
        assert states(kept) == ["running"] == states(kept)
        heard(now)
        assert states(kept) == ["unreachable"] == states(kept) == states(fresh)


def test_a_table_that_was_exchanged_is_another(store: Store) -> None:
    before = [watermarks.of_runs(store, PROJECT, [1]), watermarks.of_project(store, PROJECT)]
    store.command("CREATE TABLE other AS writers")
    store.command("EXCHANGE TABLES writers AND other")
    after = [watermarks.of_runs(store, PROJECT, [1]), watermarks.of_project(store, PROJECT)]
    assert not set(before) & set(after)


@pytest.mark.usefixtures("however_slow")
def test_with_a_store_over_http_too(tmp_path: Path, valkey: Valkey) -> None:
    with (
        clickhouse(tmp_path / "store") as server,
        migrated(server.url) as store,
        reading(store, tmp_path / "r", state_url=valkey.url) as keeps,
        keeps.client() as client,
    ):
        spool = Spool(PROJECT, "r").create().metrics({"loss": [1, 2, 3]})
        keeps.write(spool)
        for value in (3.0, 9.0):
            for _ in range(2):
                before = hits(valkey)
                table = client.runs_table(PROJECT)
                chart = client.metric_buckets(PROJECT)
                assert table.column("loss:float_series").to_pylist() == [value]
                assert chart.column("last_y").to_pylist()[-1] == value
            assert hits(valkey) == before + 2
            keeps.write(spool.metrics({"loss": [9]}, steps=[2]))


@pytest.mark.usefixtures("however_slow")
def test_a_chart_of_an_ended_run_stays_while_others_log(
    servers: tuple[Reading, Reading], valkey: Valkey
) -> None:
    keeps, _ = servers
    keeps.write(Spool(PROJECT, "ended").create().metrics({"loss": [1, 2, 3]}))
    with keeps.client() as client:
        chart = client.metric_buckets(PROJECT, runs=Runs(names=["ended"]))
        before = hits(valkey)
        keeps.write(Spool(PROJECT, "going").create().metrics({"loss": [4, 5]}))
        assert client.metric_buckets(PROJECT, runs=Runs(names=["ended"])).equals(chart)
    assert hits(valkey) == before + 1


@pytest.mark.usefixtures("however_slow")
def test_nobody_gets_what_another_may_read(store: Store, tmp_path: Path, valkey: Valkey) -> None:
    tokens = TokenStore(tmp_path / "tokens.json")
    owner, stranger = tokens.create(project=PROJECT), tokens.create(project=OTHER)
    everyone = tokens.create()
    with reading(store, tmp_path / "r", tokens, valkey.url) as server:
        server.write(
            Spool(PROJECT, "r").create().metrics({"loss": [1, 2]}),
            Spool(OTHER, "r").create().metrics({"loss": [8, 9]}),
        )
        with server.client(owner) as ours, server.client(stranger) as theirs:
            table = ours.runs_table(PROJECT)
            for _ in range(2):
                with pytest.raises(NaiadAuthError, match="may not read"):
                    theirs.runs_table(PROJECT)
                with pytest.raises(NaiadAuthError, match="may not read"):
                    theirs.metric_buckets(PROJECT)
                assert theirs.runs_table(OTHER).column("loss:float_series").to_pylist() == [9.0]
                assert ours.runs_table(PROJECT).equals(table)
        before = hits(valkey)
        with server.client(everyone) as all_seeing:
            assert all_seeing.runs_table(PROJECT).equals(table)
        # Made for those who may read the same, and only for them.
        assert hits(valkey) == before


def paused(valkey: Valkey) -> None:
    valkey.pause()


def killed(valkey: Valkey) -> None:
    valkey.stop()


def emptied(valkey: Valkey) -> None:
    valkey.stop()
    valkey.start()


def full(valkey: Valkey) -> None:
    valkey.command("CONFIG", "SET", "maxmemory", "1")


def spoiled(valkey: Valkey) -> None:
    assert valkey.command(
        "EVAL",
        "for i, key in ipairs(redis.call('KEYS', 'naiad:answer:*')) do"
        " redis.call('SETRANGE', key, 30, string.rep('x', 500)) end return 'done'",
        "0",
    ).startswith(("$", "+"))


@pytest.mark.long
@pytest.mark.parametrize("fault", [paused, killed, emptied, full, spoiled])
def test_whatever_befalls_redis_the_answers_are_right(
    servers: tuple[Reading, Reading], valkey: Valkey, fault: Callable[[Valkey], None]
) -> None:
    keeps, plain = servers
    spool = Spool(PROJECT, "run-0").create("one").metrics({"loss": [1, 2, 3]})
    keeps.write(spool)
    with keeps.client() as kept, plain.client() as fresh:

        def ask(client: QueryClient) -> list[pa.Table]:
            return [client.runs_table(PROJECT), client.metric_buckets(PROJECT, max_buckets=7)]

        ask(kept)
        fault(valkey)
        for told, true in zip(ask(kept), ask(fresh), strict=True):
            assert told.equals(true)
        keeps.write(spool.metrics({"loss": [9]}, steps=[1]))
        for _ in range(2):
            for told, true in zip(ask(kept), ask(fresh), strict=True):
                assert told.equals(true)
        if fault is paused:
            valkey.resume()


@pytest.mark.usefixtures("however_slow")
def test_a_large_answer_and_a_cheap_one_are_not_kept(
    servers: tuple[Reading, Reading], valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeps, _ = servers
    keeps.write(Spool(PROJECT, "r").create().metrics({"loss": [1, 2, 3]}))
    with keeps.client() as client:
        monkeypatch.setattr(keeping, "WORTH_SECONDS", 60.0)
        client.runs_table(PROJECT)
        monkeypatch.setattr(keeping, "WORTH_SECONDS", 0.0)
        kept = keeps._service._kept
        assert kept
        monkeypatch.setattr(kept._cache, "max_bytes", 10)
        client.runs_table(PROJECT)
        assert valkey.command("DBSIZE") == ":0"
        monkeypatch.setattr(kept._cache, "max_bytes", 1_000_000)
        client.runs_table(PROJECT)
        assert valkey.command("DBSIZE") == ":1"
        assert 0 < int(valkey.command("TTL", valkey.keys("naiad:answer:*")[0])[1:]) <= 60


@pytest.mark.usefixtures("however_slow")
def test_what_is_young_is_made_again(
    servers: tuple[Reading, Reading], valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "OLDNESS_SECONDS", 3600.0)
    keeps, _ = servers
    keeps.write(Spool(PROJECT, "r").create().metrics({"loss": [1, 2, 3]}))
    made: list[object] = []
    make = charts.packed_metric_buckets

    def noted(*args: Any, **more: Any) -> Any:
        made.append(args)
        return make(*args, **more)

    monkeypatch.setattr(charts, "packed_metric_buckets", noted)
    with keeps.client() as client:
        client.metric_buckets(PROJECT)
        client.metric_buckets(PROJECT)
        assert len(made) == 2
        monkeypatch.setattr(keeping, "OLDNESS_SECONDS", 1.0)

        def old_enough() -> bool:
            before = len(made)
            client.metric_buckets(PROJECT)
            return len(made) == before

        # Not put anew each time, or it would never grow old.
        wait_until(old_enough, 10, "it is given out")


@pytest.mark.parametrize(
    ("bursts", "oldness"), [(1, 5.0), pytest.param(4, 2.0, marks=pytest.mark.long)]
)
def test_how_late_a_kept_answer_may_be(
    servers: tuple[Reading, Reading],
    monkeypatch: pytest.MonkeyPatch,
    report_figure: Callable[[str], None],
    bursts: int,
    oldness: float,
) -> None:
    """Points are readable a moment before their writer's row says so: while a run logs without
    a pause, and at the beginning of a burst, when answers from before it are old enough."""
    monkeypatch.setattr(keeping, "OLDNESS_SECONDS", oldness)
    keeps, plain = servers
    spool = Spool(PROJECT, "r").create()
    keeps.write(spool)
    seen: dict[str, list[tuple[float, int]]] = {"kept": [], "fresh": []}
    over = threading.Event()
    stood_still = 0.0

    def look_at_the_clock() -> None:
        nonlocal stood_still
        last = time.monotonic()
        while not over.wait(0.05):
            now = time.monotonic()
            if now - last > 0.5:
                stood_still += now - last
            last = now

    def watch(name: str, server: Reading) -> None:
        with server.client() as client:
            while not over.is_set():
                began = time.monotonic()
                table = client.metric_buckets(PROJECT)
                count = sum(table.column("finite_count").to_pylist())
                # Asked at the one time, answered at the other.
                at = began if name == "kept" else time.monotonic()
                seen[name].append((at, count))

    watching = [
        threading.Thread(target=watch, args=one) for one in (("kept", keeps), ("fresh", plain))
    ]
    watching.append(threading.Thread(target=look_at_the_clock))
    for thread in watching:
        thread.start()
    try:
        for burst in range(bursts):
            for step in range(300 // bursts):
                spool.metrics({"loss": [float(step)]}, steps=[step + 300 * burst])
            keeps.write_slowly(spool, pause=0.01)
            if burst + 1 < bursts:
                # So that what is kept is given out when the next begins.
                time.sleep(2 * oldness)
    finally:
        over.set()
        for thread in watching:
            thread.join(60 * LONGER)
    late = 0.0
    for when, count in seen["fresh"]:
        # Of the answers that were asked for after that, the last one that knew less.
        late = max([late, *(at - when for at, other in seen["kept"] if other < count)])
    report_figure(f"a kept answer was at most {late:.2f} s behind one made afresh")
    # So much later where all of this stood still between a point and its writer's row.
    assert late < 3 * LONGER + stood_still
