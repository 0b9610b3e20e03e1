"""What the points of a metric come to in each run, from rollups where these are right and from
points elsewhere.

As for charts it is asked before what is rolled. Of a series that is, clean stretches come from the
coarsest rows that lie in them, and points only from what is dirty or not rolled yet; the first
point is looked up where the lowest step is. What is rolled at all is long, so there are far fewer
rows of rollups than points. Series that are not rolled are read from their points.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from naiad_proto.steps import MAX_MICRO_STEP
from naiad_store.selects.forks import Forks
from naiad_store.selects.known import Line, last_steps, own_lowest
from naiad_store.selects.pieces import Pieces, Points, zones
from naiad_store.selects.rolled import Rolled, Series, rolled
from naiad_store.selects.scope import PREVIEW
from naiad_store.selects.summing import FIRST, PARTS, Reads
from naiad_store.store import Store

# Every tier is fine enough: no columns are drawn.
_WIDEST = 62
_END = MAX_MICRO_STEP + 1


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
            found += self._reads(pieces).sql(FIRST)
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

    def _reads(self, pieces: Pieces) -> Reads:
        return Reads(pieces, self._owners, self._where, self._give)

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


def _lines(forks: Forks) -> dict[int, list[tuple[int, int]]]:
    """Of each fork (run, until) from itself back to its oldest ancestor."""
    found: dict[int, list[tuple[int, int]]] = {}
    for run, source, until, _ in sorted(forks.stretches, key=lambda one: (one[0], one[3])):
        found.setdefault(run, []).append((source, until))
    return found
