"""From the query service's columns to the curves of a chart.

All runs of one chart share their columns, as a chart library wants them. Where every column
holds one point (few points, or zoomed in), the curves are exact; where it holds many, a curve's
value is their mean, or the smoothed curve at the last of them, and its range their minimum and
maximum; x is right to half a column, which is less than a pixel. A group of runs is a curve like
one run: the mean over its runs, and the band about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = Mapping[str, NDArray[Any]]
"""Columns of buckets: float64[rows] each, and "run", int64[rows]."""

ODD_KINDS = ("nan", "positive_infinity", "negative_infinity")


_COUNTS = ("finite_count", *(f"{kind}_count" for kind in ODD_KINDS))
_SHARED = ("from_x", "first_x", "last_x", *_COUNTS)


@dataclass(frozen=True)
class Odd:
    """Points that no line can show: how many, and in which columns."""

    columns: NDArray[np.int64]
    count: int


@dataclass(frozen=True)
class Curve:
    """One run, or group of runs, in one chart. Arrays are float64[columns]; NaN: no finite point
    there."""

    run: str
    # Mean of the column's finite points, or smoothed if that was asked for.
    values: Floats
    # The same without smoothing; of a group `values` themselves.
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
    # Points that it stands for.
    points: int = 0


def charts(table: pa.Table, paths: Sequence[str], runs: Sequence[str]) -> list[Chart]:
    """A chart for each of `paths` with points in `table` (columns of FetchChart), in that order;
    curves in the order of `runs`, which are labels where the table is of groups."""
    if not table.num_rows:
        return []
    # As plain arrays, once: a thousand runs are sliced out of them below.
    columns = {name: floats(table, name) for name in _SHARED} | _values(table)
    path_names, path_codes = coded(table["path"])
    run_names, run_codes = coded(table["group" if "group" in table.schema.names else "run"])
    by_path = dict(_split(columns | {"run": run_codes}, path_codes, path_names))
    return [_chart(path, by_path[path], run_names, runs) for path in paths if path in by_path]


def groups(table: pa.Table) -> dict[str, int]:
    """Labels of the groups that have points, in their order, with how many runs have some at
    once."""
    labels, places = coded(table["group"])
    runs = np.zeros(len(labels))
    np.maximum.at(runs, places, floats(table, "run_count"))
    return {labels[place]: int(runs[place]) for place in sorted(set(places.tolist()))}


def _values(table: pa.Table) -> dict[str, Floats]:
    """raw, value, low and high of each row; NaN without finite points."""
    if "group" in table.schema.names:
        mean, low, high = (floats(table, name) for name in ("mean_y", "low_y", "high_y"))
        # Without a band it is as thin as its curve.
        low, high = np.where(np.isnan(low), mean, low), np.where(np.isnan(high), mean, high)
        return {"raw": mean, "value": mean, "low": low, "high": high}
    finite, total, low, high = (
        floats(table, name) for name in ("finite_count", "sum_y", "min_y", "max_y")
    )
    some = finite > 0
    low, high = np.where(some, low, np.nan), np.where(some, high, np.nan)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = np.where(some, total / finite, np.nan)
        # A sum of huge values overflows though each of them is finite.
        mean = np.where(some & ~np.isfinite(mean), low / 2 + high / 2, mean)
    # Rounding of the sum must not push one value, or the mean of equal ones, off itself.
    raw = np.clip(mean, low, high)
    value = floats(table, "smoothed_y") if "smoothed_y" in table.schema.names else raw
    return {"raw": raw, "value": value, "low": low, "high": high}


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


def floats(table: pa.Table, column: str) -> Floats:
    """float64[rows]; null is NaN."""
    numbers = table[column].cast(pa.float64()).to_numpy()
    return np.asarray(numbers, dtype=np.float64)


def _chart(path: str, rows: Rows, run_names: Sequence[str], runs: Sequence[str]) -> Chart:
    starts = rows["from_x"]
    columns = np.unique(starts)
    x = _positions(np.searchsorted(columns, starts), rows, len(columns))
    by_run = dict(_split(rows, rows["run"], run_names))
    curves = [_curve(run, by_run[run], columns) for run in dict.fromkeys(runs) if run in by_run]
    return Chart(path, x, tuple(curves), int(sum(rows[name].sum() for name in _COUNTS)))


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


def _curve(run: str, rows: Rows, columns: Floats) -> Curve:
    places = np.searchsorted(columns, rows["from_x"])

    def spread(values: Floats, empty: float = np.nan) -> Floats:
        full = np.full(len(columns), empty)
        full[places] = values
        return full

    odd: dict[str, Odd] = {}
    for kind in ODD_KINDS:
        count = rows[f"{kind}_count"]
        if (total := int(count.sum())) > 0:
            odd[kind] = Odd(np.sort(places[count > 0]).astype(np.int64), total)
    return Curve(
        run=run,
        values=spread(rows["value"]),
        raw=spread(rows["raw"]),
        low=spread(rows["low"]),
        high=spread(rows["high"]),
        counts=spread(rows["finite_count"], 0.0),
        odd=odd,
    )
