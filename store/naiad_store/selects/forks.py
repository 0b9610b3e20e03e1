"""Forks in SQL: whose configs and points count as theirs, as relations that a question joins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from naiad_store.selects.lineage import Lineage
from naiad_store.selects.runs import RunRow
from naiad_store.store import Store

_HEIRS = """(
    SELECT one.1 AS run, one.2 AS source, one.3 AS depth FROM (SELECT arrayJoin(arrayZip(
        {heirs_run:Array(UInt64)}, {heirs_source:Array(UInt64)}, {heirs_depth:Array(UInt32)}
    )) AS one)
)"""
_STRETCHES = """(
    SELECT one.1 AS run, one.2 AS source, one.3 AS until, one.4 AS depth
    FROM (SELECT arrayJoin(arrayZip(
        {forks_run:Array(UInt64)}, {forks_source:Array(UInt64)}, {forks_until:Array(Int64)},
        {forks_depth:Array(UInt32)}
    )) AS one)
)"""


@dataclass(frozen=True, slots=True)
class Forks:
    """The forks among the runs of a question. Falsy where there are none."""

    # (run, source, depth): of those that inherit configs, themselves (depth 0) and each ancestor
    # whose configs count where they and those before have none.
    heirs: Sequence[tuple[int, int, int]] = ()
    # (run, source, until, depth): of all, as `lineage.Stretch`.
    stretches: Sequence[tuple[int, int, int, int]] = ()

    @classmethod
    def of(cls, store: Store, project: str, forks: Sequence[RunRow]) -> Forks:
        if not forks:
            return cls()
        lineage = Lineage(store, project, forks)
        heirs = []
        for fork in forks:
            line = lineage.config_ancestors(fork)
            if line:
                heirs += [(fork.run, one.run, depth) for depth, one in enumerate([fork, *line])]
        stretches = [
            (forks[stretch.place].run, stretch.source, stretch.until, stretch.depth)
            for stretch in lineage.stretches(forks)
        ]
        return cls(heirs, stretches)

    def __bool__(self) -> bool:
        return bool(self.stretches)

    def inherited(
        self, rows: str, columns: Sequence[str], by: str, parameters: dict[str, object]
    ) -> str:
        """SQL of `rows` (`run` and `columns`, of single values or sets) as runs have them, with
        those that forks inherit. `by`: the columns that tell a run's values apart."""
        if not self.heirs:
            return rows
        names = ("run", "source", "depth")
        for number, name in enumerate(names):
            parameters[f"heirs_{name}"] = [heir[number] for heir in self.heirs]
        shown = ", ".join(columns)
        theirs = ", ".join(f"a.{column} AS {column}" for column in columns)
        return f"""
            SELECT run, {shown} FROM ({rows}) WHERE run NOT IN {{heirs_run:Array(UInt64)}}
            UNION ALL SELECT run, {shown} FROM (
                SELECT h.run AS run, h.depth AS depth, {theirs}
                FROM ({rows}) AS a JOIN {_HEIRS} AS h ON a.run = h.source
                ORDER BY run, {by} depth LIMIT 1 BY {by} run
            )
        """

    def line(self, table: str, value: str, where: str, parameters: dict[str, object]) -> str:
        """SQL of the points of forks, their ancestors' among them: `run`, `x` (micro-steps) and
        `value`, each (run, x) once. `where` chooses rows of the table."""
        names = ("run", "source", "until", "depth")
        for number, name in enumerate(names):
            parameters[f"forks_{name}"] = [stretch[number] for stretch in self.stretches]
        return f"""
            SELECT s.run AS run, p.x AS x, p.value AS value
            FROM (
                SELECT run AS source, reinterpret(step, 'Int64') AS x, {value} AS value
                FROM {table} FINAL WHERE {where} AND run IN {{forks_source:Array(UInt64)}}
            ) AS p
            JOIN {_STRETCHES} AS s ON p.source = s.source
            WHERE p.x <= s.until
            ORDER BY run, x, s.depth LIMIT 1 BY run, x
        """
