"""What columns of a chart have to say, from all of its points."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import pytest


def model(points: list[tuple[int, int, float]], k: int) -> dict[int, dict[str, Any]]:
    """Of (place on the axis in units, step, value): by number of the column what it says."""
    columns = defaultdict(list)
    for at, step, value in points:
        columns[at >> k].append((at, step, value))
    answer = {}
    for number, inside in columns.items():
        fine = [point for point in inside if math.isfinite(point[2])]
        values = [value for _, _, value in inside]
        first, last = min(fine, default=None), max(fine, default=None)
        least = min(fine, key=lambda point: (point[2], point[0]), default=None)
        most = max(fine, key=lambda point: (point[2], -point[0]), default=None)
        answer[number] = {
            name: (point[0], point[2]) if point else None
            for name, point in [("first", first), ("last", last), ("min", least), ("max", most)]
        } | {
            "sum": math.fsum(value for _, _, value in fine),
            "counts": (
                len(fine), sum(map(math.isnan, values)), values.count(math.inf),
                values.count(-math.inf),
            ),
        }  # fmt: skip
    return answer


def check(rows: list[dict[str, Any]], points: list[tuple[int, int, float]], unit: int) -> None:
    """`rows` of one series are what its `points` in their range give, column by column."""
    (width,) = {width_of(row, unit) for row in rows}
    k = width.bit_length() - 1
    assert width == 1 << k
    wanted = model(points, k)
    assert [round(row["from_x"] * unit) >> k for row in rows] == sorted(wanted)
    for row in rows:
        assert round(row["from_x"] * unit) % width == 0
        column = wanted[round(row["from_x"] * unit) >> k]
        for name in ("first", "last", "min", "max"):
            x, y = row[f"{name}_x"], row[f"{name}_y"]
            if column[name] is None:
                assert math.isnan(x), name
                assert math.isnan(y), name
            else:
                assert (x, y) == (column[name][0] / unit, column[name][1]), name
        assert row["sum_y"] == pytest.approx(column["sum"], rel=1e-9, abs=1e285)
        assert column["counts"] == (
            row["finite_count"], row["nan_count"], row["positive_infinity_count"],
            row["negative_infinity_count"],
        )  # fmt: skip


def width_of(row: dict[str, Any], unit: int) -> int:
    return round((row["to_x"] - row["from_x"]) * unit)


def widened(points: list[tuple[int, int, float]], low: int, high: int, width: int) -> list[Any]:
    """Those in the columns that [low, high] touches."""
    first, last = low // width * width, (high // width + 1) * width
    return [point for point in points if first <= point[0] < last]
