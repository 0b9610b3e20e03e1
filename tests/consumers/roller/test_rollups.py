"""Charts from rollups are those of all points, whatever happened between the rolls."""

from __future__ import annotations

import contextlib
import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_query import Spool
from support_rolling import Failing, Owner, assert_nothing_superseded, raster

from naiad_consumers.roller import planning
from naiad_store import Store, StoreUnavailable
from naiad_store.collecting import Collector
from naiad_store.selects.buckets import metric_buckets
from naiad_store.selects.runs import Which, select_runs
from naiad_store.selects.scope import Scope

_NUMBERS = itertools.count()
MICRO = 10**6


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buckets of a few points, so that all tiers are met with some thousands of them."""
    monkeypatch.setattr(planning, "_POINTS_OF_BUCKET", 1)
    monkeypatch.setattr(planning, "_FEWEST", 0.5)
    monkeypatch.setattr(planning, "_MOST", 16)
    monkeypatch.setattr(planning, "_CRUMBS", 2)


@dataclass
class Story:
    """Runs as they are logged, and what has to be there: run -> path -> step -> value."""

    store: Store
    project: str
    owner: Owner
    failing: Failing
    fork_at: int | None
    spools: dict[str, Spool] = field(default_factory=dict)
    truth: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    written: list[Any] = field(default_factory=list)
    earlier: Owner | None = None
    collector: Collector = field(init=False)

    def __post_init__(self) -> None:
        # It removes what it has found twice.
        self.collector = Collector(self.store, delay=0.0, share=0.0)

    @classmethod
    def begin(cls, store: Store, fork_at: int | None) -> Story:
        failing = Failing(store)
        project = f"team/rolled-{next(_NUMBERS)}"
        story = cls(store, project, Owner(failing), failing, fork_at)
        for run in ("parent", "child"):
            spool = story.spools[run] = Spool(project, run)
            spool.create(
                fork=None if run == "parent" or fork_at is None else ("parent", fork_at / MICRO)
            )
            story.truth[run] = {}
        story.written += story.owner.write(*story.spools.values())
        return story

    def log(self, run: str, steps: list[int], values: list[float], paths: list[str]) -> None:
        self.spools[run].metrics(
            dict.fromkeys(paths, values), steps=[step / MICRO for step in steps]
        )
        for path in paths:
            self.truth[run].setdefault(path, {}).update(zip(steps, values, strict=True))
        self.written += self.owner.write(self.spools[run])

    def points(self, run: str, path: str) -> list[tuple[int, float]]:
        own = self.truth[run].get(path, {})
        if run == "child" and self.fork_at is not None:
            parents = self.truth["parent"].get(path, {})
            own = {at: y for at, y in parents.items() if at <= self.fork_at} | own
        return sorted(own.items())

    def check(self, columns: int, zoom: tuple[float, float] | None, *, runs: Any = None) -> int:
        """Returns how many columns there were."""
        found = select_runs(self.store, self.project, Which(names=runs or ["parent", "child"]))
        scope = Scope.of(self.store, self.project, found)
        paths = sorted({path for of_run in self.truth.values() for path in of_run})
        everything = [
            at for run in found for path in paths for at, _ in self.points(run.run_id, path)
        ]
        if not everything:
            return 0
        low, high = min(everything), max(everything)
        asked: dict[str, float] = {}
        if zoom:
            low, high = (low + int((high - low) * part) for part in zoom)
            asked = {"from_x": low / MICRO, "to_x": high / MICRO}
            low, high = math.floor(low / MICRO * MICRO), math.ceil(high / MICRO * MICRO)
        table = metric_buckets(self.store, scope, paths, columns=columns, **asked)  # type: ignore[arg-type]
        rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in table.to_pylist():
            rows.setdefault((found[row["place"]].run_id, row["path"]), []).append(row)
        order = [(row["place"], row["path"], row["from_x"]) for row in table.to_pylist()]
        assert order == sorted(order)
        assert len(set(order)) == len(order)
        if not rows:
            return 0
        # Far out a double can't tell the steps of the edges quite.
        (k,) = {
            round(math.log2((r["to_x"] - r["from_x"]) * MICRO))
            for one in rows.values()
            for r in one
        }
        width = 1 << k
        # At least as many as wanted, and no more than about twice as many.
        assert width == 1 or (high - low + 1) / width >= columns
        assert width * 2 > (high - low + 1) // columns
        first, last = low // width, high // width
        for run in ("parent", "child"):
            for path in paths:
                points = [
                    (at, y) for at, y in self.points(run, path) if first <= at // width <= last
                ]
                _same(rows.get((run, path), []), points, width, first, last)
        return len(table)


def _same(
    rows: list[dict[str, Any]], points: list[tuple[int, float]], width: int, first: int, last: int
) -> None:
    columns: dict[int, list[tuple[int, float]]] = {}
    for at, y in points:
        columns.setdefault(at // width, []).append((at, y))
    assert [round(row["from_x"] * MICRO / width) for row in rows] == sorted(columns)
    drawn: list[tuple[int, float]] = []
    for row, (_, inside) in zip(rows, sorted(columns.items()), strict=True):
        x = np.array([at for at, _ in inside], np.int64)
        y = np.array([value for _, value in inside])
        fine = np.isfinite(y)
        counts = [int(fine.sum()), *(int((test).sum()) for test in (np.isnan(y), y == np.inf,
                                                                    y == -np.inf))]  # fmt: skip
        assert counts == [
            row["finite_count"], row["nan_count"], row["positive_infinity_count"],
            row["negative_infinity_count"],
        ]  # fmt: skip
        names = ("first", "min", "max", "last")
        if not fine.any():
            assert all(math.isnan(row[f"{name}_{of}"]) for name in names for of in "xy")
            assert row["sum_y"] == 0
            continue
        x, y = x[fine], y[fine]
        for name, at in zip(
            names, (0, int(np.argmin(y)), int(np.argmax(y)), len(y) - 1), strict=True
        ):
            assert (row[f"{name}_x"], row[f"{name}_y"]) == (x[at] / MICRO, y[at]), name
        assert row["sum_y"] == pytest.approx(float(np.sum(y)), rel=1e-9, abs=1e-6)
        drawn += sorted({(round(row[f"{name}_x"] * MICRO), row[f"{name}_y"]) for name in names})
    if last - first < 3000 and (last + 1) * width < 1 << 53:
        real = [(at, y) for at, y in points if math.isfinite(y)]
        assert raster(drawn, first * width, width, last - first + 1, 60) == raster(
            real, first * width, width, last - first + 1, 60
        )


def _values(rng: np.random.Generator, count: int) -> list[float]:
    values = np.round(rng.normal(size=count).cumsum(), int(rng.integers(0, 4)))
    kinds = rng.random(count)
    rare = 0.02 * rng.integers(0, 3)
    for number, value in enumerate((math.nan, math.inf, -math.inf, -0.0, 0.0)):
        values[(kinds >= number * rare) & (kinds < (number + 1) * rare)] = value
    return [float(value) for value in values]


def test_a_forks_own_point_is_nearer_than_its_parents(store: Store) -> None:
    """Whichever of their keys, which are hashes, the store has first."""
    orders = set()
    while len(orders) < 2:
        story = Story.begin(store, 100 * MICRO)
        for run, steps in (("parent", range(200)), ("child", range(101, 300))):
            story.log(run, [step * MICRO for step in steps], [1.0] * len(steps), ["v"])
        story.owner.roll()
        story.log("child", [50 * MICRO], [7.0], ["v"])
        story.check(1, None)
        story.check(9, None)
        found = select_runs(store, story.project, Which())
        orders.add(tuple(run.run_id for run in sorted(found, key=lambda one: one.run)))


@st.composite
def widths(draw: st.DrawFn) -> int:
    """Micro-steps between two points: fractional, whole, sparse and huge steps."""
    return draw(st.sampled_from([1, 3, 250_000, MICRO, 7 * MICRO, 10**4 * MICRO, 10**7 * MICRO]))


OPERATIONS = st.one_of(
    st.tuples(st.just("grow"), st.integers(1, 400), st.integers(0, 2**32)),
    st.tuples(st.just("grow"), st.integers(1500, 3000), st.integers(0, 2**32)),
    st.tuples(st.just("leap"), st.integers(2, 10**5), st.integers(0, 2**32)),
    # Points that overwrite, or come late into gaps.
    st.tuples(st.just("late"), st.integers(1, 30), st.integers(0, 2**32)),
    st.tuples(st.just("roll"), st.just(0), st.just(0)),
    st.tuples(st.just("roll"), st.just(0), st.just(0)),
    st.tuples(st.just("cut off"), st.sampled_from([0, 1]), st.just(0)),
    st.tuples(st.just("restart"), st.integers(0, 8), st.just(0)),
    st.tuples(st.just("sweep"), st.just(0), st.just(0)),
    st.tuples(st.just("check"), st.sampled_from([1, 7, 100, 1000]), st.integers(0, 2**32)),
)


def _play(story: Story, width: int, operations: list[tuple[str, int, int]]) -> None:
    head = {"parent": 0, "child": 0 if story.fork_at is None else story.fork_at // width}
    for kind, number, seed in operations:
        rng = np.random.default_rng(seed)
        run = "parent" if seed % 3 else "child"
        paths = [["v"], ["v", "w"]][seed % 5 == 0]
        match kind:
            case "grow":
                gaps = rng.integers(1, int(rng.integers(2, 4)), number)
                at = head[run] + np.cumsum(gaps)
                head[run] = int(at[-1])
                steps = [int(one) * width for one in at if one * width < 9 * 10**17]
                if steps:
                    story.log(run, steps, _values(rng, len(steps)), paths)
            case "leap":
                head[run] += number
            case "late":
                highest = max(1, head[run])
                at = rng.integers(0, highest + 1, number)
                around = int(rng.integers(0, highest + 1))
                if seed % 2:
                    at = np.unique(np.clip(around + np.arange(number), 0, highest))
                steps = [int(one) * width for one in at if one * width < 9 * 10**17]
                if steps:
                    story.log(run, steps, _values(rng, len(steps)), paths)
            case "roll":
                story.owner.roll()
            case "cut off":
                with (
                    story.failing.fails("rolled", after=bool(number)),
                    contextlib.suppress(StoreUnavailable),
                ):
                    story.owner.roll()
            case "sweep":
                story.collector.collect()
            case "restart":
                before = story.owner
                story.owner = Owner(story.failing)
                # What it had not committed comes again.
                story.owner.store_batches(story.written[len(story.written) - number :])
                # And the one before wakes, and says what it knew.
                before.roll()
                story.earlier = before
            case "wake":
                # It has heard of points that its successor has not rolled.
                at = head[run] + 1 + np.arange(500)
                head[run] = int(at[-1])
                before = story.owner
                assert story.earlier
                story.owner = story.earlier
                story.log(run, [int(one) * width for one in at], _values(rng, 500), paths)
                story.owner.roll()
                story.owner = before
                # Its successor reads the same records.
                story.owner.store_batches(story.written[-1:])
            case "check":
                zoom = sorted(rng.random(2)) if seed % 3 else None
                story.check(number, zoom and (zoom[0], zoom[1]))
                if story.fork_at is not None and seed % 2:
                    continue


def _tell(store: Store, fork: float | None, width: int, operations: Any) -> Story:
    fork_at = None if fork is None else int(fork * 3000) * width
    story = Story.begin(store, fork_at if fork_at is None or fork_at < 9 * 10**17 else None)
    _play(story, width, operations)
    for columns, zoom in itertools.product((1, 9, 250), (None, (0.2, 0.7), (0.9, 1.0))):
        story.check(columns, zoom)
    # Whatever was cut off, nobody goes on with it.
    story.owner = Owner(story.failing)
    story.owner.roll()
    for _ in range(2):
        story.collector.collect()
    assert_nothing_superseded(story.store, story.project)
    story.check(9, None)
    return story


@pytest.mark.timeout(1200)
@settings(
    max_examples=4, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    fork=st.none() | st.floats(0, 1), width=widths(),
    operations=st.lists(OPERATIONS, min_size=4, max_size=14),
)  # fmt: skip
def test_any_story(
    store: Store, fork: float | None, width: int, operations: list[tuple[str, int, int]]
) -> None:
    _tell(store, fork, width, operations)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1500)
@settings(
    max_examples=10, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    fork=st.none() | st.floats(0, 1), width=widths(),
    operations=st.lists(OPERATIONS, min_size=4, max_size=30),
)  # fmt: skip
def test_many_stories(
    store: Store, fork: float | None, width: int, operations: list[tuple[str, int, int]]
) -> None:
    _tell(store, fork, width, operations)


@pytest.mark.long
def test_an_owner_that_wakes_does_not_go_on_where_its_successor_is(store: Store) -> None:
    _tell(
        store, None, MICRO,
        [
            ("grow", 2000, 1), ("roll", 0, 0), ("restart", 0, 0), ("grow", 1500, 3),
            ("roll", 0, 0), ("wake", 0, 0), ("grow", 1500, 6), ("roll", 0, 0), ("check", 7, 4),
        ],
    )  # fmt: skip


@pytest.mark.long
def test_a_story_in_which_everything_happens(store: Store) -> None:
    """So that no run of the others is needed to meet each of it."""
    story = _tell(
        store, 0.4, MICRO,
        [
            ("grow", 3000, 1), ("roll", 0, 0), ("check", 7, 4), ("late", 20, 7), ("check", 7, 5),
            ("grow", 2500, 3), ("roll", 0, 0), ("cut off", 0, 0), ("grow", 2000, 11),
            ("late", 9, 13), ("cut off", 1, 0), ("check", 100, 1), ("restart", 3, 0),
            ("check", 7, 2), ("sweep", 0, 0), ("roll", 0, 0), ("late", 5, 29), ("sweep", 0, 0),
            ("grow", 3000, 7), ("roll", 0, 0), ("check", 1000, 6), ("restart", 1, 0),
            ("roll", 0, 0),
        ],
    )  # fmt: skip
    tiers = story.store.query(
        "SELECT uniqExact(k) AS tiers FROM rollups WHERE project = {project:String}",
        {"project": story.project},
    )
    assert tiers.column(0)[0].as_py() >= 3
