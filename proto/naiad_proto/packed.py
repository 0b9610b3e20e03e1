"""Columns of charts as they travel, packed: what enters a stream in any order leaves as whole
rows in order.

A chart of a thousand runs has a million columns, whose rows would be twice as large as what is
in them: where columns begin and end follows from a number, and an x is near its column's
beginning. Where columns hold hardly more than a point each, points are sent instead, and made
columns of by whoever receives them. Of `naiad.v1.PackedBuckets`, which says what the numbers are,
this is the other half; the schemas are documented there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Counts = npt.NDArray[np.uint64]
_Rows = dict[str, npt.NDArray[Any]]

FLOATS = (
    "from_x", "to_x", "first_x", "first_y", "last_x", "last_y", "min_x", "min_y", "max_x",
    "max_y", "sum_y",
)  # fmt: skip
COUNTS = ("finite_count", "nan_count", "positive_infinity_count", "negative_infinity_count")
_DRAWN = FLOATS[2:]
# Rows of a stretch in order, on average, below which rows are sorted one by one.
_FEW = 16


def wide(k: int) -> bool:
    """Whether offsets in a column of 2**k units, and counts of what it holds, take 64 bits."""
    return k >= 32


def columns_schema(k: int) -> pa.Schema:
    small = pa.uint64() if wide(k) else pa.uint32()
    return pa.schema(
        [("series", pa.uint32()), ("column", pa.uint32())]
        + [(name, small if name.endswith("_x") else pa.float64()) for name in _DRAWN]
        + [(name, small) for name in COUNTS]
    )


POINTS = pa.schema([("series", pa.uint32()), ("x", pa.uint64()), ("y", pa.float64())])


@dataclass(frozen=True, slots=True)
class Grid:
    """Columns of 2**k units, `unit` of them being 1 on the axis; `first` is the number of the
    column from which the numbers in rows count."""

    k: int
    first: int
    unit: int


@dataclass(frozen=True, slots=True)
class Unpacked:
    """Rows in order; all arrays have a row's length. x is in units of the axis; where a column
    has no finite point, its x and y are NaN."""

    series: npt.NDArray[np.uint32]
    floats: Mapping[str, Floats]
    counts: Mapping[str, Counts]


def turns_of(places: Sequence[int], paths: int) -> npt.NDArray[np.int64]:
    """Of each series of `naiad.v1.PackedBuckets` its turn where rows go by the places of runs in
    the question first, then by paths."""
    found = np.asarray(places, np.int64)[None, :] * paths + np.arange(paths)[:, None]
    return found.reshape(-1)


def unpacked(table: pa.Table, grid: Grid, turns: npt.NDArray[np.int64]) -> Unpacked:
    """`table`: rows as `columns_schema` or `POINTS`, in any order, no two of one column or x.
    The answer's are in the order of series that `turns` says, and of x. Raises ValueError for
    another table."""
    if table.schema.equals(POINTS):
        return _of_points(_in_order(table, turns), grid)
    if table.schema.equals(columns_schema(grid.k)):
        return _of_columns(_in_order(table, turns), grid)
    raise ValueError(f"packed buckets can't have the columns {table.schema.names}")


def _in_order(table: pa.Table, turns: npt.NDArray[np.int64]) -> _Rows:
    """Rows mostly come in long stretches that are in order. To put these side by side costs no
    more than to put batches side by side; to sort rows does."""
    batches = [
        [np.asarray(column) for column in batch.columns]
        for batch in table.to_batches()
        if batch.num_rows
    ]
    if not batches:
        return {name: np.asarray(table.column(name)) for name in table.schema.names}
    begins, ends, of_batch, first, last, turn = [], [], [], [], [], []
    for number, (series, position, *_) in enumerate(batches):
        breaks = (series[1:] != series[:-1]) | (position[1:] <= position[:-1])
        begin = np.append(0, np.flatnonzero(breaks) + 1)
        end = np.append(begin[1:], len(series))
        begins.append(begin)
        ends.append(end)
        of_batch.append(np.full(len(begin), number))
        first.append(position[begin])
        last.append(position[end - 1])
        turn.append(turns[series[begin]])
    firsts, lasts, by_turn = np.concatenate(first), np.concatenate(last), np.concatenate(turn)
    order = np.lexsort((firsts, by_turn))
    firsts, lasts, by_turn = firsts[order], lasts[order], by_turn[order]
    names = table.schema.names
    overlap = ((by_turn[1:] == by_turn[:-1]) & (firsts[1:] <= lasts[:-1])).any()
    if overlap or table.num_rows < _FEW * len(order):
        rows = [np.concatenate(columns) for columns in zip(*batches, strict=True)]
        order = np.lexsort((rows[1], turns[rows[0]]))
        return {name: column[order] for name, column in zip(names, rows, strict=True)}
    parts = [
        (number, slice(begin, end))
        for number, begin, end in zip(
            np.concatenate(of_batch)[order].tolist(),
            np.concatenate(begins)[order].tolist(),
            np.concatenate(ends)[order].tolist(),
            strict=True,
        )
    ]
    return {
        name: np.concatenate([batches[number][column][part] for number, part in parts])
        for column, name in enumerate(names)
    }


def _of_columns(rows: _Rows, grid: Grid) -> Unpacked:
    begins = (rows["column"].astype(np.int64) + grid.first) << grid.k
    exact = not len(begins) or int(begins.max()) < 1 << 52
    if exact:
        # Floats are as exact there, and turning numbers into them twice is half of the work.
        begins = begins.astype(np.float64)
    floats = _edges(begins, grid)
    for name in _DRAWN:
        values = rows[name]
        if name.endswith("_x"):
            if exact and not wide(grid.k):
                values = np.add(begins, values)
                np.true_divide(values, grid.unit, out=values)
            else:
                values = (begins + values.astype(np.int64)) / grid.unit
        floats[name] = values
    counts = {name: _whole(rows[name]) for name in COUNTS}
    empty = counts["finite_count"] == 0
    if empty.any():
        for name in _DRAWN[:-1]:
            floats[name] = np.where(empty, np.nan, floats[name])
    return Unpacked(rows["series"], floats, counts)


def _of_points(rows: _Rows, grid: Grid) -> Unpacked:
    series, y = rows["series"], rows["y"]
    x = rows["x"].astype(np.int64) + (grid.first << grid.k)
    column = x >> grid.k
    starts = _starts(series, column)
    floats = _edges(column[starts] << grid.k, grid)
    fine = np.isfinite(y)
    counts = {
        "finite_count": _counted(fine, starts),
        "nan_count": _counted(np.isnan(y), starts),
        "positive_infinity_count": _counted(y == np.inf, starts),
        "negative_infinity_count": _counted(y == -np.inf, starts),
    }
    some = counts["finite_count"] > 0
    if fine.all():
        drawn = _m4(x, y, starts)
    else:
        drawn = _m4(x[fine], y[fine], _starts(series[fine], column[fine]))
    for name, values in drawn.items():
        if name.endswith("_x"):
            values = values / grid.unit
        if len(values) < len(starts):
            spread = np.full(len(starts), 0.0 if name == "sum_y" else np.nan)
            spread[some] = values
            values = spread
        floats[name] = values
    return Unpacked(series[starts], floats, counts)


def _edges(begins: npt.NDArray[Any], grid: Grid) -> dict[str, Floats]:
    return {"from_x": begins / grid.unit, "to_x": (begins + (1 << grid.k)) / grid.unit}


def _m4(x: Integers, y: Floats, starts: Integers) -> dict[str, npt.NDArray[Any]]:
    """Of groups that begin at `starts`; M4 as in `naiad_store.selects.m4`, of points in order."""
    # As many as there are groups, and there may be none.
    ends = np.append(starts[1:], len(x))[: len(starts)] - 1
    if len(starts) == len(x):
        least = most = starts
        total = y
    else:
        group = np.repeat(np.arange(len(starts)), ends - starts + 1)
        least = _earliest(y == np.minimum.reduceat(y, starts)[group], group)
        most = _earliest(y == np.maximum.reduceat(y, starts)[group], group)
        total = np.add.reduceat(y, starts)
    made: dict[str, npt.NDArray[Any]] = {}
    for name, where in (("first", starts), ("last", ends), ("min", least), ("max", most)):
        made[f"{name}_x"], made[f"{name}_y"] = x[where], y[where]
    return made | {"sum_y": total}


def _earliest(those: npt.NDArray[np.bool_], group: Integers) -> Integers:
    found = np.flatnonzero(those)
    return found[_starts(group[found])]


def _starts(*columns: npt.NDArray[Any]) -> Integers:
    """Where any of them changes."""
    changed = np.ones(len(columns[0]), bool)
    if len(changed):
        changed[1:] = False
        for column in columns:
            changed[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(changed)


def _counted(those: npt.NDArray[np.bool_], starts: Integers) -> Counts:
    if not len(starts) or not those.any():
        return np.zeros(len(starts), np.uint64)
    return np.add.reduceat(those, starts, dtype=np.uint64)


def _whole(values: npt.NDArray[Any]) -> Counts:
    # Mostly there is nothing but finite points: zeros that are not even written.
    return values.astype(np.uint64) if values.any() else np.zeros(len(values), np.uint64)
