"""From buckets to curves, to bytes, and back: nothing is made up, nothing lost."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad_dashboard.curves import charts
from naiad_dashboard.payload import pack, read_array, unpack
from naiad_dashboard.questions import coarse
from naiad_dashboard.smoothing import smooth

RUNS = ["a", "b", "c"]
numbers = st.floats(allow_nan=True, allow_infinity=True, width=64)
points = st.dictionaries(
    st.tuples(st.sampled_from(["loss", "acc"]), st.sampled_from(RUNS), st.integers(0, 40)),
    numbers,
    min_size=1,
)
Points = dict[tuple[str, str, int], float]


def buckets(data: Points, width: int) -> pa.Table:
    """What the query service answers of `data` with columns of `width` steps."""
    groups: dict[tuple[str, str, int], list[tuple[int, float]]] = {}
    for (path, run, step), value in sorted(data.items()):
        groups.setdefault((path, run, step // width), []).append((step, value))
    rows: list[dict[str, Any]] = []
    for (path, run, bucket), members in groups.items():
        fine = [(x, y) for x, y in members if math.isfinite(y)]
        values = [y for _, y in fine]
        with np.errstate(over="ignore"):
            total = float(np.sum(np.asarray(values))) if values else math.nan
        rows.append(
            {
                "path": path,
                "run": run,
                "from_x": float(bucket * width),
                "to_x": float((bucket + 1) * width),
                "first_x": float(fine[0][0]) if fine else math.nan,
                "last_x": float(fine[-1][0]) if fine else math.nan,
                "min_y": min(values, default=math.nan),
                "max_y": max(values, default=math.nan),
                "sum_y": total,
                "finite_count": len(fine),
                "nan_count": sum(math.isnan(y) for _, y in members),
                "positive_infinity_count": sum(y == math.inf for _, y in members),
                "negative_infinity_count": sum(y == -math.inf for _, y in members),
            }
        )
    return pa.Table.from_pylist(rows)


@given(points, st.sampled_from([1, 4, 64]))
def test_curves_hold_what_was_logged(data: Points, width: int) -> None:
    found = {chart.path: chart for chart in charts(buckets(data, width), ["loss", "acc"], RUNS)}
    assert set(found) == {path for path, _, _ in data}
    for path, chart in found.items():
        assert np.all(np.diff(chart.x) > 0)
        for curve in chart.curves:
            own = {step: y for (p, run, step), y in data.items() if (p, run) == (path, curve.run)}
            fine = [y for y in own.values() if math.isfinite(y)]
            assert curve.counts.sum() == len(fine)
            if fine:
                assert np.nanmin(curve.low) == min(fine)
                assert np.nanmax(curve.high) == max(fine)
            shown = np.isfinite(curve.raw)
            assert np.all(curve.low[shown] <= curve.raw[shown])
            assert np.all(curve.raw[shown] <= curve.high[shown])
            odd = {kind: odd.count for kind, odd in curve.odd.items()}
            assert odd.get("nan", 0) == sum(math.isnan(y) for y in own.values())
            assert odd.get("positive_infinity", 0) == sum(y == math.inf for y in own.values())
            if width == 1:
                drawn = dict(zip(chart.x[shown], curve.raw[shown], strict=True))
                assert drawn == {step: y for step, y in own.items() if math.isfinite(y)}


@given(points, st.sampled_from([1, 8]))
def test_what_is_packed_comes_back(data: Points, width: int) -> None:
    made = charts(buckets(data, width), ["loss", "acc"], RUNS)
    block = pack(made, RUNS, {"a": "first"}, settings={"axis": "step"})
    header, arrays = unpack(block)
    assert (len(block) - len(arrays)) % 8 == 0
    assert header["axis"] == "step"
    assert [run["label"] for run in header["runs"]] == ["first", "b", "c"]
    assert len({run["colour"] for run in header["runs"]}) == 3
    for chart, packed in zip(made, header["charts"], strict=True):
        assert packed["path"] == chart.path
        assert np.array_equal(read_array(arrays, packed["x"]), chart.x)
        shown = np.concatenate([[0.0], *(c.raw[np.isfinite(c.raw)] for c in chart.curves)])
        with np.errstate(over="ignore"):
            span = float(np.ptp(shown))
        for curve, sent in zip(chart.curves, packed["curves"], strict=True):
            assert RUNS[sent["run"]] == curve.run
            values = read_array(arrays, sent["values"])
            assert np.array_equal(np.isposinf(values), curve.gaps)
            fine = np.isfinite(curve.values)
            assert np.all(np.isnan(values[~fine & ~curve.gaps]))
            if math.isfinite(span):
                assert np.allclose(values[fine], curve.values[fine], rtol=0, atol=span * 1e-3)
            assert ("low" in sent) == (not curve.is_exact)


def test_small_differences_of_large_values_are_kept() -> None:
    data = {("loss", "a", step): 1e9 + step / 1000 for step in range(20)}
    made = charts(buckets(data, 1), ["loss"], ["a"])
    header, arrays = unpack(pack(made, ["a"], {}, settings={}))
    values = read_array(arrays, header["charts"][0]["curves"][0]["values"])
    assert values.tolist() == list(data.values())


def test_a_column_with_nothing_finite_has_a_place() -> None:
    (chart,) = charts(buckets({("loss", "a", s): math.nan for s in (0, 5)}, 1), ["loss"], ["a"])
    assert chart.x.tolist() == [0.0, 5.0]
    assert chart.curves[0].odd["nan"].columns.tolist() == [0, 1]


def test_what_is_too_coarse_is_asked_again() -> None:
    data: Points = {("often", "a", step): float(step) for step in range(0, 4096, 2)}
    data |= {("epoch", "a", step): float(step) for step in range(10)}
    data |= {("late", "a", step): float(step) for step in range(4000, 4010)}
    data |= {("single", "a", 7): 1.0}
    again = coarse(buckets(data, 64))
    # Two ranges, two questions; one point alone is exact however wide its column.
    assert again == [(["epoch"], 0.0, 9.0), (["late"], 4000.0, 4009.0)]
    assert coarse(buckets({("often", "a", step): 0.0 for step in range(99)}, 4)) == []
    assert coarse(buckets(data, 64).slice(0, 0)) == []


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0, 0.99))
def test_smoothing_stays_between_the_values(values: list[float], weight: float) -> None:
    array = np.asarray(values)
    smoothed = smooth(array, np.ones(len(array)), weight)
    assert smoothed[0] == pytest.approx(array[0], abs=1e-6)
    assert np.all(smoothed <= np.maximum.accumulate(array) + 1e-6)
    assert np.all(smoothed >= np.minimum.accumulate(array) - 1e-6)


def test_smoothing_of_a_bucket_is_that_of_its_points() -> None:
    one_by_one = smooth(np.array([1.0, 5.0, 5.0, 5.0]), np.ones(4), 0.9)
    in_one = smooth(np.array([1.0, 5.0]), np.array([1.0, 3.0]), 0.9)
    assert in_one[-1] == pytest.approx(one_by_one[-1])
    with pytest.raises(ValueError, match="weight"):
        smooth(np.zeros(1), np.ones(1), 1.0)
