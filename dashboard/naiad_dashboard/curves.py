"""From the query service's M4 buckets to curves on the columns of a chart.

All runs of one chart share their columns, as a chart library wants them: column = bucket.
Where every bucket holds one point (few points, or zoomed in), the curves are exact; where
it holds many, a curve's value is their mean and its range their minimum and maximum, and x
is right to half a bucket, which is less than a pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from naiad_dashboard.smoothing import Floats, smooth

Rows = Mapping[str, NDArray[Any]]
"""Columns of buckets: float64[rows] each, and "run", int64[rows]."""

ODD_KINDS = ("nan", "positive_infinity", "negative_infinity")


_COLUMNS = (
    *("from_x", "first_x", "last_x", "min_y", "max_y", "sum_y", "finite_count"),
    *(f"{kind}_count" for kind in ODD_KINDS),
)


@dataclass(frozen=True)
class Odd:
    """Points that no line can show: how many, and in which columns."""

    columns: NDArray[np.int64]
    count: int


@dataclass(frozen=True)
class Curve:
    """One run in one chart. Arrays are float64[columns]; NaN: no finite point there."""

    run: str
    # Mean of the bucket's finite points, smoothed if that was asked for.
    values: Floats
    # The same without smoothing.
    raw: Floats
    low: Floats
    high: Floats
    # Finite points behind each value.
    counts: Floats
    # By kind (of ODD_KINDS), those that occur.
    odd: Mapping[str, Odd]

    @property
    def is_exact(self) -> bool:
        """Whether each column stands for one value, so that there is no range to show."""
        present = np.isfinite(self.raw)
        return bool(np.array_equal(self.low[present], self.high[present]))

    @property
    def gaps(self) -> NDArray[np.bool_]:
        """Columns where the run has points, but none that is finite: the line breaks."""
        broken = np.zeros(len(self.raw), dtype=np.bool_)
        for odd in self.odd.values():
            broken[odd.columns] = True
        broken &= ~np.isfinite(self.raw)
        return broken


@dataclass(frozen=True)
class Chart:
    """One metric: `x` float64[columns], ascending, and a curve for each run that has it."""

    path: str
    x: Floats
    curves: Sequence[Curve] = field(default_factory=tuple)


def charts(
    buckets: pa.Table, paths: Sequence[str], runs: Sequence[str], *, smoothing: float = 0.0
) -> list[Chart]:
    """A chart for each of `paths` with points in `buckets` (columns of FetchMetricBuckets),
    in that order; curves in the order of `runs`. `smoothing` as in `smooth`."""
    if not buckets.num_rows:
        return []
    # As plain arrays, once: a thousand runs are sliced out of them below.
    columns = {name: _floats(buckets, name) for name in _COLUMNS}
    path_names, path_codes = coded(buckets["path"])
    run_names, run_codes = coded(buckets["run"])
    by_path = dict(_split(columns | {"run": run_codes}, path_codes, path_names))
    return [
        _chart(path, by_path[path], run_names, runs, smoothing) for path in paths if path in by_path
    ]


def coded(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int64]]:
    """The texts that occur in `column`, and for each row the place of its text among them."""
    texts = column.combine_chunks()
    if not pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_encode()
    places = texts.indices.to_numpy(zero_copy_only=False)
    return texts.dictionary.to_pylist(), np.asarray(places, dtype=np.int64)


def _split(
    rows: Rows, codes: NDArray[np.int64], names: Sequence[str]
) -> Iterator[tuple[str, Rows]]:
    """Parts of `rows` by code, the order of rows kept inside each."""
    order = np.argsort(codes, kind="stable")
    moved = {name: values[order] for name, values in rows.items()}
    edges = np.searchsorted(codes[order], np.arange(len(names) + 1)).tolist()
    for name, start, end in zip(names, edges, edges[1:], strict=False):
        if end > start:
            yield name, {column: values[start:end] for column, values in moved.items()}


def _floats(table: pa.Table, column: str) -> Floats:
    """float64[rows]; null is NaN."""
    numbers = table[column].cast(pa.float64()).combine_chunks().to_numpy(zero_copy_only=False)
    return np.asarray(numbers, dtype=np.float64)


def _chart(
    path: str, rows: Rows, run_names: Sequence[str], runs: Sequence[str], smoothing: float
) -> Chart:
    starts = rows["from_x"]
    columns = np.unique(starts)
    x = _positions(np.searchsorted(columns, starts), rows, len(columns))
    by_run = dict(_split(rows, rows["run"], run_names))
    curves = [
        _curve(run, by_run[run], columns, smoothing) for run in dict.fromkeys(runs) if run in by_run
    ]
    return Chart(path, x, tuple(curves))


def _positions(places: NDArray[np.int64], rows: Rows, width: int) -> Floats:
    """Where each column stands: exactly at its finite points' x if they share one, else in
    the middle of them. A column without any stands where the bucket does."""
    first, last = rows["first_x"], rows["last_x"]
    known = np.isfinite(first)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    np.minimum.at(low, places[known], first[known])
    np.maximum.at(high, places[known], last[known])
    start = np.zeros(width)
    start[places] = rows["from_x"]
    bare = low > high
    low, high = np.where(bare, start, low), np.where(bare, start, high)
    return np.where(low == high, low, low + (high - low) / 2)


def _curve(run: str, rows: Rows, columns: Floats, smoothing: float) -> Curve:
    places = np.searchsorted(columns, rows["from_x"])

    def spread(values: Floats, empty: float = np.nan) -> Floats:
        full = np.full(len(columns), empty)
        full[places] = values
        return full

    finite = rows["finite_count"]
    some = finite > 0
    low = np.where(some, rows["min_y"], np.nan)
    high = np.where(some, rows["max_y"], np.nan)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = np.where(some, rows["sum_y"] / finite, np.nan)
        # A sum of huge values overflows though each of them is finite.
        mean = np.where(some & ~np.isfinite(mean), low / 2 + high / 2, mean)
    # Rounding of the sum must not push one value, or the mean of equal ones, off itself.
    raw = spread(np.clip(mean, low, high))
    counts = spread(np.where(some, finite, 0.0), 0.0)
    odd: dict[str, Odd] = {}
    for kind in ODD_KINDS:
        count = rows[f"{kind}_count"]
        if (total := int(count.sum())) > 0:
            odd[kind] = Odd(np.sort(places[count > 0]).astype(np.int64), total)
    return Curve(
        run=run,
        values=smooth(raw, counts, smoothing),
        raw=raw,
        low=spread(low),
        high=spread(high),
        counts=counts,
        odd=odd,
    )
