"""Smoothed curves, bands and curves over another metric equal plain loops over all points."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_charts import Line, Point, band_rows, columns, smoothed
from support_query import BEGIN, Reading, Spool

from naiad.query.client import Attributes, ChartInfo, QueryClient, Runs

_NUMBERS = itertools.count()
AXES = ("step", "time", "relative_time", "metric")
COUNTS = ("finite_count", "nan_count", "positive_infinity_count", "negative_infinity_count")
drawn = settings(
    max_examples=6, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@dataclass
class Logged:
    """A project of some runs: by run its points of "y", and of "x" by micro-step."""

    project: str
    y: dict[str, list[tuple[int, int, float]]]
    x: dict[str, dict[int, float]]
    lr: dict[str, float | None]

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
    logged = Logged(project, {}, {}, {})
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


def asked(axis: str, lines: dict[str, Line], zoom: list[float] | None) -> dict[str, Any]:
    question: dict[str, Any] = {"x_metric": "x"} if axis == "metric" else {"x": axis}
    everything = [point.x for line in lines.values() for point in line]
    if zoom and everything:
        low, high = min(everything), max(everything)
        question |= {
            "from_x": low + (high - low) * zoom[0], "to_x": low + (high - low) * zoom[1]
        }  # fmt: skip
    return question


def shown(lines: dict[str, Line], info: ChartInfo) -> dict[str, dict[int, list[Point]]]:
    """By run and number of the column, what the answer must stand for."""
    width = info.column_width or 1.0
    low, high = round(info.from_x / width), round(info.to_x / width)
    return {
        run: {n: points for n, points in columns(line, width).items() if low <= n < high}
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
seeds = st.integers(0, 2**32)
widths = st.sampled_from([1, 5, 40, 1000])


@drawn
@given(seed=seeds, width=widths, zoom=zooms, smoothing=kinds)
def test_smoothed_curves(
    server: Reading, client: QueryClient, seed: int, width: int, zoom: list[float] | None,
    smoothing: tuple[str, float],
) -> None:  # fmt: skip
    logged = write(server, seed)
    kind, part = smoothing
    for axis in AXES:
        lines = logged.lines(axis)
        fine = [p.x for line in lines.values() for p in line if math.isfinite(p.y)]
        span = max(fine) - min(fine) if fine else 0.0
        # Widths are in units of x.
        amount = part if kind == "ema" else part * (span or 1.0)
        question = asked(axis, lines, zoom)
        if axis == "metric" and not any(logged.x.values()):
            continue
        table, info = client.chart(
            logged.project, attributes=Attributes(paths=["y"]), width=width,
            smoothing=kind, smoothing_amount=amount, **question,
        )  # type: ignore[arg-type]  # fmt: skip
        check_edges(info, question, width)
        wanted = shown(lines, info)
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


@drawn
@given(
    seed=seeds, width=widths, zoom=zooms, band=st.sampled_from(["min_max", "std", "quantiles"]),
    quantiles=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted), smooth=st.booleans(),
)  # fmt: skip
def test_bands_of_groups(
    server: Reading, client: QueryClient, seed: int, width: int, zoom: list[float] | None,
    band: Any, quantiles: list[float], smooth: bool,
) -> None:  # fmt: skip
    logged = write(server, seed)
    rates = list(dict.fromkeys(logged.lr.values()))
    for axis, together in itertools.product(AXES, (False, True)):
        lines = logged.lines(axis)
        if axis == "metric" and not any(logged.x.values()):
            continue
        if not together and rates == [None]:
            continue
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
        inside = shown(lines, info)
        assert info.points == sum(len(p) for run in inside.values() for p in run.values())
        rows = table.to_pylist()
        for rate in [None] if together else rates:
            mine = [run for run in lines if together or logged.lr[run] == rate]
            wanted = band_rows(
                [[p for points in inside[run].values() for p in points] for run in mine],
                info.column_width or 1.0, band, tuple(quantiles),
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
                got = [
                    math.nan if row[n] is None else row[n] for n in ("mean_y", "low_y", "high_y")
                ]
                most = max(abs(want.mean), abs(want.low), abs(want.high), 1e-300)
                assert got == pytest.approx(
                    [want.mean, want.low, want.high], rel=1e-9, abs=1e-9 * most, nan_ok=True
                )


def test_one_that_is_not_there(client: QueryClient) -> None:
    table, info = client.chart("team/vision", Runs(names=[]), Attributes(paths=["loss"]))
    assert (table.num_rows, info.points, info.runs) == (0, 0, 0)
    assert isinstance(table, pa.Table)
