"""Smoothed curves at chosen places, from points or from columns that stand for several.

Each method is a weighted mean of points, so a point's weight may also be how many it stands for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

# An exponential average forgets by thousandths of the chart's range.
_PARTS = 1000
# Its heaviest weight of the past, for one thousandth.
_HEAVIEST = 0.999
# What weighs less than e**-_FAINT is left out.
_FAINT = 100.0
# A Gaussian ends after so many standard deviations, where its weight is e**-32.
_WIDEST = 8.0
_WEIGHTS_AT_ONCE = 15_000


@dataclass(frozen=True, slots=True)
class Smoothing:
    """`kind` is ema, mean or gaussian; `amount` is what its request says."""

    kind: str
    amount: float

    def rate(self, span: float) -> float:
        """By what an exponential average forgets: weights are exp(-rate * distance). `span` is
        the range of x."""
        if not span:
            return 0.0
        weight = min(math.sqrt(self.amount), _HEAVIEST)
        return -math.log(weight) * _PARTS / span

    def reach(self, span: float) -> tuple[float, float]:
        """How far before and after a place points still count there."""
        match self.kind:
            case "ema":
                return (_FAINT / self.rate(span) if span else 0.0), 0.0
            case "mean":
                return self.amount / 2, self.amount / 2
            case _:
                return _WIDEST * self.amount, _WIDEST * self.amount

    def at(self, places: Floats, x: Floats, y: Floats, count: Floats, span: float) -> Floats:
        """The smoothed curve at `places`, ascending, of points at `x`, ascending, with values
        `y`, all finite, each of which stands for `count`; NaN where nothing is near."""
        if not len(x):
            return np.full(len(places), np.nan)
        # Of huge values the sums would not be finite.
        scale = float(np.abs(y).max()) or 1.0
        with np.errstate(invalid="ignore", divide="ignore", under="ignore"):
            match self.kind:
                case "ema":
                    found = _ema(places, x, y / scale, count, self.rate(span))
                case "mean":
                    found = _mean(places, x, y / scale, count, self.amount / 2)
                case _:
                    found = _gaussian(places, x, y / scale, count, self.amount)
            return found * scale


def _ema(places: Floats, x: Floats, y: Floats, count: Floats, rate: float) -> Floats:
    """At a place all points up to it count, by their distance from it."""
    edges = np.concatenate([[0], np.searchsorted(x, places, side="right")])
    inside = slice(0, int(edges[-1]))
    # What comes between a place and the one before is weighed from there, and carried on.
    near = np.repeat(places, np.diff(edges))
    weights = count[inside] * np.exp(-rate * (near - x[inside]))
    sums = _between(weights * y[inside], edges).tolist()
    counts = _between(weights, edges).tolist()
    kept = np.exp(-rate * np.diff(places, prepend=places[:1])).tolist()
    found = np.empty(len(places))
    above = below = 0.0
    for number, keep in enumerate(kept):
        above = above * keep + sums[number]
        below = below * keep + counts[number]
        found[number] = above / below if below else math.nan
    return found


def _mean(places: Floats, x: Floats, y: Floats, count: Floats, half: float) -> Floats:
    """Of the points within `half` on either side."""
    first = np.searchsorted(x, places - half, side="left")
    end = np.searchsorted(x, places + half, side="right")
    # Between any two neighbours of these edges is summed once; differences of running sums would
    # lose small values after a huge one.
    edges, which = np.unique(np.concatenate([first, end]), return_inverse=True)
    parts = [_between(values, edges) for values in (count * y, count)]
    first, end = which[: len(places)], which[len(places) :]
    sums, counts = (_spans(part, first, end) for part in parts)
    return np.where(counts > 0, sums / counts, np.nan)


def _gaussian(places: Floats, x: Floats, y: Floats, count: Floats, sigma: float) -> Floats:
    first = np.searchsorted(x, places - _WIDEST * sigma, side="left")
    end = np.searchsorted(x, places + _WIDEST * sigma, side="right")
    found = np.empty(len(places))
    begin = 0
    while begin < len(places):
        # So many places at once that their weights, a row for each, are of a size to compute.
        widest = np.maximum.accumulate(end[begin:] - first[begin:])
        fits = widest * np.arange(1, len(widest) + 1) <= _WEIGHTS_AT_ONCE
        rows = slice(begin, begin + max(1, int(fits.sum())))
        near = first[rows, None] + np.arange(int((end[rows] - first[rows]).max()))
        inside = near < end[rows, None]
        near = np.minimum(near, len(x) - 1)
        far = (x[near] - places[rows, None]) / sigma
        weights = np.where(inside, count[near] * np.exp(-0.5 * far * far), 0.0)
        # Without any, zero by zero is NaN.
        found[rows] = (weights * y[near]).sum(axis=1) / weights.sum(axis=1)
        begin = rows.stop
    return found


def _between(values: Floats, edges: Places) -> Floats:
    """Sums of `values` from each of `edges`, ascending, to the next."""
    padded = np.append(values[: edges[-1]], 0.0)
    sums = np.add.reduceat(padded, edges[:-1]) if len(edges) > 1 else np.zeros(0)
    # Where nothing is between, reduceat gives the value that stands there.
    return np.where(np.diff(edges) > 0, sums, 0.0)


def _spans(parts: Floats, first: Places, end: Places) -> Floats:
    """Sums of `parts` from `first` up to `end`, which may overlap."""
    padded = np.append(parts, 0.0)
    sums = np.add.reduceat(padded, np.stack([first, end], axis=1).ravel())[::2]
    return np.where(end > first, sums, 0.0)
