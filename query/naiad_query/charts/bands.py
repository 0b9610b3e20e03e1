"""Curves of groups: of each column the mean over the group's runs, and a band about it.

A run's value in a column is the mean of its finite points there, or, smoothed, its smoothed
curve at the last of them. So each run counts once, however often it logged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from naiad_query.charts.groups import Groups
from naiad_query.charts.smoothing import Floats, Places
from naiad_query.naming import WORDS, words

COUNTS = ("finite_count", "nan_count", "positive_infinity_count", "negative_infinity_count")
# Above so many (group, path, column) that may occur they are sorted rather than counted out.
_DENSE = 20_000_000


@dataclass(frozen=True, slots=True)
class Band:
    """`kind` is none, min_max, std or quantiles."""

    kind: str = "none"
    quantiles: tuple[float, float] = (0.25, 0.75)


def run_means(columns: pa.Table) -> Floats:
    """Mean of the finite points of each row of M4 columns; NaN without any."""
    count, total, low, high = (
        columns[name].to_numpy() for name in ("finite_count", "sum_y", "min_y", "max_y")
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(count > 0, total / count, np.nan)
        # A sum of huge values overflows though each of them is finite.
        mean = np.where((count > 0) & ~np.isfinite(mean), low / 2 + high / 2, mean)
        return np.clip(mean, low, high)


def bands(
    columns: pa.Table, groups: Groups, band: Band, width: float, smoothed: Floats | None
) -> pa.Table:
    """A row for each group, path and column that has points, in this order. `columns` are rows as
    `naiad_store.selects.buckets.BUCKETS`, `width` is that of a column."""
    path_column = words(columns["path"])
    paths, path_of = path_column.dictionary, path_column.indices.to_numpy().astype(np.int64)
    group_of = groups.of[columns["place"].to_numpy()]
    from_x = columns["from_x"].to_numpy()
    start = float(from_x.min()) if len(from_x) else 0.0
    number = np.rint((from_x - start) / width).astype(np.int64) if len(from_x) else path_of
    shape = (len(groups.labels), max(1, len(paths)), int(number.max(initial=0)) + 1)
    keys, row_of = _numbered(
        np.ravel_multi_index((group_of, path_of, number), shape), int(np.prod(shape))
    )
    group, path, _ = np.unravel_index(keys, shape)
    value = run_means(columns) if smoothed is None else smoothed
    fine = np.isfinite(value)
    rows = len(keys)
    row_of_fine, value = row_of[fine], value[fine]
    runs = np.bincount(row_of_fine, minlength=rows).astype(np.float64)
    mean = _mean(row_of_fine, value, runs)
    low, high = _band(band, columns, fine, smoothed is None, row_of_fine, value, runs, mean)
    first = np.zeros(rows, np.int64)
    first[row_of[::-1]] = np.arange(len(row_of))[::-1]
    take = pa.array(first)
    empty = np.isnan(mean)
    found: dict[str, Any] = {
        "group": pa.DictionaryArray.from_arrays(
            pa.array(group, pa.int32()), pa.array(groups.labels, pa.string())
        ).cast(WORDS),
        **{name: values.take(pa.array(group)) for name, values in groups.values.items()},
        "path": pa.DictionaryArray.from_arrays(pa.array(path, pa.int32()), paths),
        "from_x": columns["from_x"].combine_chunks().take(take),
        "to_x": columns["to_x"].combine_chunks().take(take),
        "first_x": _outermost(np.minimum, row_of, columns["first_x"], rows),
        "last_x": _outermost(np.maximum, row_of, columns["last_x"], rows),
        "mean_y": pa.array(mean, mask=empty),
        "low_y": pa.array(low, mask=empty | np.isnan(low)),
        "high_y": pa.array(high, mask=empty | np.isnan(high)),
        "run_count": pa.array(runs.astype(np.uint64)),
    }
    for name in COUNTS:
        total = np.bincount(row_of, weights=columns[name].to_numpy(), minlength=rows)
        found[name] = pa.array(total.astype(np.uint64))
    return pa.table(found)


def _numbered(keys: Places, size: int) -> tuple[Places, Places]:
    """Those that occur, ascending, and for each its place among them."""
    if size > _DENSE:
        found, places = np.unique(keys, return_inverse=True)
        return found, places
    there = np.zeros(size, np.bool_)
    there[keys] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[keys]


def _outermost(which: np.ufunc, row_of: Places, x: pa.ChunkedArray, rows: int) -> pa.Array:
    """Of the finite points of each row the first or last x; null without any."""
    values = x.to_numpy()
    fine = np.isfinite(values)
    found = np.full(rows, math.inf if which is np.minimum else -math.inf)
    which.at(found, row_of[fine], values[fine])
    return pa.array(found, mask=~np.isfinite(found))


def _mean(row_of: Places, value: Floats, runs: Floats) -> Floats:
    # Divided before they are added: a sum of huge values may not be finite.
    mean = np.bincount(row_of, weights=value / runs[row_of], minlength=len(runs))
    return np.where(runs > 0, mean, np.nan)


def _band(
    band: Band,
    columns: pa.Table,
    fine: NDArray[np.bool_],
    of_points: bool,
    row_of: Places,
    value: Floats,
    runs: Floats,
    mean: Floats,
) -> tuple[Floats, Floats]:
    """Lower and upper edge; NaN where there is none."""
    low, high = np.full(len(runs), np.nan), np.full(len(runs), np.nan)
    match band.kind:
        case "min_max":
            # Of all points, where the curve is made of points.
            least = columns["min_y"].to_numpy()[fine] if of_points else value
            most = columns["max_y"].to_numpy()[fine] if of_points else value
            low, high = np.full(len(runs), np.inf), np.full(len(runs), -np.inf)
            np.minimum.at(low, row_of, least)
            np.maximum.at(high, row_of, most)
        case "std":
            with np.errstate(over="ignore", invalid="ignore"):
                away = (value - mean[row_of]) ** 2
                std = np.sqrt(np.bincount(row_of, weights=away, minlength=len(runs)) / runs)
                low, high = mean - std, mean + std
        case "quantiles":
            order = np.lexsort((value, row_of))
            ends = np.cumsum(runs).astype(np.int64)
            some = runs > 0
            first, last = ends[some] - runs[some].astype(np.int64), ends[some] - 1
            for edge, share in zip((low, high), band.quantiles, strict=True):
                edge[some] = _quantile(value[order], first, last, share)
    return low, high


def _quantile(ordered: Floats, first: Places, last: Places, share: float) -> Floats:
    """Of each part [first, last] of `ordered`, between its two nearest values (numpy's own)."""
    place = share * (last - first).astype(np.float64)
    below = np.floor(place).astype(np.int64)
    part = place - below
    lower: Floats = ordered[first + below]
    upper: Floats = ordered[np.minimum(first + below + 1, last)]
    return lower * (1 - part) + upper * part
