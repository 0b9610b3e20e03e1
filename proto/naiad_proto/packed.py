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

FLOATS = (
    "from_x", "to_x", "first_x", "first_y", "last_x", "last_y", "min_x", "min_y", "max_x",
    "max_y", "sum_y",
)  # fmt: skip
COUNTS = ("finite_count", "nan_count", "positive_infinity_count", "negative_infinity_count")
_DRAWN = FLOATS[2:]
_X = tuple(name for name in _DRAWN if name.endswith("_x"))
_Y = tuple(name for name in _DRAWN if not name.endswith("_x"))
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
        return _of_points(_Ordered(table, turns), grid)
    if table.schema.equals(columns_schema(grid.k)):
        return _of_columns(_Ordered(table, turns), grid)
    raise ValueError(f"packed buckets can't have the columns {table.schema.names}")


class _Ordered:
    """The rows of a table in order, column by column.

    Rows mostly come in long stretches that are in order. To put these side by side costs no more
    than to put batches side by side; to sort rows does."""

    def __init__(self, table: pa.Table, turns: npt.NDArray[np.int64]) -> None:
        batches = [batch for batch in table.to_batches() if batch.num_rows]
        self._batches = {
            name: [np.asarray(batch.column(number)) for batch in batches]
            for number, name in enumerate(table.schema.names)
        }
        self.rows = table.num_rows
        self._types = {field.name: np.dtype(field.type.to_pandas_dtype()) for field in table.schema}
        # Of the stretches in order the batch and where in it; or of each row where it is.
        self._parts: list[tuple[int, slice]] = []
        self._order: npt.NDArray[np.int64] | None = None
        if batches:
            self._sort(turns)

    def _sort(self, turns: npt.NDArray[np.int64]) -> None:
        begins, ends, of_batch, first, last, turn = [], [], [], [], [], []
        all_series, all_positions = list(self._batches.values())[:2]
        for number, (series, position) in enumerate(zip(all_series, all_positions, strict=True)):
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
        overlap = ((by_turn[1:] == by_turn[:-1]) & (firsts[1:] <= lasts[:-1])).any()
        if overlap or self.rows < _FEW * len(order):
            series, position = np.concatenate(all_series), np.concatenate(all_positions)
            self._order = np.lexsort((position, turns[series]))
            return
        self._parts = [
            (number, slice(begin, end))
            for number, begin, end in zip(
                np.concatenate(of_batch)[order].tolist(),
                np.concatenate(begins)[order].tolist(),
                np.concatenate(ends)[order].tolist(),
                strict=True,
            )
        ]

    def column(self, name: str, kind: npt.DTypeLike | None = None) -> npt.NDArray[Any]:
        """In order, as numbers of `kind`, otherwise of their own; an array that is nobody
        else's."""
        found = np.empty(self.rows, self._types[name] if kind is None else kind)
        self.put(name, found)
        return found

    def put(self, name: str, out: npt.NDArray[Any]) -> None:
        """The same into an array that is there."""
        batches = self._batches[name]
        if self._order is not None:
            out[:] = np.concatenate(batches)[self._order]
        elif batches:
            parts = [batches[number][part] for number, part in self._parts]
            np.concatenate(parts, out=out, casting="unsafe")

    def most(self, name: str) -> int:
        """The greatest of unsigned numbers, 0 without any."""
        return max((int(batch.max()) for batch in self._batches[name]), default=0)


def _of_columns(rows: _Ordered, grid: Grid) -> Unpacked:
    # To touch memory for the first time is most of what this costs. One block comes in huge pages,
    # in which that costs half as much, and there is no array beside it.
    floats = dict(zip(FLOATS, np.empty((len(FLOATS), rows.rows)), strict=True))
    last = (rows.most("column") + grid.first + 1) << grid.k
    begins: npt.NDArray[Any]
    if last < 1 << 52 and not wide(grid.k):
        # Floats are as exact there, and turning numbers into them twice is half of the work.
        begins = floats["from_x"]
        rows.put("column", begins)
        begins += grid.first
        begins *= 1 << grid.k
        for name in _X:
            rows.put(name, floats[name])
            floats[name] += begins
            floats[name] /= grid.unit
    else:
        begins = (rows.column("column", np.int64) + grid.first) << grid.k
        for name in _X:
            floats[name][:] = (begins + rows.column(name, np.int64)) / grid.unit
    for name in _Y:
        rows.put(name, floats[name])
    np.add(begins, 1 << grid.k, out=floats["to_x"], casting="unsafe")
    floats["to_x"] /= grid.unit
    np.true_divide(begins, grid.unit, out=floats["from_x"])
    # Mostly there is nothing but finite points: zeros that are not even written.
    counts = {
        name: rows.column(name, np.uint64) if rows.most(name) else np.zeros(rows.rows, np.uint64)
        for name in COUNTS
    }
    empty = counts["finite_count"] == 0
    if empty.any():
        for name in _DRAWN[:-1]:
            floats[name][empty] = np.nan
    return Unpacked(rows.column("series"), floats, counts)


def _of_points(rows: _Ordered, grid: Grid) -> Unpacked:
    series, y = rows.column("series"), rows.column("y")
    x = rows.column("x", np.int64)
    x += grid.first << grid.k
    column = x >> grid.k
    starts = _starts(series, column)
    begins = column[starts] << grid.k
    floats = {"from_x": begins / grid.unit, "to_x": (begins + (1 << grid.k)) / grid.unit}
    at = x / grid.unit
    fine = np.isfinite(y)
    if fine.all():
        sizes = np.diff(starts, append=len(y)).astype(np.uint64)
        counts = {name: np.zeros(len(starts), np.uint64) for name in COUNTS}
        counts["finite_count"] = sizes
        return Unpacked(series[starts], floats | _m4(at, y, starts), counts)
    counts = {
        "finite_count": _counted(fine, starts),
        "nan_count": _counted(np.isnan(y), starts),
        "positive_infinity_count": _counted(y == np.inf, starts),
        "negative_infinity_count": _counted(y == -np.inf, starts),
    }
    some = counts["finite_count"] > 0
    for name, values in _m4(at[fine], y[fine], _starts(series[fine], column[fine])).items():
        floats[name] = np.full(len(starts), 0.0 if name == "sum_y" else np.nan)
        floats[name][some] = values
    return Unpacked(series[starts], floats, counts)


def _m4(x: Floats, y: Floats, starts: Integers) -> dict[str, Floats]:
    """Of groups that begin at `starts`; M4 as in `naiad_store.selects.m4`, of points in order."""
    first_x, first_y = x[starts], y[starts]
    made = {"sum_y": first_y.copy()}
    for name in ("first", "last", "min", "max"):
        made[f"{name}_x"], made[f"{name}_y"] = first_x.copy(), first_y.copy()
    # Mostly there is one point in each; only the others are looked at.
    sizes = np.diff(starts, append=len(x))
    several = np.flatnonzero(sizes > 1)
    if not len(several):
        return made
    rows = np.flatnonzero(np.repeat(sizes > 1, sizes))
    x, y, sizes = x[rows], y[rows], sizes[several]
    ends = np.cumsum(sizes)
    begins = ends - sizes
    group = np.repeat(np.arange(len(several)), sizes)
    least = _earliest(y == np.minimum.reduceat(y, begins)[group], group)
    most = _earliest(y == np.maximum.reduceat(y, begins)[group], group)
    for name, where in (("last", ends - 1), ("min", least), ("max", most)):
        made[f"{name}_x"][several], made[f"{name}_y"][several] = x[where], y[where]
    made["sum_y"][several] = np.add.reduceat(y, begins)
    return made


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
