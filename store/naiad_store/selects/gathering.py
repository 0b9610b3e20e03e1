"""SQL that gathers pieces of charts into columns, or their points, packed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from naiad_proto import packed
from naiad_proto.steps import MAX_MICRO_STEP
from naiad_store.selects.m4 import GATHERED, OF_EXTREMES, OF_GATHERED, OF_POINTS, ROLLUP
from naiad_store.selects.numbering import NONE, number_of, rounds
from naiad_store.selects.pieces import Pieces, Points, Rows, neighbours
from naiad_store.selects.scope import PREVIEW, Range, Scope
from naiad_store.selects.steps import decimal

# Questions for several pieces of one series, before a join is better.
_ROUNDS = 3

_COLUMNS = ", ".join(("series", "column", *ROLLUP))


class Gathering:
    """One statement. `paths` are in order; a series is numbered path * runs + place.
    With `as_points` nothing but points may be added, and they are what comes out."""

    def __init__(
        self,
        project: str,
        paths: Sequence[str],
        runs: int,
        grid: packed.Grid,
        *,
        as_points: bool = False,
    ) -> None:
        self._paths = list(paths)
        self._number_of = {path: number for number, path in enumerate(paths)}
        self._runs = runs
        self._k = grid.k
        self._first = grid.first
        self._as_points = as_points
        self._branches: list[str] = []
        # Those whose columns nothing else is in.
        self._whole: list[str] = []
        # Of the branches those that have each column once.
        self._once = 0
        self.parameters: dict[str, object] = {
            "project": project,
            "all_paths": self._paths,
            "path_numbers": list(range(len(self._paths))),
        }

    def add_points_of(
        self, scope: Scope, paths: Sequence[str], begin: int, end: int, *, previews: bool = False
    ) -> None:
        """All points of these runs and paths with micro-steps [begin, end)."""
        given: dict[str, object] = {}
        keep = "1" if previews else f"NOT ({PREVIEW})"
        sql = scope.points(
            "points", {"value": "value"}, paths, given, steps=Range(begin, end - 1), keep=keep
        )
        sql = self._named(sql, given)
        self._add_points(f"SELECT {self._series('place', 'path')} AS series, x, value FROM ({sql})")

    def add(self, pieces: Pieces) -> None:
        levels: dict[tuple[bool, int], list[Rows]] = {}
        for one in pieces.rows:
            levels.setdefault((one.whole, one.k), []).append(one)
        for (whole, level), rows in sorted(levels.items()):
            found = rounds(((one.run, one.path), one) for one in rows)
            if len(found) <= _ROUNDS:
                for some in found:
                    self._add_rows(level, [one for _, one in some], whole)
            else:
                self._add_joined_rows(level, rows)
        alone = [one for one in pieces.points if not one.shared]
        for near in neighbours(alone):
            self._add_points(self._points_of(near))
        if shared := [one for one in pieces.points if one.shared]:
            self._add_points(
                f"SELECT series, x, value FROM ({self._points_of(shared)})"
                " ORDER BY series, x, depth LIMIT 1 BY series, x"
            )

    def sql(self) -> str:
        """Rows as `packed.POINTS` or `packed.columns_schema`, in any order; empty where there is
        nothing to ask."""
        if not self._branches and not self._whole:
            return ""
        if self._as_points:
            return " UNION ALL ".join(self._branches)
        every = list(self._whole)
        if len(self._branches) == self._once == 1:
            gathered = self._branches[0]
        elif self._branches:
            parts = " UNION ALL ".join(self._branches)
            gathered = (
                f"SELECT series, column, {OF_GATHERED} FROM (SELECT series, column,"
                f" {GATHERED} FROM ({parts}) GROUP BY series, column)"
            )
        if self._branches:
            # Rows of a table come in its order; what was grouped comes in none, and whoever
            # unpacks it would have to look for each row.
            every.append(f"SELECT {_COLUMNS} FROM ({gathered}) ORDER BY series, column")
        small = "toUInt64" if packed.wide(self._k) else "toUInt32"
        begin = f"bitShiftLeft(column, {self._k})"
        # Without a finite point an x is whatever comes out.
        shown = [
            name if name.endswith("_y") or name == "sum"
            else f"{small}({name} - {begin})" if name.endswith("_x")
            else f"{small}({name})"
            for name in ROLLUP
        ]  # fmt: skip
        names = packed.columns_schema(self._k).names
        columns = ["series", f"toUInt32(column - {self._first})", *shown]
        return (
            "SELECT "
            + ", ".join(f"{sql} AS p_{name}" for sql, name in zip(columns, names, strict=True))
            + f" FROM ({' UNION ALL '.join(every)})"
        )

    def _add_points(self, points: str) -> None:
        if self._as_points:
            base = self._first << self._k
            self._branches.append(
                f"SELECT series, toUInt64(x - {base}) AS p_x, value AS y FROM ({points})"
            )
            return
        self._branches.append(
            f"""
            SELECT series, column, {OF_EXTREMES}
            FROM (
                SELECT series, bitShiftRight(x, {self._k}) AS column, {OF_POINTS}
                FROM (SELECT series, x, value, isFinite(value) AS fine FROM ({points}))
                GROUP BY series, column
            )
            """
        )
        self._once += 1

    def _add_rows(self, level: int, rows: Sequence[Rows], whole: bool) -> None:
        """Of which no two are of one series."""
        given: dict[str, object] = {
            "runs": [one.run for one in rows],
            "editions": [one.edition for one in rows],
            "series": [self._number(one.place, one.path) for one in rows],
            "low": min(one.low for one in rows),
            "high": max(one.high for one in rows),
            "some": sorted({one.path for one in rows}),
        }
        number = number_of([(one.run, one.path) for one in rows], given)
        inside = f"n != {NONE} AND edition = arrayElement({{editions:Array(UInt64)}}, n + 1)"
        ends = {"lows": [one.low for one in rows], "highs": [one.high for one in rows]}
        for name, test in (("lows", ">="), ("highs", "<")):
            if len(set(ends[name])) > 1:
                given[name] = ends[name]
                inside += f" AND bucket {test} arrayElement({{{name}:Array(Int64)}}, n + 1)"
        column = "bucket" if whole else f"bitShiftRight(bucket, {self._k - level})"
        sql = f"""
            SELECT arrayElement({{series:Array(UInt32)}}, n + 1) AS series, {column} AS column,
                {", ".join(ROLLUP)}
            FROM (
                SELECT {number} AS n, edition, bucket, {", ".join(ROLLUP)} FROM rollups
                WHERE project = {{project:String}} AND path IN {{some:Array(String)}}
                    AND k = {level} AND run IN {{runs:Array(UInt64)}}
                    AND bucket >= {{low:Int64}} AND bucket < {{high:Int64}}
            )
            WHERE {inside}
        """
        (self._whole if whole else self._branches).append(self._named(sql, given))

    def _add_joined_rows(self, level: int, rows: Sequence[Rows]) -> None:
        """Of whichever series; forks have their ancestors' in common."""
        given: dict[str, object] = {
            "runs": [one.run for one in rows],
            "editions": [one.edition for one in rows],
            "lows": [one.low for one in rows],
            "highs": [one.high for one in rows],
            "series": [self._number(one.place, one.path) for one in rows],
            "low": min(one.low for one in rows),
            "high": max(one.high for one in rows),
            "numbers": [self._number_of[one.path] for one in rows],
            "some": sorted({one.path for one in rows}),
        }
        sql = f"""
            SELECT j.series AS series, bitShiftRight(r.bucket, {self._k - level}) AS column,
                {", ".join(ROLLUP)}
            FROM (
                SELECT *, {self._path_number("path")} AS path_number FROM rollups
                WHERE project = {{project:String}} AND path IN {{some:Array(String)}}
                    AND k = {level} AND run IN {{runs:Array(UInt64)}}
                    AND bucket >= {{low:Int64}} AND bucket < {{high:Int64}}
            ) AS r
            JOIN (
                SELECT one.1 AS run, one.2 AS edition, one.3 AS low, one.4 AS high,
                    one.5 AS series, one.6 AS path_number
                FROM (SELECT arrayJoin(arrayZip(
                    {{runs:Array(UInt64)}}, {{editions:Array(UInt64)}}, {{lows:Array(Int64)}},
                    {{highs:Array(Int64)}}, {{series:Array(UInt32)}},
                    {{numbers:Array(UInt32)}})) AS one)
            ) AS j ON r.run = j.run AND r.edition = j.edition AND r.path_number = j.path_number
            WHERE r.bucket >= j.low AND r.bucket < j.high
        """
        self._branches.append(f"SELECT {_COLUMNS} FROM ({self._named(sql, given)})")

    def _points_of(self, pieces: Sequence[Points]) -> str:
        begin = min(one.begin for one in pieces)
        end = min(max(one.end for one in pieces) - 1, MAX_MICRO_STEP)
        given: dict[str, object] = {
            "runs": [one.run for one in pieces],
            "series": [self._number(one.place, one.path) for one in pieces],
            "some": sorted({one.path for one in pieces}),
            "begin": decimal(begin),
            "end": decimal(end),
        }
        several = len(self._paths) > 1
        # Steps are asked for before FINAL, which then merges nothing but them: of a long series
        # the granules that hold a short stretch hold ten times as much. All versions of a row
        # have its step, so none is missed.
        read = f"""
            SELECT run, path, reinterpret(step, 'Int64') AS x, value FROM points FINAL
            PREWHERE step >= {{begin:Decimal64(6)}} AND step <= {{end:Decimal64(6)}}
            WHERE project = {{project:String}} AND path IN {{some:Array(String)}}
                AND run IN {{runs:Array(UInt64)}} AND NOT ({PREVIEW})
        """
        # Where a fork and its ancestors share points it matters whose each is.
        alike = len({(one.begin, one.end) for one in pieces}) == 1 and not pieces[0].shared
        if alike and not several and len(set(map(int, given["runs"]))) == len(pieces):  # type: ignore[call-overload]
            return self._named(
                "SELECT transform(run, {runs:Array(UInt64)}, {series:Array(UInt32)}, toUInt32(0))"
                f" AS series, x, value, 0 AS depth FROM ({read})",
                given,
            )
        given |= {
            "begins": [one.begin for one in pieces],
            "ends": [one.end for one in pieces],
            "depths": [one.depth for one in pieces],
            "numbers": [self._number_of[one.path] for one in pieces],
        }
        sql = f"""
            SELECT j.series AS series, p.x AS x, p.value AS value, j.depth AS depth
            FROM (SELECT *, {self._path_number("path")} AS path_number FROM ({read})) AS p
            JOIN (
                SELECT one.1 AS run, one.2 AS begin, one.3 AS end, one.4 AS depth,
                    one.5 AS series, one.6 AS path_number
                FROM (SELECT arrayJoin(arrayZip(
                    {{runs:Array(UInt64)}}, {{begins:Array(Int64)}}, {{ends:Array(Int64)}},
                    {{depths:Array(UInt32)}}, {{series:Array(UInt32)}},
                    {{numbers:Array(UInt32)}})) AS one)
            ) AS j ON p.run = j.run AND p.path_number = j.path_number
            WHERE p.x >= j.begin AND p.x < j.end
        """
        return self._named(sql, given)

    def _number(self, place: int, path: str) -> int:
        return self._number_of[path] * self._runs + place

    def _path_number(self, path: str) -> str:
        return (
            f"transform({path}, {{all_paths:Array(String)}},"
            f" {{path_numbers:Array(UInt32)}}, toUInt32(0))"
        )

    def _series(self, place: str, path: str) -> str:
        return f"toUInt32({self._path_number(path)} * {self._runs} + {place})"

    def _named(self, sql: str, given: Mapping[str, object]) -> str:
        """The SQL with these parameters under names of their own."""
        number = len(self._branches) + len(self._whole)
        for name, value in given.items():
            if name == "project":
                continue
            sql = sql.replace(f"{{{name}:", f"{{{name}_{number}:")
            self.parameters[f"{name}_{number}"] = value
        return sql
