"""Charts by time are those of all points, also where long series tell where their time begins and
ends."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_buckets import check, widened, width_of
from support_query import BEGIN, Spool
from support_rolling import Owner

from naiad_store import Store
from naiad_store.selects import timebuckets
from naiad_store.selects.buckets import metric_buckets
from naiad_store.selects.runs import Which, select_runs
from naiad_store.selects.scope import Scope

_NUMBERS = itertools.count()
# (micro-step, milliseconds, value)
Points = list[tuple[int, int, float]]


def _drawn(seed: int, count: int, clock: str) -> Points:
    rng = np.random.default_rng(seed)
    steps = np.sort(rng.choice(3 * count, count, replace=False))
    times = BEGIN + np.cumsum(rng.integers(0, 2000, count))
    match clock:
        case "set back":
            times[count // 2 :] -= int(rng.integers(1, 10**7))
        case "one far off":
            times[int(rng.integers(0, count))] += int(rng.choice([-(10**9), 10**9]))
        case "any":
            times = rng.permutation(times)
    values = np.round(rng.normal(size=count).cumsum(), 1)
    values[rng.random(count) < 0.02] = math.nan
    values[rng.random(count) < 0.02] = math.inf
    return [
        (int(step) * 10**6, int(at), float(value))
        for step, at, value in zip(steps, times, values, strict=True)
    ]


def _log(spool: Spool, path: str, points: Points) -> None:
    steps, times, values = zip(*points, strict=True)
    spool.metrics({path: values}, steps=[step / 1e6 for step in steps], times=times)


CLOCKS = st.sampled_from(["goes on", "goes on", "set back", "one far off", "any"])


@pytest.mark.timeout(600)
@settings(
    max_examples=8, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    series=st.lists(
        st.tuples(st.integers(0, 2**32), st.sampled_from([1, 50, 300, 900]), CLOCKS),
        min_size=1, max_size=4,
    ),
    late=st.none() | st.integers(0, 2**32),
    columns=st.sampled_from([1, 7, 100, 2000]),
    zoom=st.tuples(st.none() | st.floats(-0.1, 1.1), st.none() | st.floats(-0.1, 1.1)),
)  # fmt: skip
def test_by_time(
    store: Store, series: list[tuple[int, int, str]], late: int | None, columns: int,
    zoom: tuple[float | None, float | None],
) -> None:  # fmt: skip
    project = f"team/by-time-{next(_NUMBERS)}"
    owner = Owner(store)
    truth: dict[str, dict[str, dict[int, tuple[int, float]]]] = {}
    spools = {}
    for number, (seed, count, clock) in enumerate(series):
        # Of the first run two paths, of which one may be short.
        run, path = f"run-{max(number - 1, 0)}", "w" if number == 1 else "v"
        if run not in spools:
            spools[run] = Spool(project, run).create()
        points = _drawn(seed, count, clock)
        _log(spools[run], path, points)
        truth.setdefault(run, {})[path] = {step: (at, y) for step, at, y in points}
    owner.write(*spools.values())
    owner.roll()
    if late is not None:
        # Overwritten at other times, and new.
        points = _drawn(late, 40, "any")
        _log(spools["run-0"], "v", points)
        truth["run-0"]["v"] |= {step: (at, y) for step, at, y in points}
        owner.write(spools["run-0"])
    found = select_runs(store, project, Which())
    scope = Scope.of(store, project, found)
    for axis in ("time", "relative_time"):
        placed = {}
        for run, paths in truth.items():
            times = [at for of in paths.values() for at, _ in of.values()]
            base = min(times) if axis == "relative_time" else 0
            for path, of in paths.items():
                placed[run, path] = sorted((at - base, step, y) for step, (at, y) in of.items())
        everything = [point[0] for points in placed.values() for point in points]
        low, high = (0 if axis == "relative_time" else min(everything)), max(everything)
        begin, end = (None if part is None else low + int((high - low) * part) for part in zoom)
        table = metric_buckets(
            store, scope, ["v", "w"], axis=axis, columns=columns,
            from_x=None if begin is None else begin / 1000,
            to_x=None if end is None else end / 1000,
        )  # fmt: skip
        order = [(row["place"], row["path"], row["from_x"]) for row in table.to_pylist()]
        assert order == sorted(order)
        begin, end = low if begin is None else begin, high if end is None else end
        rows: dict[tuple[str, str], list[Any]] = {key: [] for key in placed}
        for row in table.to_pylist():
            rows[found[row["place"]].run_id, row["path"]].append(row)
        for key, points in placed.items():
            if not rows[key]:
                assert not [point for point in points if begin <= point[0] <= end]
                continue
            width = width_of(rows[key][0], 1000)
            check(rows[key], widened(points, begin, end, width), 1000)
            there = end // width - begin // width + 1
            assert min(columns, end - begin + 1) <= there <= 2 * columns + 1


def _asked(store: Store, project: str, axis: str) -> list[dict[str, Any]]:
    scope = Scope.of(store, project, select_runs(store, project, Which()))
    rows: list[dict[str, Any]] = metric_buckets(store, scope, ["v"], axis=axis).to_pylist()
    return rows


@pytest.mark.parametrize("axis", ["time", "relative_time"])
@pytest.mark.parametrize(("clock", "looked"), [("goes on", 0), ("one far off", 1)])
def test_all_points_are_looked_at_once_where_clocks_go_on(
    store: Store, axis: str, clock: str, looked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guess is taken where it is right, and only there."""
    project = f"team/by-time-{next(_NUMBERS)}"
    owner, spool = Owner(store), Spool(project, "run").create()
    points = _drawn(7, 500, "goes on")
    if clock == "one far off":
        step, at, value = points[250]
        points[250] = (step, at - 10**9, value)
    _log(spool, "v", points)
    owner.write(spool)
    owner.roll()
    times: list[object] = []
    really = timebuckets._Question.ends

    def ends(question: Any) -> Any:
        times.append(question)
        return really(question)

    monkeypatch.setattr(timebuckets._Question, "ends", ends)
    assert sum(row["finite_count"] for row in _asked(store, project, axis)) == sum(
        math.isfinite(value) for _, _, value in points
    )
    assert len(times) == looked


