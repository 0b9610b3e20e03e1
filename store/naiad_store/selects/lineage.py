"""Forks: whose points stand for a run's, and up to which step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from naiad_proto.steps import MAX_MICRO_STEP
from naiad_store.selects.runs import RunRow, Which, select_runs
from naiad_store.store import Store

# A chain longer than this is a mistake.
LONGEST = 1000


class Stretch(NamedTuple):
    """Points of the run `source` with steps up to `until` (micro-steps) are also those of the
    run at `place` in the question, unless a stretch of less `depth` has the step too."""

    place: int
    source: int
    until: int
    depth: int


class Lineage:
    """Some runs with all their ancestors."""

    def __init__(self, store: Store, project: str, runs: Sequence[RunRow]) -> None:
        self._known = {run.run_id: run for run in runs}
        wanted = {run.fork_run_id for run in runs}
        for _ in range(LONGEST):
            missing = wanted - self._known.keys() - {""}
            if not missing:
                break
            found = select_runs(store, project, Which(names=sorted(missing)))
            # One that isn't there yet, or never was, is not asked for again.
            wanted = {run.fork_run_id for run in found}
            self._known |= {run.run_id: run for run in found}

    def ancestors(self, run: RunRow) -> list[RunRow]:
        """From the parent on; ends where one isn't known, or comes again."""
        found: list[RunRow] = []
        seen = {run.run_id}
        while run.fork_run_id not in seen and len(found) < LONGEST:
            parent = self._known.get(run.fork_run_id)
            if parent is None:
                break
            seen.add(parent.run_id)
            found.append(parent)
            run = parent
        return found

    def config_ancestors(self, run: RunRow) -> list[RunRow]:
        """Those whose configs stand for the run's where it has none."""
        found: list[RunRow] = []
        for parent in self.ancestors(run):
            if not run.inherit_configs:
                break
            found.append(parent)
            run = parent
        return found

    def stretches(self, runs: Sequence[RunRow]) -> list[Stretch]:
        """Of all of `runs`, each of which has its own points without an end."""
        found = []
        for place, run in enumerate(runs):
            found.append(Stretch(place, run.run, MAX_MICRO_STEP, 0))
            until, child = MAX_MICRO_STEP, run
            for depth, parent in enumerate(self.ancestors(run), 1):
                until = min(until, child.fork_step)
                found.append(Stretch(place, parent.run, until, depth))
                child = parent
        return found
