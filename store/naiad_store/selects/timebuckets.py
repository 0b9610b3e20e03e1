"""M4 by time, from the points: what is a bucket of a rollup by steps is none by time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from naiad_proto.packed import COUNTS, FLOATS
from naiad_store.selects.grid import BUCKETS, Grid
from naiad_store.selects.known import last_steps
from naiad_store.selects.m4 import OF_EXTREMES, ROLLUP, early, least, most
from naiad_store.selects.rolled import Series, stretches
from naiad_store.selects.scope import PREVIEW, Scope
from naiad_store.selects.steps import decimal
from naiad_store.store import Store

# Milliseconds in a unit of the answer's x.
_UNIT = 1000
# Points are grouped by one key of 64 bits, which takes half the time that three columns take: from
# above the series, what kind of number the value is, the column. Columns are numbered from 1. In
# column 0, and in the one behind the last, lies what proves a guess wrong. What is not finite has
# groups of its own, so that no aggregate has to ask.
_SERIES_SHIFT, _KIND_SHIFT = 32, 30
# In the order of the counts in `ROLLUP`.
_KIND = "multiIf(isFinite(value), 0, isNaN(value), 1, value > 0, 2, 3)"


def _shown(name: str) -> str:
    """A number of a column, by its name in `ROLLUP`, as `BUCKETS` has it."""
    if name.endswith("_x"):
        return f"if(finite = 0, nan, (start + {name}) / {_UNIT})"
    return f"if(finite = 0, nan, {name})" if name.endswith("_y") else name


_SHOWN = ", ".join(
    f"{_shown(name)} AS {shown}" for name, shown in zip(ROLLUP, (*FLOATS[2:], *COUNTS), strict=True)
)
_COUNTS_OF_KIND = ", ".join(
    f"if(kind = {kind}, n, 0) AS {name}" for kind, name in enumerate(ROLLUP[-len(COUNTS) :])
)


@dataclass(frozen=True, slots=True)
class _Order:
    """Which point of a column is before which: by time, at one time by step."""

    # Bits of a step below those of the time since the column's beginning; None where steps have
    # more of them than 64 bits leave, and one number of 128 has to be compared.
    bits: int | None

    @classmethod
    def within(cls, k: int, highest: int) -> _Order:
        """In columns of 2**k units, of points with micro-steps up to `highest`."""
        bits = min(64 - k, 63)
        return cls(bits if highest < (1 << bits) - 1 else None)

    @property
    def aggregates(self) -> str:
        if self.bits is None:
            rank = "bitOr(bitShiftLeft(toUInt128(x), 64), toUInt128(step))"
            return (
                f"min(x) AS first_x, argMin(value, {rank}) AS first_y,"
                f" max(x) AS last_x, argMax(value, {rank}) AS last_y"
            )
        # Of points that came meanwhile with steps beyond all that were known it may be unsaid
        # which is the later one at one time.
        step = f"least(toUInt64(step), {(1 << self.bits) - 1})"
        number = early(f"bitOr(bitShiftLeft(toUInt64(x), {self.bits}), {step})", "value")
        return f"min({number}) AS first, max({number}) AS last"

    @property
    def found(self) -> str:
        """Of what these aggregates come to."""
        if self.bits is None:
            return "first_x, first_y, last_x, last_y"
        return ", ".join(
            f"toInt64(bitShiftRight({end}, {64 + self.bits})) AS {end}_x,"
            f" reinterpretAsFloat64(toUInt64({end})) AS {end}_y"
            for end in ("first", "last")
        )


@dataclass(frozen=True, slots=True)
class _Ends:
    """Of the points in question the first and the last time, by place of the run, in
    milliseconds."""

    low: Mapping[int, int]
    high: Mapping[int, int]
    # Whether there may be points beyond.
    guessed: bool = False


def time_buckets(
    store: Store,
    scope: Scope,
    paths: Sequence[str],
    begin: int | None,
    end: int | None,
    columns: int,
    *,
    relative: bool,
    previews: bool,
    settings: Mapping[str, object] | None = None,
) -> pa.Table:
    """Rows as `BUCKETS`, ordered by place, path, from_x; `begin` and `end` in milliseconds, None
    is open; `relative` to the first point of each run. Raises StoreError."""
    question = _Question(store, scope, sorted(set(paths)), begin, end, columns, relative,
                         previews, settings)  # fmt: skip
    if begin is not None and end is not None and not relative:
        return question.answer(_Ends({}, {})) or BUCKETS.empty_table()
    # To find where points begin and end takes a third of the time that all the rest does.
    if (guess := question.guess()) and (found := question.answer(guess)) is not None:
        return found
    ends = question.ends()
    return (question.answer(ends) if ends.low else None) or BUCKETS.empty_table()


@dataclass
class _Question:
    store: Store
    scope: Scope
    paths: list[str]
    begin: int | None
    end: int | None
    columns: int
    relative: bool
    previews: bool
    settings: Mapping[str, object] | None

    @cached_property
    def last(self) -> Mapping[Series, int]:
        """The highest micro-steps of all series whose points may be met, as far as known."""
        return last_steps(
            self.store, self.scope.project, self.scope.sources, self.paths, self.settings
        )

    def ends(self) -> _Ends:
        """As they are."""
        return self._ends_of(self.scope, self.paths)

    def guess(self) -> _Ends | None:
        """Of long series, the times of their first and last steps; None where nothing is known of
        them. Clocks mostly go on as steps do, and whether they did the answer shows."""
        if self.scope.stretches is not None or self.previews:
            return None
        known = stretches(
            self.store, self.scope.project, self.scope.runs, self.paths, self.settings
        )
        if not known:
            return None
        last = self.last
        place_of = dict(zip(self.scope.runs, self.scope.numbers, strict=True))
        at = [(run, step) for (run, path), step in last.items() if (run, path) in known]
        at += [(run, of[0].lowest) for (run, path), of in known.items() if (run, path) in last]
        if not at:
            return None
        found = self.store.query(
            """
            SELECT run, toUnixTimestamp64Milli(min(ts)) AS low,
                toUnixTimestamp64Milli(max(ts)) AS high
            FROM points FINAL
            WHERE project = {project:String} AND path IN {paths:Array(String)}
                AND (run, step) IN (SELECT arrayJoin(arrayZip(
                    {runs:Array(UInt64)},
                    arrayMap(one -> toDecimal64(one, 6), {steps:Array(String)}))))
            GROUP BY run
            """,
            {
                "project": self.scope.project, "paths": self.paths,
                "runs": [run for run, _ in at], "steps": [decimal(step) for _, step in at],
            },
            self.settings,
        )  # fmt: skip
        low = {}
        high = {}
        for run, first, until in zip(*(one.to_pylist() for one in found.columns), strict=True):
            low[place_of[run]], high[place_of[run]] = first, until
        # Short ones are looked at.
        short = [(run, path) for run, path in last if (run, path) not in known]
        if short:
            part = self.scope.part({place_of[run] for run, _ in short})
            more = self._ends_of(part, sorted({path for _, path in short}))
            for place, first in more.low.items():
                low[place] = min(first, low.get(place, first))
                high[place] = max(more.high[place], high.get(place, first))
        return _Ends(low, high, guessed=True) if low else None

    def answer(self, ends: _Ends) -> pa.Table | None:
        """None where the guess was wrong, or where nothing is asked for."""
        bases = ends.low if self.relative else {}
        begin, end = self.begin, self.end
        if begin is None:
            begin = 0 if self.relative else min(ends.low.values())
        if end is None:
            end = max(high - bases.get(place, 0) for place, high in ends.high.items())
        if end < begin:
            return None
        grid = Grid.over(begin, end, self.columns)
        order = _Order.within(grid.k, max(self.last.values(), default=0))
        given: dict[str, object] = {}
        found = _together(self.store.query(
            f"""
            SELECT series, column, start / {_UNIT} AS from_x,
                (start + {1 << grid.k}) / {_UNIT} AS to_x, {_SHOWN}
            FROM (
                SELECT series, column, kind, {OF_EXTREMES},
                    bitShiftLeft(column + {grid.first - 1}, {grid.k}) AS start
                FROM (
                    SELECT toUInt32(bitShiftRight(key, {_SERIES_SHIFT})) AS series,
                        toInt64(bitAnd(key, {(1 << _KIND_SHIFT) - 1})) AS column,
                        bitAnd(bitShiftRight(key, {_KIND_SHIFT}), 3) AS kind,
                        {order.found}, lowest, highest, if(kind = 0, total, 0.) AS sum,
                        {_COUNTS_OF_KIND}
                    FROM (
                        SELECT key, {order.aggregates}, min({least("x", "value")}) AS lowest,
                            max({most("x", "value")}) AS highest, sum(value) AS total,
                            count() AS n
                        FROM ({self._keyed(grid, bases, ends.guessed, given)}) GROUP BY key
                    )
                )
            )
            ORDER BY series, column, kind
            """,
            given,
            self.settings,
        ))  # fmt: skip
        if ends.guessed and found.num_rows:
            met = pc.min_max(found.column("column"))
            if not 1 <= met["min"].as_py() <= met["max"].as_py() <= grid.last - grid.first + 1:
                return None
        place, number = np.divmod(found.column("series").to_numpy(), np.uint32(len(self.paths)))
        names = pa.DictionaryArray.from_arrays(number.astype(np.int32), pa.array(self.paths))
        found = found.append_column("place", pa.array(place)).append_column("path", names)
        return found.select(BUCKETS.names).cast(BUCKETS)

    def _keyed(
        self, grid: Grid, bases: Mapping[int, int], guessed: bool, given: dict[str, object]
    ) -> str:
        """SQL of the points: key, x (the time since its column began), step, value."""
        at = "toUnixTimestamp64Milli(ts)"
        if bases:
            given |= {"based": list(bases), "bases": list(bases.values())}
            at += " - transform(place, {based:Array(UInt32)}, {bases:Array(Int64)}, toInt64(0))"
        series = "place"
        if len(self.paths) > 1:
            given |= {"names": self.paths, "numbers": list(range(len(self.paths)))}
            number = "transform(path, {names:Array(String)}, {numbers:Array(UInt32)}, toUInt32(0))"
            series = f"place * {len(self.paths)} + {number}"
        column = f"bitShiftRight(at, {grid.k}) - {grid.first - 1}"
        low, high = f"at >= {grid.low}", f"at <= {grid.high}"
        if guessed:
            # Nothing is left out but what nobody asked for.
            column = f"least(greatest({column}, 0), {grid.last - grid.first + 2})"
            low = low if self.begin is not None else "1"
            high = high if self.end is not None else "1"
            if self.relative:
                # Before the first point there is none.
                column, low = f"if(at < 0, 0, {column})", f"({low} OR at < 0)"
        return f"""
            SELECT bitOr(
                    bitOr(bitShiftLeft(toUInt64(series), {_SERIES_SHIFT}),
                        bitShiftLeft(toUInt64({_KIND}), {_KIND_SHIFT})),
                    toUInt64({column})) AS key,
                bitAnd(at, {(1 << grid.k) - 1}) AS x, step, value
            FROM (
                SELECT {series} AS series, x AS step, {at} AS at, value
                FROM ({self._points(self.scope, self.paths, given)})
            )
            WHERE {low} AND {high}
        """

    def _points(self, scope: Scope, paths: Sequence[str], given: dict[str, object]) -> str:
        keep = "1" if self.previews else f"NOT ({PREVIEW})"
        return scope.points("points", {"value": "value"}, paths, given, keep=keep)

    def _ends_of(self, scope: Scope, paths: Sequence[str]) -> _Ends:
        given: dict[str, object] = {}
        found = self.store.query(
            "SELECT place, toUnixTimestamp64Milli(min(ts)) AS low,"
            " toUnixTimestamp64Milli(max(ts)) AS high"
            f" FROM ({self._points(scope, paths, given)}) GROUP BY place",
            given,
            self.settings,
        )
        places, lows, highs = (column.to_pylist() for column in found.columns)
        return _Ends(dict(zip(places, lows, strict=True)), dict(zip(places, highs, strict=True)))


def _together(found: pa.Table) -> pa.Table:
    """Rows of a series and a column as one, ordered by both, and those of finite points first."""
    series, column = (found.column(name).to_numpy() for name in ("series", "column"))
    new = np.ones(len(series), bool)
    new[1:] = (series[1:] != series[:-1]) | (column[1:] != column[:-1])
    if new.all():
        return found
    firsts = np.flatnonzero(new)
    counts = {
        name: pa.array(np.add.reduceat(found.column(name).to_numpy(), firsts)) for name in COUNTS
    }
    found = found.take(pa.array(firsts))
    for name, summed in counts.items():
        found = found.set_column(found.column_names.index(name), name, summed)
    return found
