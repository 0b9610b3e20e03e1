"""What the points of a metric come to in each run, from rollups where these are right and from
points elsewhere.

As for charts it is asked before what is rolled. Of a series that is, clean stretches come from the
coarsest rows that lie in them, and points only from what is dirty or not rolled yet; the first
point is looked up where the lowest step is. What is rolled at all is long, so there are far fewer
rows of rollups than points. Series that are not rolled are read from their points.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import pyarrow as pa

from naiad_proto.steps import MAX_MICRO_STEP
from naiad_store.selects.forks import Forks
from naiad_store.selects.known import Line, last_steps, own_lowest
from naiad_store.selects.pieces import Pieces, Points, Rows, neighbours, zones
from naiad_store.selects.rolled import Rolled, Series, rolled
from naiad_store.selects.scope import PREVIEW
from naiad_store.selects.steps import decimal
from naiad_store.store import Store

T = TypeVar("T", Rows, Points)

# Every tier is fine enough: no columns are drawn.
_WIDEST = 62
_END = MAX_MICRO_STEP + 1

NUMBER = "NOT isNaN(value)"
_INFINITE = "positive_infinities + negative_infinities"


@dataclass(frozen=True, slots=True)
class Parts:
    """Of a stat two aggregates, `part` and `counted`, of points (x, value), of rows of `rollups`,
    and of those two what the stat is. A group that counts nothing has no value."""

    points: str
    rollups: str
    gathered: str
    # Of `rollups`.
    columns: Sequence[str] = ()


# -0.0 is 0.0: which of them a min takes depends on which it meets first.
PARTS: Mapping[str, Parts] = {
    "min": Parts(
        f"minIf(value + 0., {NUMBER}) AS part, countIf({NUMBER}) AS counted",
        "min(if(negative_infinities > 0, -inf, min_y)) AS part,"
        f" sum(finite + {_INFINITE}) AS counted",
        "minIf(part, counted > 0)",
        ("min_y", "finite", "positive_infinities", "negative_infinities"),
    ),
    "max": Parts(
        f"maxIf(value + 0., {NUMBER}) AS part, countIf({NUMBER}) AS counted",
        "max(if(positive_infinities > 0, inf, max_y)) AS part,"
        f" sum(finite + {_INFINITE}) AS counted",
        "maxIf(part, counted > 0)",
        ("max_y", "finite", "positive_infinities", "negative_infinities"),
    ),
    "mean": Parts(
        f"sumIf(value, {NUMBER}) AS part, countIf({NUMBER}) AS counted",
        "sum(sum + if(positive_infinities > 0, inf, 0.) - if(negative_infinities > 0, inf, 0.))"
        f" AS part, sum(finite + {_INFINITE}) AS counted",
        "sum(part) / sum(counted)",
        ("sum", "finite", "positive_infinities", "negative_infinities"),
    ),
    "count": Parts(
        "0. AS part, count() AS counted",
        f"0. AS part, sum(finite + nans + {_INFINITE}) AS counted",
        "sum(counted)",
        ("finite", "nans", "positive_infinities", "negative_infinities"),
    ),
}
# Of the first points of a fork and its ancestors the one with the least step, and of equal steps
# that of the nearest.
_ORDER = "bitOr(bitShiftLeft(toUInt128(x), 32), toUInt128(depth))"
_FIRST = Parts(f"argMin(value, {_ORDER}) AS part, min({_ORDER}) AS counted", "", "")


class Summaries:
    """Of the metrics at `paths`. `among`: keys of the runs in question, None: all. `forks`: those
    among them."""

    def __init__(
        self,
        store: Store,
        project: str,
        paths: Collection[str],
        forks: Forks,
        among: Collection[int] | None = None,
    ) -> None:
        """Asks what is rolled of them. Raises StoreError."""
        self._of_path: dict[str, Summary] = {}
        runs = None
        if among is not None:
            runs = sorted({*among, *(source for _, source, _, _ in forks.stretches)})
        known = rolled(store, project, runs, sorted(set(paths)))
        if not known:
            return
        lines = _lines(forks)
        for (run, path), one in known.items():
            if path not in self._of_path:
                self._of_path[path] = Summary(store, project, path, forks, lines, among)
            self._of_path[path].known[run] = one
        last = last_steps(store, project, {run for run, _ in known}, self._of_path)
        lowest = own_lowest(
            store,
            project,
            (
                (path, lines[fork])
                for path, summary in self._of_path.items()
                for fork in summary.rolled_forks
            ),
        )
        for path, summary in self._of_path.items():
            summary.last = {run: last[run, path] for run in summary.known if (run, path) in last}
            summary.own_lowest = lowest

    def of(self, path: str) -> Summary | None:
        """None where nothing of the metric is rolled."""
        return self._of_path.get(path)


@dataclass(slots=True)
class Summary:
    """Of one metric."""

    store: Store
    project: str
    path: str
    forks: Forks
    # Of each fork.
    lines: Mapping[int, Line]
    among: Collection[int] | None
    known: dict[int, Rolled] = field(default_factory=dict)
    # The highest step of series that are rolled, where `series` has it.
    last: Mapping[int, int] = field(default_factory=dict)
    own_lowest: Mapping[Series, int] = field(default_factory=dict)
    _answers: dict[str, pa.Table] = field(default_factory=dict)

    def values(self, stat: str) -> pa.Table:
        """`run` and `number`, a row for each run that has a value; asked once. Raises
        StoreError."""
        if stat not in self._answers:
            given: dict[str, object] = {"project": self.project}
            self._answers[stat] = self.store.query(_Question(self, given).sql(stat), given)
        return self._answers[stat]

    @property
    def rolled_forks(self) -> list[int]:
        """Forks of whose line something is rolled."""
        return [
            fork
            for fork, line in self.lines.items()
            if any(source in self.known for source, _ in line)
        ]


class _Question:
    """About one summary; its parameters go into `given`."""

    def __init__(self, summary: Summary, given: dict[str, object]) -> None:
        self._of = summary
        self._given = given
        self._rolled_forks = summary.rolled_forks
        path = self._give("String", summary.path)
        self._where = f"project = {{project:String}} AND path = {path}"
        self._among = "1"
        if summary.among is not None:
            self._among = f"run IN {self._give('Array(UInt64)', sorted(summary.among))}"
        # Runs of which something is rolled, forks last; their places are those here.
        wanted = None if summary.among is None else set(summary.among)
        self._owners = [
            run
            for run in (
                *(run for run in summary.known if run not in summary.lines),
                *self._rolled_forks,
            )
            if wanted is None or run in wanted
        ]

    def sql(self, stat: str) -> str:
        if stat == "first":
            pieces = Pieces(_WIDEST, 0, _END, [], self._first_pieces())
            found = self._rest("argMin(value, x) AS part, toUInt128(0) AS counted")
            found += self._reads(pieces).sql(_FIRST)
            return (
                "SELECT run, argMin(part, counted) AS number"
                f" FROM ({' UNION ALL '.join(found)}) GROUP BY run"
            )
        parts = PARTS[stat]
        found = [*self._rest(parts.points), *self._reads(self._pieces()).sql(parts)]
        return (
            f"SELECT run, toFloat64({parts.gathered}) AS number"
            f" FROM ({' UNION ALL '.join(found)}) GROUP BY run HAVING sum(counted) > 0"
        )

    def _reads(self, pieces: Pieces) -> _Reads:
        return _Reads(pieces, self._owners, self._where, self._give)

    # --- of which rows -------------------------------------------------------------------------

    def _line(self, run: int) -> Line:
        return self._of.lines.get(run, ((run, MAX_MICRO_STEP),))

    def _pieces(self) -> Pieces:
        of = self._of
        pieces = Pieces(_WIDEST, 0, _END, [], [])
        for place, owner in enumerate(self._owners):
            line = self._line(owner)
            for zone in zones(line, of.path, of.own_lowest):
                known, last = of.known.get(zone.run), of.last.get(zone.run)
                pieces.add(place, of.path, zone, known, last, alone=len(line) == 1)
        return pieces

    def _first_pieces(self) -> list[Points]:
        found = []
        for place, owner in enumerate(self._owners):
            for depth, (run, until) in enumerate(self._line(owner)):
                begin, end = 0, until + 1
                if known := self._of.known.get(run):
                    # What came late may lie below.
                    begin = min([known.lowest, *(low for low, _ in known.dirty[:1])])
                    end = min(end, known.lowest + 1)
                if begin < end:
                    found.append(Points(place, self._of.path, run, begin, end, depth))
        return found

    # --- what is not rolled --------------------------------------------------------------------

    def _rest(self, aggregates: str) -> list[str]:
        of, where = self._of, self._where
        done = self._give("Array(UInt64)", sorted({*of.known, *of.lines}))
        found = [
            f"""
            SELECT run, {aggregates}
            FROM (
                SELECT run, reinterpret(step, 'Int64') AS x, value FROM points FINAL
                WHERE {where} AND NOT ({PREVIEW}) AND run IN (
                    SELECT run FROM series FINAL
                    WHERE {where} AND type = 'float_series' AND committed AND {self._among}
                        AND run NOT IN {done}
                )
            ) GROUP BY run
            """
        ]
        rolled_forks = set(self._rolled_forks)
        if others := [one for one in of.forks.stretches if one[0] not in rolled_forks]:
            line = Forks(stretches=others).line(
                "points", "value", f"{where} AND NOT ({PREVIEW})", self._given
            )
            found.append(f"SELECT run, {aggregates} FROM ({line}) WHERE {self._among} GROUP BY run")
        return found

    def _give(self, kind: str, value: object) -> str:
        name = f"p{len(self._given)}"
        self._given[name] = value
        return f"{{{name}:{kind}}}"


class _Reads:
    """Reads that give pieces, each of them once: tables with their conditions, without what is
    asked of them."""

    def __init__(
        self,
        pieces: Pieces,
        owners: Sequence[int],
        where: str,
        give: Callable[[str, object], str],
    ) -> None:
        """`owners`: runs by place. `where` chooses the metric's rows, `give` takes a parameter."""
        self._owners = owners
        self._where = where
        self._give = give
        self._given: dict[tuple[str, tuple[int, ...]], str] = {}
        # Conditions on rows of `rollups`, and such with tables to join them with.
        self._looked_up: list[str] = []
        self._joined: list[tuple[str, str]] = []
        # SQL of run, x, value and depth.
        self._points: list[str] = []
        levels: dict[int, list[Rows]] = {}
        for one in pieces.rows:
            levels.setdefault(one.k, []).append(one)
        for level, rows in sorted(levels.items()):
            first, others = self._apart(rows)
            if first:
                self._looked_up.append(self._rows_by_run(level, first))
            if others:
                self._joined.append((self._bounds(level, others), self._rows_to_join(others)))
        for near in neighbours([one for one in pieces.points if not one.shared]):
            first_points, other_points = self._apart(near)
            if first_points:
                self._points.append(self._points_by_run(first_points))
            if other_points:
                self._points.append(self._points_to_join(other_points))
        if shared := [one for one in pieces.points if one.shared]:
            self._points.append(
                f"SELECT run, x, value, depth FROM ({self._points_to_join(shared)})"
                " ORDER BY run, x, depth LIMIT 1 BY run, x"
            )

    def sql(self, parts: Parts) -> list[str]:
        """Of each read `run`, `part` and `counted`; a run may come from several."""
        found = [
            f"SELECT run, {parts.rollups} FROM rollups WHERE {conditions} GROUP BY run"
            for conditions in self._looked_up
        ]
        shown = ", ".join(parts.columns)
        theirs = ", ".join(f"r.{name} AS {name}" for name in parts.columns)
        found += [
            f"""
            SELECT run, {parts.rollups}
            FROM (
                SELECT j.owner AS run, {theirs}
                FROM (SELECT run, edition, bucket, {shown} FROM rollups WHERE {conditions}) AS r
                JOIN {table} AS j ON r.run = j.run AND r.edition = j.edition
                WHERE r.bucket >= j.low AND r.bucket < j.high
            ) GROUP BY run
            """
            for conditions, table in self._joined
        ]
        found += [
            f"SELECT run, {parts.points} FROM ({points}) GROUP BY run" for points in self._points
        ]
        return found

    def _apart(self, pieces: Sequence[T]) -> tuple[list[T], list[T]]:
        """One of each run that stands for itself, which can be looked up by the run; and the
        others."""
        seen: set[int] = set()
        first, others = [], []
        for one in pieces:
            if one.run == self._owners[one.place] and one.run not in seen:
                seen.add(one.run)
                first.append(one)
            else:
                others.append(one)
        return first, others

    # --- rows of rollups -----------------------------------------------------------------------

    def _bounds(self, level: int, rows: Sequence[Rows]) -> str:
        low, high = min(one.low for one in rows), max(one.high for one in rows)
        return (
            f"{self._where} AND k = {self._give('UInt8', level)} AND run IN {self._runs(rows)}"
            f" AND bucket >= {self._give('Int64', low)} AND bucket < {self._give('Int64', high)}"
        )

    def _rows_by_run(self, level: int, rows: Sequence[Rows]) -> str:
        runs = self._runs(rows)
        conditions = [
            self._bounds(level, rows),
            self._each(runs, "edition =", "UInt64", [one.edition for one in rows]),
        ]
        # Where they are the same for all, the bounds say it.
        for test, of in (("bucket >=", 5), ("bucket <", 6)):
            if len(numbers := [int(one[of]) for one in rows]) and len(set(numbers)) > 1:
                conditions.append(self._each(runs, test, "Int64", numbers))
        return " AND ".join(conditions)

    def _rows_to_join(self, rows: Sequence[Rows]) -> str:
        return self._table(
            ("run", "UInt64", [one.run for one in rows]),
            ("edition", "UInt64", [one.edition for one in rows]),
            ("low", "Int64", [one.low for one in rows]),
            ("high", "Int64", [one.high for one in rows]),
            ("owner", "UInt64", [self._owners[one.place] for one in rows]),
        )

    # --- points --------------------------------------------------------------------------------

    def _from_points(self, pieces: Sequence[Points], *conditions: str) -> str:
        # As for charts, FINAL merges only what lies between these steps.
        begin = decimal(min(one.begin for one in pieces))
        end = decimal(min(max(one.end for one in pieces) - 1, MAX_MICRO_STEP))
        where = (self._where, f"NOT ({PREVIEW})", f"run IN {self._runs(pieces)}", *conditions)
        return (
            f"FROM points FINAL PREWHERE step >= {self._give('Decimal64(6)', begin)}"
            f" AND step <= {self._give('Decimal64(6)', end)} WHERE {' AND '.join(where)}"
        )

    def _points_by_run(self, pieces: Sequence[Points]) -> str:
        runs = self._runs(pieces)
        conditions = []
        for test, numbers in (
            ("x >=", [one.begin for one in pieces]),
            ("x <", [one.end for one in pieces]),
        ):
            if len(set(numbers)) > 1:
                conditions.append(self._each(runs, test, "Int64", numbers))
        return (
            "SELECT run, reinterpret(step, 'Int64') AS x, value, 0 AS depth"
            f" {self._from_points(pieces, *conditions)}"
        )

    def _points_to_join(self, pieces: Sequence[Points]) -> str:
        table = self._table(
            ("run", "UInt64", [one.run for one in pieces]),
            ("begin", "Int64", [one.begin for one in pieces]),
            ("end", "Int64", [one.end for one in pieces]),
            ("depth", "UInt32", [one.depth for one in pieces]),
            ("owner", "UInt64", [self._owners[one.place] for one in pieces]),
        )
        return f"""
            SELECT j.owner AS run, p.x AS x, p.value AS value, j.depth AS depth
            FROM (
                SELECT run, reinterpret(step, 'Int64') AS x, value {self._from_points(pieces)}
            ) AS p
            JOIN {table} AS j ON p.run = j.run
            WHERE p.x >= j.begin AND p.x < j.end
        """

    # --- parameters ----------------------------------------------------------------------------

    def _runs(self, pieces: Sequence[Rows] | Sequence[Points]) -> str:
        return self._array("UInt64", [one.run for one in pieces])

    def _each(self, runs: str, test: str, kind: str, numbers: Sequence[int]) -> str:
        """A condition with a number of each run; a join of all rows with a table of them would
        take longer than everything else."""
        return f"{test} transform(run, {runs}, {self._array(kind, numbers)}, to{kind}(0))"

    def _table(self, *columns: tuple[str, str, Sequence[int]]) -> str:
        arrays = ", ".join(self._array(kind, numbers) for _, kind, numbers in columns)
        names = ", ".join(f"one.{place} AS {name}" for place, (name, *_) in enumerate(columns, 1))
        return f"(SELECT {names} FROM (SELECT arrayJoin(arrayZip({arrays})) AS one))"

    def _array(self, kind: str, numbers: Sequence[int]) -> str:
        """Of what is there already the same parameter."""
        key = (kind, tuple(numbers))
        if key not in self._given:
            self._given[key] = self._give(f"Array({kind})", list(numbers))
        return self._given[key]


def _lines(forks: Forks) -> dict[int, list[tuple[int, int]]]:
    """Of each fork (run, until) from itself back to its oldest ancestor."""
    found: dict[int, list[tuple[int, int]]] = {}
    for run, source, until, _ in sorted(forks.stretches, key=lambda one: (one[0], one[3])):
        found.setdefault(run, []).append((source, until))
    return found
