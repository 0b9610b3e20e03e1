"""What stands for a metric in filters and sorting is the same whether its points are rolled or not,
whatever happened between the rolls."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_query import Spool
from support_rolling import PARTITIONS, Owner

from naiad_consumers.roller import planning
from naiad_eventlog.partitioning import partition_of
from naiad_eventlog.topics import run_key
from naiad_store import Store
from naiad_store.layout import local_name
from naiad_store.selects import aggregates, filters
from naiad_store.selects.aggregates import stat_column
from naiad_store.selects.filters import which_hold
from naiad_store.selects.forks import Forks
from naiad_store.selects.rolled import FORM, rolled
from naiad_store.selects.runs import RunRow, Which, choose, run_rows

MICRO = 10**6
STATS = ("first", "min", "max", "mean", "count")
PATHS = ("v", "a.max")
_NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buckets of a few points, so that all tiers are met with some thousands of them."""
    monkeypatch.setattr(planning, "_POINTS_OF_BUCKET", 1)
    monkeypatch.setattr(planning, "_FEWEST", 0.5)
    monkeypatch.setattr(planning, "_MOST", 16)
    monkeypatch.setattr(planning, "_CRUMBS", 2)


@contextmanager
def from_points() -> Iterator[None]:
    """As if nothing were rolled."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (aggregates, filters):
            patch.setattr(module, "is_summed", lambda stat: False)
        yield


def bits(values: Sequence[float | None]) -> list[Any]:
    return [None if v is None else np.float64(v).view(np.uint64).item() for v in values]


@dataclass
class Story:
    """Runs as they are logged: of each, path -> micro-step -> value. `of` says whose fork a run
    is, and up to which micro-step."""

    store: Store
    of: dict[str, tuple[str, int]]
    project: str = field(default_factory=lambda: f"team/summed-{next(_NUMBERS)}")
    truth: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    spools: dict[str, Spool] = field(default_factory=dict)
    written: list[Any] = field(default_factory=list)
    checks: int = 0

    def __post_init__(self) -> None:
        self.owner = Owner(self.store)
        for run in ("plain", "short", *self.of):
            parent = self.of.get(run)
            spool = self.spools[run] = Spool(self.project, run)
            spool.create(fork=(parent[0], parent[1] / MICRO) if parent else None)
            self.truth[run] = {}
            self.written += self.owner.write(spool)

    def log(
        self, run: str, path: str, steps: Sequence[int], values: Sequence[float], **how: Any
    ) -> None:
        at = [step / MICRO for step in steps]
        self.spools[run].metrics({path: list(values)}, steps=at)
        self.truth[run].setdefault(path, {}).update(zip(steps, values, strict=True))
        self.written += self.owner.write(self.spools[run], **how)

    def preview(self, run: str, path: str, step: int) -> None:
        self.spools[run].metrics({path: [1e9]}, steps=[step / MICRO], completions=[0.5])
        self.written += self.owner.write(self.spools[run])

    def points(self, run: str, path: str) -> list[float]:
        """By step."""
        found = dict(self.truth[run].get(path, {}))
        until = math.inf
        while run in self.of:
            parent, at = self.of[run]
            until = min(until, at)
            for step, value in self.truth[parent].get(path, {}).items():
                if step <= until:
                    found.setdefault(step, value)
            run = parent
        return [found[step] for step in sorted(found)]

    def stat(self, run: str, path: str, stat: str) -> float | None:
        points = self.points(run, path)
        numbers = [value for value in points if not math.isnan(value)]
        if stat in ("first", "count"):
            found: float | None = points[0] if points else None
            return found if stat == "first" else float(len(points)) or None
        if not numbers:
            return None
        if stat == "mean":
            both = math.inf in numbers and -math.inf in numbers
            return math.nan if both else math.fsum(numbers) / len(numbers)
        return {"min": min(numbers), "max": max(numbers)}[stat] + 0.0

    def rows(self) -> list[RunRow]:
        return run_rows(choose(self.store, self.project, Which()))

    def column(self, path: str, stat: str) -> dict[str, float | None]:
        runs = self.rows()
        forks = Forks.of(self.store, self.project, [run for run in runs if run.fork_run_id])
        keys = [run.run for run in runs]
        found = stat_column(self.store, self.project, keys, forks, path, stat).to_pylist()
        return dict(zip([run.run_id for run in runs], found, strict=True))

    def chosen(self, text: str, **which: Any) -> set[str]:
        found = choose(self.store, self.project, Which(filter=text, **which))
        return set(found.column("run_id").to_pylist())

    def check(self) -> None:
        """All columns, and filters by one of them, each time by another."""
        self.checks += 1
        every = list(itertools.product(PATHS, STATS))
        for number, (path, stat) in enumerate(every):
            wanted = {run: self.stat(run, path, stat) for run in self.truth}
            found = self.column(path, stat)
            with from_points():
                raw = self.column(path, stat)
            names = sorted(wanted)
            if stat == "mean":
                for run in names:
                    for other in (wanted[run], raw[run]):
                        assert (found[run] is None) == (other is None)
                        about = pytest.approx(other or 0.0, rel=1e-9, abs=1e-9, nan_ok=True)
                        assert (found[run] or 0.0) == about
                continue
            assert bits([found[run] for run in names]) == bits([raw[run] for run in names])
            assert bits([found[run] for run in names]) == bits([wanted[run] for run in names])
            if number == self.checks * 3 % len(every):
                self._check_filters(f"`{path}`.{stat}", wanted)

    def _check_filters(self, operand: str, wanted: dict[str, float | None]) -> None:
        there = [value for value in wanted.values() if value is not None]
        values = sorted(value for value in there if not math.isnan(value))
        limit = values[len(values) // 2] if values else 0.0
        tests: dict[str, Callable[[float], bool]] = {
            f"{operand} > {limit!r}": lambda value: value > limit,
            f"{operand} == {limit!r}": lambda value: value == limit,
            f"{operand} exists": lambda value: True,
        }
        meeting = {
            text: {run for run, value in wanted.items() if value is not None and meets(value)}
            for text, meets in tests.items()
        }
        for text, runs in meeting.items():
            assert self.chosen(text) == runs, text
        # Several in one filter, and of one run.
        run = sorted(wanted)[self.checks % len(wanted)]
        held = which_hold(self.store, self.project, run, " or ".join(tests))
        assert held == [run in meeting[text] for text in tests]


def _values(rng: np.random.Generator, count: int) -> list[float]:
    values = np.round(rng.normal(size=count).cumsum(), int(rng.integers(0, 4)))
    rare = 0.02 * rng.integers(0, 3)
    kinds = rng.random(count)
    for number, value in enumerate((math.nan, math.inf, -math.inf, -0.0, 0.0)):
        values[(kinds >= number * rare) & (kinds < (number + 1) * rare)] = value
    return [float(value) for value in values]


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["grow", "grow", "late", "roll", "roll", "odd", "restart", "preview", "check"]
        ),
        st.integers(0, 2**32),
    ),
    min_size=3,
    max_size=8,
)
FORKS = st.sampled_from(
    [{}, {"child": ("plain", 900)}, {"child": ("plain", 1500), "grandchild": ("child", 400)}]
)


def _tell(
    store: Store, forks: dict[str, tuple[str, int]], width: int, operations: list[tuple[str, int]]
) -> Story:
    story = Story(store, {run: (parent, at * width) for run, (parent, at) in forks.items()})
    head = {run: forks.get(run, ("", 0))[1] + 1 for run in story.truth}
    story.log("short", "v", [width, 2 * width], [2.5, -0.0])
    for kind, seed in [("grow", 1), *operations, ("check", 0)]:
        rng = np.random.default_rng(seed)
        run = [run for run in story.truth if run != "short"][int(rng.integers(len(forks) + 1))]
        path = PATHS[int(rng.random() < 0.3)]
        match kind:
            case "grow":
                at = head[run] + np.cumsum(rng.integers(1, 3, int(rng.integers(5, 2500))))
                head[run] = int(at[-1])
                story.log(run, path, [int(one) * width for one in at], _values(rng, len(at)))
            case "late":
                at = np.unique(rng.integers(0, head[run] + 1, int(rng.integers(1, 20))))
                story.log(run, path, [int(one) * width for one in at], _values(rng, len(at)))
            case "odd":
                # Nothing in it is a number to be compared.
                at = head[run] + np.arange(1, 300)
                head[run] = int(at[-1])
                values = [(math.nan, math.inf, -math.inf)[seed % 3]] * len(at)
                story.log(run, path, [int(one) * width for one in at], values)
            case "preview":
                story.preview(run, path, (head[run] + 1) * width)
            case "roll":
                story.owner.roll()
            case "restart":
                before = story.owner
                story.owner = Owner(store)
                # What it had not committed comes again, and the one before says what it knew.
                story.owner.store_batches(story.written[len(story.written) - seed % 5 :])
                before.roll()
            case "check":
                story.check()
    return story


@pytest.mark.timeout(1200)
@settings(
    max_examples=3, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    forks=FORKS, width=st.sampled_from([1, 250_000, MICRO, 10**4 * MICRO]), operations=OPERATIONS
)
def test_any_story(
    store: Store,
    forks: dict[str, tuple[str, int]],
    width: int,
    operations: list[tuple[str, int]],
) -> None:
    _tell(store, forks, width, operations)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.one_engine
@pytest.mark.timeout(1500)
@settings(
    max_examples=8, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    forks=FORKS, width=st.sampled_from([1, 250_000, MICRO, 10**4 * MICRO]), operations=OPERATIONS
)
def test_many_stories(
    store: Store,
    forks: dict[str, tuple[str, int]],
    width: int,
    operations: list[tuple[str, int]],
) -> None:
    _tell(store, forks, width, operations)


def test_a_story_with_everything(store: Store) -> None:
    story = _tell(
        store,
        {"child": ("plain", 1500), "grandchild": ("child", 400)},
        MICRO,
        [
            ("grow", 1), ("grow", 2), ("grow", 5), ("roll", 0), ("check", 0), ("late", 3),
            ("check", 0), ("odd", 7), ("grow", 11), ("preview", 4), ("roll", 0), ("late", 9),
            ("restart", 3), ("check", 0), ("late", 12), ("roll", 0), ("grow", 6), ("late", 14),
        ],
    )  # fmt: skip
    known = rolled(store, story.project, None, ["v"])
    assert any(one.dirty for one in known.values())
    assert any(len(one.stretches) > 1 for one in known.values())


def _grown(store: Store, points: int = 3000) -> Story:
    story = Story(store, {"child": ("plain", 1000 * MICRO)})
    rng = np.random.default_rng(5)
    steps = [step * MICRO for step in range(points)]
    story.log("plain", "v", steps, [float(value) for value in rng.normal(size=points)])
    story.log("child", "v", [1200 * MICRO], [7.0])
    story.owner.roll()
    return story


def _forget_points(store: Store) -> None:
    points = local_name("points", store.address.cluster, store.database)
    store.command(f"DELETE FROM {points} WHERE value != 7.0")


def test_of_what_is_rolled_whole_no_point_is_read(store: Store) -> None:
    story = _grown(store)
    story.check()
    # Of forks points are read around where they forked.
    whole = ("min", "max", "mean", "count")
    before = [story.column("v", stat)["plain"] for stat in whole]
    _forget_points(store)
    assert [story.column("v", stat)["plain"] for stat in whole] == before
    with from_points():
        assert story.column("v", "count")["plain"] is None


def test_the_trash_has_its_own_answer(store: Store) -> None:
    story = _grown(store)
    story.log("short", "v", [MICRO], [0.5])
    keys = {run.run_id: run.run for run in story.rows()}
    store.command(
        "INSERT INTO tombstones (project, run_id, until, run, state, version)"
        " VALUES ({project:String}, 'plain', 1, {run:UInt64}, 'trash', 1)",
        {"project": story.project, "run": keys["plain"]},
    )
    assert story.chosen("v.count > 2", in_trash=True) == {"plain"}
    # Its parent is away, and so are its parent's points.
    assert story.chosen("v.count == 1") == {"child", "short"}
    assert story.chosen("v.max >= 0.5") == {"child", "short"}


def test_a_run_in_two_partitions(store: Store) -> None:
    story = _grown(store)
    there = partition_of(run_key(story.project, "plain"), PARTITIONS)
    story.owner = Owner(store, owned=[(there + 1) % PARTITIONS])
    story.log("plain", "v", [7 * MICRO], [1e6], partition=(there + 1) % PARTITIONS)
    assert story.column("v", "max") == {"plain": 1e6, "child": 1e6, "short": None}
    story.check()


def test_many_aggregates_in_one_filter(store: Store) -> None:
    story = _grown(store)
    text = " and ".join(f"v.max > {-number} and v.min < {number}" for number in range(1, 51))
    assert story.chosen(text) == {"plain", "child"}


def test_ten_thousand_runs(store: Store) -> None:
    """Of which a tenth is rolled, in stretches of their own: long lists travel."""
    project, epoch = f"team/summed-{next(_NUMBERS)}", 5
    store.command(f"INSERT INTO rollers VALUES (0, {epoch})")
    for statement in (
        "INSERT INTO runs (project, run_id, run, created_at, version, priority)"
        " SELECT {p:String}, toString(number), cityHash64(number), now64(3), 1, 1"
        " FROM numbers(10000)",
        "INSERT INTO series (project, path, type, run, committed, step, number, rank)"
        " SELECT {p:String}, 'v', 'float_series', cityHash64(number), 1, 2, number, 1"
        " FROM numbers(10000)",
        # Each has a point that is rolled, if it is, and one that isn't.
        "INSERT INTO points (project, path, run, step, ts, value, completion, version)"
        " SELECT {p:String}, 'v', cityHash64(number), s, now64(3), number + s, 1,"
        " bitShiftLeft(toUInt128(1), 127) FROM numbers(10000) ARRAY JOIN [0, 2] AS s"
        " WHERE s = 2 OR number % 10 != 0",
        "INSERT INTO rolled (project, path, run, begin, end, since, lowest, k, edition, points,"
        " marks_through, log_partition, form, until, version)"
        " SELECT {p:String}, 'v', cityHash64(number), 0, 1048576, 0, 0, 20,"
        f" toUInt64(5) * 1099511627776 + number, 1, 0, 0, {FORM}, 0,"
        " toUInt64(5) * 1099511627776 + 1"
        " FROM numbers(10000) WHERE number % 10 = 0",
        "INSERT INTO rollups SELECT {p:String}, 'v', 20, cityHash64(number),"
        " toUInt64(5) * 1099511627776 + number, 0, 0, number, 0, number, 0, number, 0, number,"
        " number, 1, 0, 0, 0 FROM numbers(10000) WHERE number % 10 = 0",
    ):
        store.command(statement, {"p": project})
    found = choose(store, project, Which(filter="v.min >= 9000 and v.max < 9003 and v.count == 2"))
    assert set(found.column("run_id").to_pylist()) == {"9000"}
    everything = choose(store, project, Which())
    keys = everything.column("run").to_pylist()
    numbers = [float(one) for one in everything.column("run_id").to_pylist()]
    assert stat_column(store, project, keys, Forks(), "v", "min").to_pylist() == numbers
    assert stat_column(store, project, keys, Forks(), "v", "mean").to_pylist() == [
        number + 1 for number in numbers
    ]
