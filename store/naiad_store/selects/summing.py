"""SQL of what points come to: of rows of rollups, of points, and of both together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from naiad_proto.steps import MAX_MICRO_STEP
from naiad_store.selects.pieces import Pieces, Points, Rows, neighbours
from naiad_store.selects.scope import PREVIEW
from naiad_store.selects.steps import decimal

T = TypeVar("T", Rows, Points)

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
FIRST = Parts(f"argMin(value, {_ORDER}) AS part, min({_ORDER}) AS counted", "", "")


class Reads:
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
