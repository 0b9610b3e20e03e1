"""What charts show, by plain loops over all points: the definitions of docs/charts.md."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Point(NamedTuple):
    """Place on x in units of the axis, micro-step, value."""

    x: float
    step: int
    y: float


Line = Sequence[Point]


def finite(line: Line) -> list[Point]:
    return [point for point in line if math.isfinite(point.y)]


def smoothed(line: Line, at: float, kind: str, amount: float, span: float) -> tuple[float, float]:
    """The value at x = `at`, and how large what it is a mean of is."""
    x = np.array([point.x for point in finite(line)])
    y = np.array([point.y for point in finite(line)], np.longdouble)
    far = at - x
    if kind == "ema":
        lost = -np.log(min(np.sqrt(amount), 0.999)) * 1000 * far / (span or 1.0)
        weights = np.where((far >= 0) & (lost <= 100), np.exp(-np.maximum(lost, 0)), 0)
    elif kind == "mean":
        weights = ((x >= at - amount / 2) & (x <= at + amount / 2)).astype(float)
    else:
        weights = np.where(np.abs(far) <= 8 * amount, np.exp(-0.5 * (far / amount) ** 2), 0)
    total = weights.sum()
    return float((weights * y).sum() / total), float((weights * abs(y)).sum() / total)


# Of the store in one of the axis, where there are any.
UNITS = {"step": 1_000_000, "time": 1000, "relative_time": 1000}


def columns(line: Line, width: float, axis: str) -> dict[int, list[Point]]:
    """Points by number of their column, in the order of x."""
    found = defaultdict(list)
    unit = UNITS.get(axis)
    for point in sorted(line):
        # Quotients of what is no power of two would be off at the edges.
        exact = (round(point.x * unit), round(width * unit)) if unit else (point.x, width)
        found[math.floor(exact[0] // exact[1])].append(point)
    return found


class BandRow(NamedTuple):
    mean: float
    low: float
    high: float
    runs: int
    # Finite, NaN, +Inf, -Inf.
    counts: tuple[int, int, int, int]


def band_rows(
    lines: Sequence[Line],
    width: float,
    axis: str,
    band: str,
    quantiles: tuple[float, float] = (0.25, 0.75),
    values: Sequence[Mapping[int, float]] | None = None,
) -> dict[int, BandRow]:
    """By number of the column, of one group. `values`: of each line its smoothed curve."""
    inside: dict[int, list[tuple[int, list[Point]]]] = defaultdict(list)
    for number, line in enumerate(lines):
        for column, points in columns(line, width, axis).items():
            inside[column].append((number, points))
    answer = {}
    for column, parts in inside.items():
        means, everything = [], []
        for number, points in parts:
            fine = [point.y for point in finite(points)]
            if fine:
                means.append(float(np.mean(fine)) if values is None else values[number][column])
                everything += fine if values is None else [values[number][column]]
        every = np.array([point.y for _, points in parts for point in points])
        counts = (
            int(np.isfinite(every).sum()), int(np.isnan(every).sum()),
            int((every == np.inf).sum()), int((every == -np.inf).sum()),
        )  # fmt: skip
        mean = low = high = math.nan
        if means:
            mean = float(np.mean(means))
            if band == "min_max":
                low, high = min(everything), max(everything)
            elif band == "std":
                low, high = mean - float(np.std(means)), mean + float(np.std(means))
            elif band == "quantiles":
                low, high = (float(edge) for edge in np.quantile(means, quantiles))
        answer[column] = BandRow(mean, low, high, len(means), counts)
    return answer
