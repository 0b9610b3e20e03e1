"""From the query service's M4 buckets to curves on the columns of a chart.

All runs of one chart share their columns, as a chart library wants them: column = bucket.
Where every bucket holds one point (few points, or zoomed in), the curves are exact; where
it holds many, a curve's value is their mean and its range their minimum and maximum, and x
is right to half a bucket, which is less than a pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from naiad_dashboard.smoothing import Floats, smooth

ODD_KINDS = ("nan", "positive_infinity", "negative_infinity")


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
    by_path = dict(_split(buckets, "path"))
    found: list[Chart] = []
    for path in paths:
        if path in by_path:
            found.append(_chart(path, by_path[path], runs, smoothing))
    return found


def _split(table: pa.Table, column: str) -> Iterator[tuple[str, pa.Table]]:
    """Parts of `table` by the strings of `column`, the order of rows kept inside each."""
    if not table.num_rows:
        return
    names = table[column].combine_chunks()
    if not pa.types.is_dictionary(names.type):
        names = names.dictionary_encode()
    codes = np.asarray(names.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
    for code, name in enumerate(names.dictionary.to_pylist()):
        rows = np.flatnonzero(codes == code)
        if len(rows):
            yield name, table.take(pa.array(rows))


def _floats(table: pa.Table, column: str) -> Floats:
    """float64[rows]; null is NaN."""
    numbers = table[column].cast(pa.float64()).combine_chunks().to_numpy(zero_copy_only=False)
    return np.asarray(numbers, dtype=np.float64)


def _chart(path: str, table: pa.Table, runs: Sequence[str], smoothing: float) -> Chart:
    starts = _floats(table, "from_x")
    columns = np.unique(starts)
    x = _positions(np.searchsorted(columns, starts), table, len(columns))
    by_run = dict(_split(table, "run"))
    curves = [
        _curve(run, by_run[run], columns, smoothing) for run in dict.fromkeys(runs) if run in by_run
    ]
    return Chart(path, x, tuple(curves))


def _positions(places: NDArray[np.int64], table: pa.Table, width: int) -> Floats:
    """Where each column stands: exactly at its finite points' x if they share one, else in
    the middle of them. A column without any stands where the bucket does."""
    first, last = _floats(table, "first_x"), _floats(table, "last_x")
    known = np.isfinite(first)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    np.minimum.at(low, places[known], first[known])
    np.maximum.at(high, places[known], last[known])
    start = np.zeros(width)
    start[places] = _floats(table, "from_x")
    bare = low > high
    low, high = np.where(bare, start, low), np.where(bare, start, high)
    return np.where(low == high, low, low + (high - low) / 2)


def _curve(run: str, table: pa.Table, columns: Floats, smoothing: float) -> Curve:
    places = np.searchsorted(columns, _floats(table, "from_x"))

    def spread(values: Floats, empty: float = np.nan) -> Floats:
        full = np.full(len(columns), empty)
        full[places] = values
        return full

    finite = _floats(table, "finite_count")
    some = finite > 0
    low = np.where(some, _floats(table, "min_y"), np.nan)
    high = np.where(some, _floats(table, "max_y"), np.nan)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = np.where(some, _floats(table, "sum_y") / finite, np.nan)
        # A sum of huge values overflows though each of them is finite.
        mean = np.where(some & ~np.isfinite(mean), low / 2 + high / 2, mean)
    # Rounding of the sum must not push one value, or the mean of equal ones, off itself.
    raw = spread(np.clip(mean, low, high))
    counts = spread(np.where(some, finite, 0.0), 0.0)
    odd: dict[str, Odd] = {}
    for kind in ODD_KINDS:
        count = _floats(table, f"{kind}_count")
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
