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
    weights = []
    for point in finite(line):
        far = at - point.x
        if kind == "ema":
            if far < 0:
                continue
            lost = far / span * 1000 * -math.log(min(math.sqrt(amount), 0.999)) if span else 0.0
            if lost > 100:
                continue
            weight = math.exp(-lost)
        elif kind == "mean":
            if not at - amount / 2 <= point.x <= at + amount / 2:
                continue
            weight = 1.0
        else:
            if abs(far) > 8 * amount:
                continue
            weight = math.exp(-0.5 * (far / amount) ** 2)
        weights.append((weight, point.y))
    total = math.fsum(weight for weight, _ in weights)
    value = math.fsum(weight * y for weight, y in weights) / total
    return value, math.fsum(weight * abs(y) for weight, y in weights) / total


def columns(line: Line, width: float) -> dict[int, list[Point]]:
    """Points by number of their column, in the order of x."""
    found = defaultdict(list)
    for point in sorted(line):
        found[math.floor(point.x / width)].append(point)
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
    band: str,
    quantiles: tuple[float, float] = (0.25, 0.75),
    values: Sequence[Mapping[int, float]] | None = None,
) -> dict[int, BandRow]:
    """By number of the column, of one group. `values`: of each line its smoothed curve."""
    inside: dict[int, list[tuple[int, list[Point]]]] = defaultdict(list)
    for number, line in enumerate(lines):
        for column, points in columns(line, width).items():
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
