"""Smoothed curves, bands and curves over another metric equal plain loops over all points."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_charts import Line, Point, band_rows, columns, smoothed
from support_query import BEGIN, PATIENCE, Reading, Spool, reading
from support_valkey import running_valkey

from naiad.exceptions import NaiadQueryError
from naiad.query.client import Attributes, ChartInfo, QueryClient, Runs
from naiad_auth import TokenStore
from naiad_proto.v1.query_pb2 import FetchChartRequest
from naiad_query import keeping
from naiad_query.charts import chart
from naiad_state import state as state_module

_NUMBERS = itertools.count()
AXES = ("step", "time", "relative_time", "metric")
COUNTS = ("finite_count", "nan_count", "positive_infinity_count", "negative_infinity_count")
drawn = settings(
    max_examples=25, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


class Logged:
    """A project of some runs: by run its points of "y", and of "x" by micro-step."""

    def __init__(self, project: str) -> None:
        self.project = project
        self.y: dict[str, list[tuple[int, int, float]]] = {}
        self.x: dict[str, dict[int, float]] = {}
        self.lr: dict[str, float | None] = {}

    def __repr__(self) -> str:
        # Hypothesis shows failing arguments, and nobody reads thousands of points.
        return self.project

    def lines(self, axis: str) -> dict[str, Line]:
        found = {}
        for run, points in self.y.items():
            first = min((at for _, at, _ in points), default=0)
            places = {
                "step": lambda micro, at: micro / 1e6,
                "time": lambda micro, at: at / 1000,
                "relative_time": lambda micro, at, first=first: (at - first) / 1000,
                "metric": lambda micro, at, run=run: self.x[run].get(micro, math.nan),
            }[axis]
            line = [Point(places(micro, at), micro, value) for micro, at, value in points]
            found[run] = sorted(point for point in line if math.isfinite(point.x))
        return found


def values(random: np.random.Generator, count: int) -> np.ndarray:
    """Numbers of very different size, and what is none."""
    found = random.normal(size=count) * 10.0 ** random.integers(-3, 4)
    odd = random.random(count)
    found[odd < 0.02] = math.nan
    found[(odd > 0.02) & (odd < 0.04)] = math.inf
    found[(odd > 0.04) & (odd < 0.05)] = -math.inf
    found[odd > 0.99] *= 1e12
    return found


def write(server: Reading, seed: int) -> Logged:
    """Runs of one to some hundred points, with gaps, points logged twice, a fork."""
    random = np.random.default_rng(seed)
    project = f"team/charts-{next(_NUMBERS)}"
    logged = Logged(project)
    width = int(random.choice([1, 250_000, 1_000_000, 10**8]))
    spools = []
    for number in range(int(random.integers(2, 6))):
        run = f"run-{number}"
        count = int(random.choice([1, 7, 60, 300]))
        steps = random.choice(2 * count, count) * width
        # An overwritten point, and time that is not in the order of steps.
        steps = np.append(steps, steps[0])
        times = (
            BEGIN + np.sort(random.integers(0, 10**6, len(steps)))[random.permutation(len(steps))]
        )
        y = values(random, len(steps))
        own = {int(s): (int(s), int(t), float(v)) for s, t, v in zip(steps, times, y, strict=True)}
        kept = [int(step) for step in own if random.random() < 0.9]
        x = {
            step: float(value) for step, value in zip(kept, values(random, len(kept)), strict=True)
        }
        fork = None
        spool = Spool(project, run)
        if number and random.random() < 0.5:
            at = int(random.choice([0, 10 * width, 10**9]))
            fork = ("run-0", at / 1e6)
            own = {p[0]: p for p in logged.y["run-0"] if p[0] <= at} | own
            x = {step: v for step, v in logged.x["run-0"].items() if step <= at} | x
        spool.create(fork=fork)
        spool.metrics(
            {"y": y.tolist()}, steps=(steps / 1e6).tolist(), times=[int(t) for t in times]
        )
        mine = [step for step in kept if step in x]
        if mine:
            spool.metrics({"x": [x[step] for step in mine]}, steps=[step / 1e6 for step in mine])
        rate = random.choice([0.1, 0.2, None])
        if rate is not None:
            spool.set("lr", float(rate))
        logged.lr[run] = None if rate is None else float(rate)
        logged.y[run] = sorted(own.values())
        logged.x[run] = x
        spools.append(spool)
    server.write(*spools)
    return logged


@pytest.fixture(scope="module")
def projects(server: Reading) -> list[Logged]:
    return [write(server, seed) for seed in range(6)]


def asked(axis: str, lines: dict[str, Line], zoom: list[float] | None) -> dict[str, Any]:
    question: dict[str, Any] = {"x_metric": "x"} if axis == "metric" else {"x": axis}
    everything = [point.x for line in lines.values() for point in line]
    if zoom and everything:
        low, high = min(everything), max(everything)
        question |= {
            "from_x": low + (high - low) * zoom[0], "to_x": low + (high - low) * zoom[1]
        }  # fmt: skip
    return question


def shown(lines: dict[str, Line], info: ChartInfo, axis: str) -> dict[str, dict[int, list[Point]]]:
    """By run and number of the column, what the answer must stand for."""
    width = info.column_width or 1.0
    low, high = round(info.from_x / width), round(info.to_x / width)
    return {
        run: {n: points for n, points in columns(line, width, axis).items() if low <= n < high}
        for run, line in lines.items()
    }


def check_edges(info: ChartInfo, question: dict[str, Any], width: int) -> None:
    if info.column_width:
        assert info.from_x <= question.get("from_x", math.inf)
        assert info.to_x >= question.get("to_x", -math.inf)
        assert (info.to_x - info.from_x) / info.column_width <= 2 * width + 2


kinds = st.one_of(
    st.tuples(st.just("ema"), st.sampled_from([0.01, 0.5, 0.9, 0.999])),
    st.tuples(st.just("mean"), st.sampled_from([0.003, 0.2, 3.0])),
    st.tuples(st.just("gaussian"), st.sampled_from([0.001, 0.05, 2.0])),
)
zooms = st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)
which = st.integers(0, 5)
axes = st.sampled_from(AXES)
widths = st.sampled_from([1, 5, 40, 1000])


@pytest.mark.one_engine
@drawn
@given(which=which, axis=axes, width=widths, zoom=zooms, smoothing=kinds)
def test_smoothed_curves(
    projects: list[Logged], client: QueryClient, which: int, axis: str, width: int,
    zoom: list[float] | None, smoothing: tuple[str, float],
) -> None:  # fmt: skip
    logged = projects[which]
    kind, part = smoothing
    lines = logged.lines(axis)
    fine = [p.x for line in lines.values() for p in line if math.isfinite(p.y)]
    span = max(fine) - min(fine) if fine else 0.0
    # Widths are in units of x.
    amount = part if kind == "ema" else part * (span or 1.0)
    question = asked(axis, lines, zoom)
    table, info = client.chart(
        logged.project, attributes=Attributes(paths=["y"]), width=width,
        smoothing=kind, smoothing_amount=amount, **question,
    )  # type: ignore[arg-type]  # fmt: skip
    check_edges(info, question, width)
    wanted = shown(lines, info, axis)
    assert info.points == sum(len(p) for run in wanted.values() for p in run.values())
    assert info.runs == sum(map(bool, wanted.values()))
    assert table.num_rows == sum(map(len, wanted.values()))
    for row in table.to_pylist():
        points = wanted[row["run"]][round(row["from_x"] / info.column_width)]
        values = [point.y for point in points]
        assert [row[name] for name in COUNTS] == [
            sum(map(math.isfinite, values)), sum(map(math.isnan, values)),
            values.count(math.inf), values.count(-math.inf),
        ]  # fmt: skip
        if not row["finite_count"]:
            assert math.isnan(row["smoothed_y"])
            continue
        inside = [point for point in points if math.isfinite(point.y)]
        assert (row["first_x"], row["first_y"]) == (inside[0].x, inside[0].y)
        assert (row["last_x"], row["last_y"]) == (inside[-1].x, inside[-1].y)
        assert (row["min_y"], row["max_y"]) == (
            min(p.y for p in inside), max(p.y for p in inside)
        )  # fmt: skip
        value, size = smoothed(lines[row["run"]], row["last_x"], kind, amount, span)
        assert row["smoothed_y"] == pytest.approx(value, rel=1e-9, abs=1e-9 * size)


@pytest.mark.one_engine
@drawn
@given(
    which=which, axis=axes, width=widths, zoom=zooms,
    band=st.sampled_from(["min_max", "std", "quantiles"]), together=st.booleans(),
    quantiles=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted), smooth=st.booleans(),
)  # fmt: skip
def test_bands_of_groups(
    projects: list[Logged], client: QueryClient, which: int, axis: str, width: int,
    zoom: list[float] | None, band: Any, together: bool, quantiles: list[float], smooth: bool,
) -> None:  # fmt: skip
    logged = projects[which]
    rates = list(dict.fromkeys(logged.lr.values()))
    lines = logged.lines(axis)
    assert rates != [None]
    question = asked(axis, lines, zoom) | {
        "attributes": Attributes(paths=["y"]), "width": width
    }  # fmt: skip
    if smooth:
        question |= {"smoothing": "ema", "smoothing_amount": 0.8}
    table, info = client.chart(
        logged.project, band=band, quantiles=quantiles if band == "quantiles" else (),
        group_all=together, group_by=() if together else ["lr"], **question,
    )  # fmt: skip
    curves: dict[str, dict[int, float]] = {run: {} for run in lines}
    if smooth:
        alone, _ = client.chart(logged.project, **question)
        for row in alone.to_pylist():
            number = round(row["from_x"] / info.column_width)
            curves[row["run"]][number] = row["smoothed_y"]
    inside = shown(lines, info, axis)
    assert info.points == sum(len(p) for run in inside.values() for p in run.values())
    rows = table.to_pylist()
    for rate in [None] if together else rates:
        mine = [run for run in lines if together or logged.lr[run] == rate]
        wanted = band_rows(
            [[p for points in inside[run].values() for p in points] for run in mine],
            info.column_width or 1.0, axis, band, tuple(quantiles),
            [curves[run] for run in mine] if smooth else None,
        )  # type: ignore[arg-type]  # fmt: skip
        found = {
            round(row["from_x"] / info.column_width): row
            for row in rows
            if together or row["lr:float"] == rate
        }
        assert found.keys() == wanted.keys()
        for number, row in found.items():
            want = wanted[number]
            assert tuple(row[name] for name in COUNTS) == want.counts
            assert row["run_count"] == want.runs
            got = [math.nan if row[n] is None else row[n] for n in ("mean_y", "low_y", "high_y")]
            most = max(abs(want.mean), abs(want.low), abs(want.high), 1e-300)
            assert got == pytest.approx(
                [want.mean, want.low, want.high], rel=1e-9, abs=1e-9 * most, nan_ok=True
            )


def test_one_that_is_not_there(client: QueryClient) -> None:
    table, info = client.chart("team/vision", Runs(names=[]), Attributes(paths=["loss"]))
    assert (table.num_rows, info.points, info.runs) == (0, 0, 0)
    assert isinstance(table, pa.Table)


PROJECT = "team/vision"
LOSS = Attributes(paths=["loss"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"width": 10_001}, "width is 10,001; at most 10,000 columns are given"),
        ({"from_x": math.nan}, "from_x is nan; give a finite number or leave it out"),
        ({"from_x": 2.0, "to_x": 1.0}, "from_x is 2, beyond to_x, 1; swap them"),
        ({"x_metric": "epoch"}, "x_metric 'epoch' is no metric of these 4 runs; they have acc, l"),
        ({"x_metric": ""}, "x_metric is empty: give its path"),
        ({"smoothing_amount": 0.5}, "smoothing_amount is 0.5 without a smoothing"),
        ({"smoothing": "ema"}, "smoothing_amount is 0; for ema it is between 0 and 1"),
        ({"smoothing": "ema", "smoothing_amount": 1.0}, "smoothing_amount is 1; for ema it is"),
        ({"smoothing": "mean", "smoothing_amount": -2.0}, "is -2; for mean it is a width in unit"),
        ({"smoothing": "gaussian", "smoothing_amount": math.inf}, "is inf; for gaussian it is a"),
        ({"band": "std"}, "band is std without groups: give group_by, or group_all"),
        ({"quantiles": [0.1, 0.9]}, "quantiles are given, and band is none"),
        ({"group_all": True, "band": "quantiles", "quantiles": [0.1]}, "0.1; give two, the lower"),
        ({"group_all": True, "band": "quantiles", "quantiles": [0.9, 0.1]}, "0.9, 0.1; the lower"),
        ({"group_all": True, "band": "quantiles", "quantiles": [0, 1.1]}, "0, 1.1; they lie betw"),
        ({"group_all": True, "group_by": ["lr"]}, "group_all and group_by are both given"),
        ({"group_by": ["lr", "lr"]}, "group_by names 'lr' twice; once is enough"),
        ({"group_by": [f"a{n}" for n in range(11)]}, "group_by has 11 attributes; at most 10"),
        ({"group_by": [""]}, "group_by has an empty path; name an attribute"),
        ({"group_by": ["weights"]}, "runs can't be grouped by 'weights', a histogram_series; it"),
        ({"group_by": [("lr", "number")]}, "there is no type 'number'; there are int,"),
        ({"group_by": [("lr", "file")]}, "runs can't be grouped by a file; it takes"),
        ({"runs": Runs("(")}, "not a regular expression"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(client: QueryClient, asked: Any, message: str) -> None:
    with pytest.raises(NaiadQueryError, match=re.escape(message)):
        client.chart(PROJECT, **asked)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("x_axis", 77, "there is no x_axis 77; there are step, time, relative_time, metric"),
        ("smoothing", 77, "there is no smoothing 77; there are ema, mean and gaussian"),
        ("band", 77, "there is no band 77; there are min_max, std and quantiles"),
        ("x_metric", "loss", "x_metric is 'loss', and x_axis is step"),
    ],
)  # fmt: skip
def test_what_the_client_would_not_send(
    client: QueryClient, field: str, value: Any, message: str
) -> None:
    request = FetchChartRequest(project=PROJECT, **{field: value})
    with pytest.raises(grpc.RpcError) as error:
        list(client._stub.FetchChart(request))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert message in (error.value.details() or "")


def test_groups_by_values_of_every_kind(client: QueryClient) -> None:
    def groups(*by: Any, **asked: Any) -> list[Any]:
        table, _ = client.chart(PROJECT, attributes=LOSS, group_by=by, **asked)
        return list(dict.fromkeys(table["group"].to_pylist()))

    # Integers and floats compare as numbers; a fork inherits; those without come last.
    assert groups("lr") == ["lr=0.01", "lr=0.1", "lr=1"]
    assert groups(("lr", "int")) == ["lr=1", "lr=none"]
    assert groups("note") == ['note=a "quoted" ü', "note=none"]
    assert groups("ready", "extra") == [
        "ready=true, extra=none", "ready=none, extra=mine", "ready=none, extra=none"
    ]  # fmt: skip
    assert groups("sys/tags") == ["sys/tags={good}", "sys/tags=none"]
    assert groups("when") == ["when=2026-02-03 04:05:06.789000+00:00", "when=none"]
    assert groups("sys/state", runs=Runs(names=["adam-1", "sgd"])) == [
        "sys/state=failed", "sys/state=finished"
    ]  # fmt: skip
    # Of a series its last value.
    assert groups("acc", runs=Runs(names=["adam-1", "adam-2"])) == ["acc=0.6", "acc=none"]
    # As in tables of groups, what nobody has makes a group; and is said, since it may be mistyped.
    for by in ("nobody", ("lr", "string")):
        path = by if isinstance(by, str) else by[0]
        assert groups(by) == [f"{path}=none"]
        _, info = client.chart(PROJECT, attributes=LOSS, group_by=[by])
        assert list(info.notes) == [f"none of these 4 runs has {path!r}"]
        in_table = client.run_groups(PROJECT, [by], attributes=Attributes(paths=[]))
        assert in_table.table.to_pylist() == [{f"{path}:string": None, "run_count": 4}]
    table, info = client.chart(PROJECT, attributes=LOSS, group_by=["lr", "ready"], band="std")
    assert table.schema.field("lr:float").type == pa.float64()
    assert table.schema.field("ready:bool").type == pa.bool_()
    assert (info.runs, list(info.notes)) == (4, [])
    assert table.column_names[-4:] == list(COUNTS)


def test_points_without_an_x_are_told(server: Reading, client: QueryClient) -> None:
    run = Spool("team/other-x", "r").create()
    run.metrics({"y": [1.0, 2.0, 3.0, 4.0], "x": [0.5, math.nan, math.inf, -8.0]})
    server.write(run.metrics({"y": [5.0]}, steps=[9]))
    table, info = client.chart("team/other-x", attributes=Attributes("^y"), x_metric="x")
    assert (info.points, list(info.notes)) == (
        2, ["3 of 5 points are left out: x has no finite value at their step"]
    )  # fmt: skip
    assert table["first_x"].to_pylist() == [-8.0, 0.5]
    assert table["first_y"].to_pylist() == [4.0, 1.0]
    _, beyond = client.chart("team/other-x", x_metric="x", from_x=99.0)
    assert (beyond.points, beyond.from_x) == (0, 99.0)


def test_limits_are_told(client: QueryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chart, "MOST_BY_TIME", 5)
    monkeypatch.setattr(chart, "MOST_BY_METRIC", 3)
    for asked, message in (
        ({"x": "time"}, "a chart over time reads every point, 13 here, and at most 5 are read"),
        ({"x_metric": "acc"}, "a chart over the metric 'acc' reads every point, 15 here"),
    ):
        with pytest.raises(NaiadQueryError, match=f"{message}.*choose fewer runs or metrics"):
            client.chart(PROJECT, attributes=LOSS, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["ema", "mean", "gaussian"])
@pytest.mark.parametrize("axis", AXES)
def test_too_many_points_are_smoothed_from_columns_and_it_says_so(
    server: Reading, client: QueryClient, monkeypatch: pytest.MonkeyPatch, kind: Any, axis: str
) -> None:
    project = f"team/many-{next(_NUMBERS)}"
    run = Spool(project, "r").create()
    steps = np.arange(4000)
    wave = np.sin(steps / 300) + np.cos(steps * 1.7)
    server.write(run.metrics({"y": wave.tolist(), "x": (steps * 0.5).tolist()}))
    question = asked(axis, {}, None) | {"attributes": Attributes("^y"), "width": 50}
    question |= {"smoothing": kind, "smoothing_amount": 0.9 if kind == "ema" else 70.0}
    for zoom in ({}, {"from_x": 100.0, "to_x": 900.0}):
        if axis == "time" and zoom:
            zoom = {name: x + BEGIN / 1000 for name, x in zoom.items()}
        exact, told = client.chart(project, **question, **zoom)
        assert not told.notes
        with monkeypatch.context() as patch:
            patch.setattr(chart, "MOST_SMOOTHED", 100)
            near, told = client.chart(project, **question, **zoom)
        assert len(told.notes) == 1
        assert "there are" in told.notes[0]
        assert "at most 100 are smoothed one by one; choose fewer runs or" in told.notes[0]
        # Right to half of one of those columns.
        gap = np.abs(near["smoothed_y"].to_numpy() - exact["smoothed_y"].to_numpy())
        assert gap.max() < 0.2
        assert near.drop(["smoothed_y"]).equals(exact.drop(["smoothed_y"]))
    if kind == "gaussian":
        monkeypatch.setattr(chart, "MOST_WEIGHTS", 1000)
        _, told = client.chart(project, **question)
        assert "a Gaussian this wide weighs 4,0" in told.notes[0]


def test_a_spike_does_not_spoil_what_comes_after_it(server: Reading, client: QueryClient) -> None:
    run = Spool("team/spike", "r").create()
    server.write(run.metrics({"y": [1e300, *[float(n % 3) for n in range(99)]]}))
    table, _ = client.chart("team/spike", smoothing="mean", smoothing_amount=6.0)
    assert table["smoothed_y"].to_pylist()[10:90] == pytest.approx(
        [float(np.mean([(n - 1 + d) % 3 for d in range(-3, 4)])) for n in range(10, 90)]
    )
    _, info = client.chart("team/spike", Runs("r"), group_all=True, band="std")
    assert info.points == 100


def test_answers_are_kept_and_made_again_when_something_comes(
    server: Reading, tmp_path: Any, tokens: TokenStore, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(keeping, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "OLDNESS_SECONDS", 0.0)
    # About what is kept, not how soon: an answer that comes later is made anew.
    monkeypatch.setattr(keeping, "_LONGEST_SECONDS", PATIENCE / 2)
    monkeypatch.setattr(state_module, "PATIENCE", PATIENCE / 2)
    made = []
    table = chart.Chart.table
    monkeypatch.setattr(
        chart.Chart, "table", lambda self: made.append(self.plan) or table(self)
    )  # fmt: skip
    run = Spool("team/kept", "r").create().set("lr", 0.5).metrics({"y": [1.0, 2.0]})
    server.write(run)
    with (
        running_valkey(tmp_path) as valkey,
        reading(server.store, tmp_path / "keeper", tokens, valkey.url) as keeper,
        keeper.client(token) as client,
    ):
        asked: dict[str, Any] = {"group_by": ["lr"], "smoothing": "mean", "smoothing_amount": 2.0}
        first = client.chart("team/kept", **asked)
        assert client.chart("team/kept", **asked) == first
        assert len(made) == 1
        client.chart("team/kept", **asked | {"smoothing_amount": 3.0})
        client.chart("team/kept", **asked | {"group_by": [], "group_all": True})
        assert len(made) == 3
        server.write(run.metrics({"y": [9.0]}, steps=[2]))
        _, info = client.chart("team/kept", **asked)
        assert (len(made), info.points) == (4, 3)