@pytest.mark.parametrize("axis", ["time", "relative_time"])
@pytest.mark.parametrize("first", [0, 9 * 10**17])
@pytest.mark.parametrize("length", [1, 10**6, 10**11])
def test_at_one_time_steps_say_which_is_before_which(
    store: Store, axis: str, first: int, length: int
) -> None:
    """Also where a step and the time within a column are more than 64 bits; and what is not finite
    is counted in the column in which the others are."""
    project = f"team/by-time-{next(_NUMBERS)}"
    owner, spool = Owner(store), Spool(project, "run").create()
    values = [2.0, math.nan, -math.inf, 5.0, 1.0, math.inf, math.inf, 3.0]
    points = [(first + n * 10**6, BEGIN, value) for n, value in enumerate(values)]
    # Logged in another order than that of their steps; one far behind in time makes columns wide.
    points = [*points[::-1], (first + len(values) * 10**6, BEGIN + length, math.nan)]
    _log(spool, "v", points)
    owner.write(spool)
    owner.roll()
    scope = Scope.of(store, project, select_runs(store, project, Which()))
    rows = metric_buckets(store, scope, ["v"], axis=axis, columns=1).to_pylist()
    at = BEGIN / 1000 if axis == "time" else 0.0
    row = rows[0]
    ends = ("first", 2.0), ("last", 3.0), ("min", 1.0), ("max", 5.0)
    assert [(row[f"{name}_x"], row[f"{name}_y"]) for name, _ in ends] == [(at, y) for _, y in ends]
    assert row["sum_y"] == 11.0
    counts = ("finite", "nan", "positive_infinity", "negative_infinity")
    assert [sum(row[f"{name}_count"] for row in rows) for name in counts] == [4, 2, 2, 1]
