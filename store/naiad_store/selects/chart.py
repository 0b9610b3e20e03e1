"""Points where a chart has them: on x, which is a step, a time or another metric's value."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import pyarrow as pa

from naiad_proto.steps import MAX_MICRO_STEP, MICRO
from naiad_store.selects.buckets import BUCKETS, metric_buckets
from naiad_store.selects.m4 import number_of, ordered
from naiad_store.selects.scope import ALL, PREVIEW, Range, Scope
from naiad_store.store import Store

# Points that one question of several brings together or hands out.
AT_A_TIME = 2_000_000
# Units of the tables in one of the axis.
UNITS: Mapping[str, int] = {"step": MICRO, "time": 1000, "relative_time": 1000}


@dataclass(frozen=True, slots=True)
class FloatGrid:
    """Columns of 2**k on one absolute grid over floating-point numbers. `first` and `last` are
    numbers of columns, both in."""

    k: int
    first: int
    last: int

    @classmethod
    def over(cls, low: float, high: float, columns: int) -> FloatGrid:
        """At least `columns` columns over [low, high], where it has so many numbers, and at most
        about twice as many."""
        width = high / columns - low / columns
        largest = max(abs(low), abs(high))
        k = math.frexp(width)[1] - 1 if width else 0
        # A number of a column stays exact, whatever is added to it.
        k = max(k, math.frexp(largest)[1] - 52, -1000) if largest else max(k, -1000)
        k = min(k, 1000)
        return cls(k, math.floor(math.ldexp(low, -k)), math.floor(math.ldexp(high, -k)))

    @property
    def width(self) -> float:
        return math.ldexp(1.0, self.k)

    @property
    def low(self) -> float:
        return math.ldexp(float(self.first), self.k)

    @property
    def high(self) -> float:
        """Where the last column ends; it is in the next one."""
        return math.ldexp(float(self.last + 1), self.k)


class Placed(NamedTuple):
    """What there is over another metric's values."""

    # Points, and those of them whose step has a finite x.
    points: int
    placed: int
    # Range of x; NaN without any.
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ChartPoints:
    """Points of the metrics `paths` of a scope's runs; `axis` is step, time, relative_time (as in
    `metric_buckets`) or metric: then x is the value of `x_metric` at the same step of the same
    run, and points without a finite one are left out."""

    store: Store
    scope: Scope
    paths: Sequence[str]
    axis: str = "step"
    x_metric: str = ""
    include_previews: bool = False

    @property
    def _keep(self) -> str:
        return "1" if self.include_previews else f"NOT ({PREVIEW})"

    @property
    def _read(self) -> list[str]:
        return sorted({*self.paths, self.x_metric} - {""})

    def of(self, places: Sequence[int]) -> ChartPoints:
        """The same of some of the runs, by their numbers."""
        return replace(self, scope=self.scope.part(set(places)))

    def count(self, steps: Range = ALL, *, only_drawn: bool = False) -> int:
        """Rows that have to be read, of x_metric too unless only those of `paths` are meant: at
        least as many as there are points."""
        given: dict[str, object] = {}
        paths = self.paths if only_drawn else self._read
        sql = self.scope.points(
            "points", {}, paths, given, steps=steps, keep=self._keep, final=False
        )
        found = self.store.query(f"SELECT count() AS rows FROM ({sql})", given)
        return int(found.column(0)[0].as_py())

    def parts(self, steps: Range = ALL) -> Iterator[list[int]]:
        """Places of runs, so that each part has about AT_A_TIME rows or is one run."""
        given: dict[str, object] = {}
        sql = self.scope.points(
            "points", {}, self._read, given, steps=steps, keep=self._keep, final=False
        )
        rows = self.store.query(
            f"SELECT place, count() AS rows FROM ({sql}) GROUP BY place ORDER BY place", given
        )
        part: list[int] = []
        size = 0
        places, counts = rows.column(0).to_pylist(), rows.column(1).to_pylist()
        for place, count in zip(places, counts, strict=True):
            if part and size + count > AT_A_TIME:
                yield part
                part, size = [], 0
            part.append(place)
            size += count
        if part:
            yield part

    # --- columns -----------------------------------------------------------------------------

    def columns(self, from_x: float | None, to_x: float | None, columns: int) -> pa.Table:
        """M4 columns as `metric_buckets` gives them; for the axis metric by `over`."""
        return metric_buckets(
            self.store,
            self.scope,
            self.paths,
            axis=self.axis,
            from_x=from_x,
            to_x=to_x,
            columns=columns,
            include_previews=self.include_previews,
        )

    def placed(self) -> Placed:
        """For the axis metric."""
        points = placed = 0
        low, high = math.inf, -math.inf
        for part in self.parts():
            given: dict[str, object] = {}
            sql = self.of(part)._by_metric(given, everything=True)
            (row,) = self.store.query(
                "SELECT count() AS points, countIf(there) AS placed, minIf(at, there) AS low,"
                f" maxIf(at, there) AS high FROM ({sql})",
                given,
            ).to_pylist()
            points += row["points"]
            placed += row["placed"]
            if row["placed"]:
                low, high = min(low, row["low"]), max(high, row["high"])
        return Placed(points, placed, *((low, high) if placed else (math.nan, math.nan)))

    def over(self, grid: FloatGrid) -> pa.Table:
        """Rows as `BUCKETS`, ordered by place, path, from_x, for the axis metric."""
        tables = [BUCKETS.empty_table()]
        for part in self.parts():
            given: dict[str, object] = {"first": grid.first, "last": grid.last}
            width = _exactly(grid.width, "width", given)
            sql = self.of(part)._by_metric(given)
            found = self.store.query(
                f"""
                SELECT place, path, bucket * {width} AS from_x, (bucket + 1) * {width} AS to_x,
                    {_M4}
                FROM (
                    SELECT place, path, x, at, value, isFinite(value) AS fine,
                        toInt64(floor(at / {width})) AS bucket
                    FROM ({sql})
                )
                WHERE bucket >= {{first:Int64}} AND bucket <= {{last:Int64}}
                GROUP BY place, path, bucket ORDER BY place, path, bucket
                """,
                given,
            ).select(BUCKETS.names)
            tables.append(found.cast(BUCKETS))
        return pa.concat_tables(tables)

    # --- points ------------------------------------------------------------------------------

    def finite(self, from_x: float, to_x: float) -> Iterator[pa.Table]:
        """Columns place, path, at (x as the columns have it), value: the finite points in
        [from_x, to_x], ordered by place, path, at; each series whole in one table."""
        bases = self._bases() if self.axis == "relative_time" else {}
        steps = self.steps(from_x, to_x)
        for part in self.parts(steps):
            given: dict[str, object] = {}
            mine = self.of(part)
            if self.axis == "metric":
                sql, at = mine._by_metric(given), "at"
            else:
                sql = mine._points(given, steps)
                at = "x" if self.axis == "step" else "toUnixTimestamp64Milli(ts)"
                if bases:
                    given |= {"based": part, "bases": [bases[p] for p in part]}
                    base = (
                        "transform(place, {based:Array(UInt32)}, {bases:Array(Int64)}, toInt64(0))"
                    )
                    at = f"({at} - {base})"
                at = f"{at} / {UNITS[self.axis]}"
            low = _exactly(from_x, "low", given)
            high = _exactly(to_x, "high", given)
            yield self.store.query(
                f"""
                SELECT place, path, at, value
                FROM (SELECT place, path, x, {at} AS at, value FROM ({sql}))
                WHERE isFinite(value) AND at >= {low} AND at <= {high}
                ORDER BY place, path, at, x
                """,
                given,
            )

    def steps(self, from_x: float, to_x: float) -> Range:
        """The steps that [from_x, to_x] can hold."""
        if self.axis != "step":
            return ALL
        return Range(
            max(-1, math.floor(max(from_x, -1.0) * MICRO)),
            min(MAX_MICRO_STEP, math.ceil(min(to_x, MAX_MICRO_STEP / MICRO) * MICRO)),
        )

    def _bases(self) -> dict[int, int]:
        given: dict[str, object] = {}
        rows = self.store.query(
            "SELECT place, min(toUnixTimestamp64Milli(ts)) AS base"
            f" FROM ({self._points(given, ALL)}) GROUP BY place",
            given,
        ).to_pylist()
        return {row["place"]: row["base"] for row in rows}

    def _points(self, given: dict[str, object], steps: Range) -> str:
        return self.scope.points(
            "points", {"value": "value"}, self.paths, given, steps=steps, keep=self._keep
        )

    def _by_metric(self, given: dict[str, object], *, everything: bool = False) -> str:
        """SQL of place, path, x, at, value; with `everything` of all points, and `there`."""
        sql = self.scope.points("points", {"value": "value"}, self._read, given, keep=self._keep)
        given |= {"drawn": list(self.paths), "x_metric": self.x_metric}
        return f"""
            SELECT y.place AS place, y.path AS path, y.x AS x, m.at AS at, y.value AS value,
                m.there AS there
            FROM (SELECT place, path, x, value FROM ({sql}) WHERE path IN {{drawn:Array(String)}})
                AS y
            {"LEFT" if everything else "INNER"} JOIN (
                SELECT place, x, value AS at, 1 AS there FROM ({sql})
                WHERE path = {{x_metric:String}} AND isFinite(value)
            ) AS m ON y.place = m.place AND y.x = m.x
        """


