"""Exponential smoothing of curves that are already cut into buckets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def smooth(values: Floats, counts: Floats, weight: float) -> Floats:
    """The moving average of `values` in which a point counts `weight` times the next one's.

    values: float64[n], NaN where a bucket has no finite point; counts: float64[n], how many
    points each value is the mean of. A bucket of k points moves the average as k points of
    its mean would, so a curve looks alike at any zoom. The average starts at the first
    value instead of at zero. NaN stays NaN and moves nothing. weight in [0, 1); 0 returns
    the values as they are.
    """
    if not 0.0 <= weight < 1.0:
        raise ValueError(f"smoothing weight {weight} is not in [0, 1)")
    smoothed = values.copy()
    if weight == 0.0:
        return smoothed
    present = np.flatnonzero(np.isfinite(values) & (counts > 0))
    average, seen = 0.0, 0.0
    for place in present.tolist():
        kept = weight ** float(counts[place])
        average = kept * average + (1.0 - kept) * float(values[place])
        seen = kept * seen + (1.0 - kept)
        smoothed[place] = average / seen
    return smoothed
