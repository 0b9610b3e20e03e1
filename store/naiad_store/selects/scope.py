"""What a question about points is about: runs, and the SQL of the points that are theirs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from naiad_proto.steps import MAX_MICRO_STEP
from naiad_store.selects.lineage import Lineage, Stretch
from naiad_store.selects.runs import RunRow
from naiad_store.selects.steps import decimal
from naiad_store.store import Store

# A preview stands for its point until the committed one comes.
PREVIEW = "committed = 0"


@dataclass(frozen=True, slots=True)
class Range:
    """Micro-steps, both ends in; None is open."""

    begin: int | None = None
    end: int | None = None


ALL = Range()


@dataclass(frozen=True, slots=True)
class Scope:
    """Runs, numbered as they stand here."""

    project: str
    # Run keys.
    runs: Sequence[int]
    # None where each run stands for itself alone, which asks for less.
    stretches: Sequence[Stretch] | None = None
    # Numbers of the runs, where they aren't those of their order.
    places: Sequence[int] | None = None

    @classmethod
    def of(
        cls, store: Store, project: str, runs: Sequence[RunRow], *, own_points_only: bool = False
    ) -> Scope:
        keys = [run.run for run in runs]
        if own_points_only or not any(run.fork_run_id for run in runs):
            return cls(project, keys)
        return cls(project, keys, Lineage(store, project, runs).stretches(runs))

    @property
    def numbers(self) -> list[int]:
        return list(range(len(self.runs)) if self.places is None else self.places)

    def part(self, places: Collection[int]) -> Scope:
        """Some of the runs, by their numbers, which they keep."""
        chosen = [(run, place) for run, place in zip(self.runs, self.numbers, strict=True)
                  if place in places]  # fmt: skip
        return Scope(
            self.project,
            [run for run, _ in chosen],
            None if self.stretches is None else [s for s in self.stretches if s.place in places],
            [place for _, place in chosen],
        )

    def in_order(self, places: Sequence[int]) -> Scope:
        """The same runs, all of them, numbered in the order in which these are their places."""
        number_of = {place: number for number, place in enumerate(places)}
        stretches = self.stretches
        return Scope(
            self.project,
            [self.runs[place] for place in places],
            None
            if stretches is None
            else [one._replace(place=number_of[one.place]) for one in stretches],
        )

    @property
    def sources(self) -> list[int]:
        """Keys of all runs whose points are read."""
        if self.stretches is None:
            return list(self.runs)
        return sorted({stretch.source for stretch in self.stretches})

    def points(
        self,
        table: str,
        columns: Mapping[str, str],
        paths: Sequence[str],
        parameters: dict[str, object],
        *,
        steps: Range = ALL,
        keep: str = "1",
        final: bool = True,
    ) -> str:
        """SQL of the rows of `table` at `paths` that are the runs': `place` of the run, `path`,
        `x` (micro-steps), `ts`, and `columns` (expressions by name), each (place, path, x)
        once. `keep` is a condition on the table's rows; without `final` those that a newer
        version has replaced may come too. Values go into `parameters`."""
        conditions = ["project = {project:String}", "path IN {paths:Array(String)}", keep]
        # Asked before FINAL, which then merges nothing else; all versions of a row have its step.
        first: list[str] = []
        parameters |= {"project": self.project, "paths": list(paths)}
        if steps.begin is not None and steps.begin > MAX_MICRO_STEP:
            # Beyond what a Decimal64 of the store can say.
            conditions.append("0")
        elif steps.begin is not None and steps.begin > 0:
            first.append("step >= {begin:Decimal64(6)}")
            parameters["begin"] = decimal(steps.begin)
        if steps.end is not None and steps.end < 0:
            conditions.append("0")
        elif steps.end is not None and steps.end < MAX_MICRO_STEP:
            first.append("step <= {end:Decimal64(6)}")
            parameters["end"] = decimal(steps.end)
        shown = "".join(f", {value} AS {name}" for name, value in columns.items())
        found = f"path, reinterpret(step, 'Int64') AS x, ts{shown} FROM {table}"
        found += " FINAL" if final else ""
        found += f" PREWHERE {' AND '.join(first)}" if first else ""
        where = " AND ".join(conditions)
        if self.stretches is None:
            parameters |= {"runs": list(self.runs), "places": self.numbers}
            return (
                "SELECT transform(run, {runs:Array(UInt64)}, {places:Array(UInt32)}, toUInt32(0))"
                f" AS place, {found} WHERE {where} AND run IN {{runs:Array(UInt64)}}"
            )
        parameters["sources"] = self.sources
        for name in Stretch._fields:
            parameters[f"of_{name}"] = [getattr(stretch, name) for stretch in self.stretches]
        outer = "".join(f", p.{name} AS {name}" for name in columns)
        return f"""
            SELECT s.place AS place, p.path AS path, p.x AS x, p.ts AS ts{outer}
            FROM (
                SELECT run AS source, {found}
                WHERE {where} AND run IN {{sources:Array(UInt64)}}
            ) AS p
            JOIN (
                SELECT one.1 AS place, one.2 AS source, one.3 AS until, one.4 AS depth
                FROM (SELECT arrayJoin(arrayZip(
                    {{of_place:Array(UInt32)}}, {{of_source:Array(UInt64)}},
                    {{of_until:Array(Int64)}}, {{of_depth:Array(UInt32)}})) AS one)
            ) AS s ON p.source = s.source
            WHERE p.x <= s.until
            ORDER BY place, path, x, s.depth
            LIMIT 1 BY place, path, x
        """