def _exactly(number: float, name: str, given: dict[str, object]) -> str:
    """SQL of the very number: digits are read to the last place or so only."""
    given[name] = struct.unpack("<Q", struct.pack("<d", number))[0]
    return f"reinterpret({{{name}:UInt64}}, 'Float64')"


def _packed(upper: str, lower: str) -> str:
    """One number of 128 bits that orders as the two do, one after the other: comparing tuples
    takes several times as long."""
    return f"bitOr(bitShiftLeft(toUInt128({upper}), 64), toUInt128({lower}))"


def _lower(packed: str) -> str:
    return f"toUInt64(bitAnd({packed}, toUInt128(18446744073709551615)))"


# As in `buckets`, without its units; points at one x are ordered by their steps, and of equal
# values the one of least x counts.
_X, _Y = ordered("at"), ordered("value")
_PLACE = _packed(_X, "x")
_LOWEST = f"minIf({_packed(_Y, _X)}, fine)"
_HIGHEST = f"maxIf({_packed(_Y, f'bitNot({_X})')}, fine)"
_MIN_X = number_of(_lower(_LOWEST))
_MAX_X = number_of(f"bitNot({_lower(_HIGHEST)})")
_M4 = f"""
    if(finite_count = 0, nan, minIf(at, fine)) AS first_x,
    if(finite_count = 0, nan, argMinIf(value, {_PLACE}, fine)) AS first_y,
    if(finite_count = 0, nan, maxIf(at, fine)) AS last_x,
    if(finite_count = 0, nan, argMaxIf(value, {_PLACE}, fine)) AS last_y,
    if(finite_count = 0, nan, {_MIN_X}) AS min_x,
    if(finite_count = 0, nan, minIf(value, fine)) AS min_y,
    if(finite_count = 0, nan, {_MAX_X}) AS max_x,
    if(finite_count = 0, nan, maxIf(value, fine)) AS max_y,
    sumIf(value, fine) AS sum_y,
    countIf(fine) AS finite_count,
    countIf(isNaN(value)) AS nan_count,
    countIf(value = inf) AS positive_infinity_count,
    countIf(value = -inf) AS negative_infinity_count
"""
