"""From buckets to curves, to bytes, and back: nothing is made up, nothing lost."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from naiad_dashboard.curves import charts, groups
from naiad_dashboard.payload import pack, read_array, unpack
from naiad_dashboard.questions import coarse

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


def test_smoothed_and_grouped_columns_are_curves_too() -> None:
    plain = buckets({("loss", "a", step): float(step % 2) for step in range(8)}, 4)
    (chart,) = charts(plain.append_column("smoothed_y", pa.array([0.1, math.nan])), ["loss"], ["a"])
    assert chart.points == 8
    assert chart.curves[0].raw.tolist() == [0.5, 0.5]
    assert np.array_equal(chart.curves[0].values, [0.1, math.nan], equal_nan=True)
    table = pa.table(
        {
            "group": pa.array(["lr=1", "lr=2", "lr=2"]).dictionary_encode(),
            "path": ["loss"] * 3,
            "from_x": [0.0, 0.0, 4.0],
            "to_x": [4.0, 4.0, 8.0],
            "first_x": [0.0, 1.0, None],
            "last_x": [3.0, 3.0, None],
            "mean_y": [1.0, 2.0, None],
            "low_y": [0.5, None, None],
            "high_y": [1.5, None, None],
            "run_count": [2, 1, 0],
            "finite_count": [8, 4, 0],
            "nan_count": [0, 0, 3],
            "positive_infinity_count": [0, 0, 0],
            "negative_infinity_count": [0, 0, 0],
        }
    )
    assert groups(table) == {"lr=1": 2, "lr=2": 1}
    (chart,) = charts(table, ["loss"], list(groups(table)))
    assert chart.x.tolist() == [1.5, 4.0]
    first, second = chart.curves
    assert (first.low[0], first.values[0], first.high[0]) == (0.5, 1.0, 1.5)
    # No band: as thin as the curve.
    assert second.is_exact
    assert (second.odd["nan"].count, second.gaps.tolist()) == (3, [False, True])
    assert chart.points == 15
    assert coarse(table) == []


def test_tiny_values_keep_their_place_on_a_logarithmic_axis() -> None:
    made = charts(
        buckets({("loss", "a", s): 10.0 ** -(s * 20) for s in range(4)}, 1), ["loss"], ["a"]
    )
    header, arrays = unpack(pack(made, ["a"], {}, settings={"log": True}))
    values = read_array(arrays, header["charts"][0]["curves"][0]["values"])
    assert values.tolist() == [1.0, 1e-20, 1e-40, 1e-60]
