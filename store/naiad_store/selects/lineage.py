"""Forks: whose points stand for a run's, and up to which step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from naiad_proto.steps import MAX_MICRO_STEP
from naiad_store.selects.runs import RunRow, Which, select_runs
from naiad_store.store import Store

# A chain longer than this is a mistake, or somebody's fun.
LONGEST = 1000


class Stretch(NamedTuple):
    """Points of `source` with steps up to `until` (micro-steps) stand for `run`'s, unless a
    stretch of less `depth` has the step too."""

    run: int
    source: int
    until: int
    depth: int


def stretches(
    store: Store, project: str, runs: Sequence[RunRow], *, own_points_only: bool
) -> list[Stretch] | None:
    """All of `runs`; None where each stands for itself alone, which asks for less."""
    if own_points_only or not any(run.fork_run_id for run in runs):
        return None
    known = {run.run_id: run for run in runs}
    missing = {run.fork_run_id for run in runs if run.fork_run_id} - known.keys()
    for _ in range(LONGEST):
        if not missing:
            break
        found = select_runs(store, project, Which(names=sorted(missing)))
        known |= {run.run_id: run for run in found}
        missing = {run.fork_run_id for run in found if run.fork_run_id} - known.keys()
    chains = []
    for run in runs:
        chains.append(Stretch(run.run, run.run, MAX_MICRO_STEP, 0))
        seen = {run.run_id}
        until, ancestor = MAX_MICRO_STEP, run
        while ancestor.fork_run_id and ancestor.fork_run_id not in seen:
            until = min(until, ancestor.fork_step)
            parent = known.get(ancestor.fork_run_id)
            if parent is None or len(seen) > LONGEST:
                break
            seen.add(parent.run_id)
            chains.append(Stretch(run.run, parent.run, until, len(seen) - 1))
            ancestor = parent
    return chains


def source(
    table: str,
    columns: Mapping[str, str],
    chains: Sequence[Stretch] | None,
    condition: str,
    parameters: dict[str, object],
) -> str:
    """SQL of the points of `table` that stand for the runs: `run`, `path`, `x` (micro-steps),
    `ts` and `columns` (expressions by name), each key once. Without `chains`, the runs are
    {runs:Array(UInt64)}."""
    made = ", ".join(f"{expression} AS {name}" for name, expression in columns.items())
    if chains is None:
        return (
            f"SELECT run, path, reinterpret(step, 'Int64') AS x, ts, {made}"
            f" FROM {table} FINAL WHERE project = {{project:String}} AND {condition}"
            " AND run IN {runs:Array(UInt64)}"
        )
    parameters["sources"] = sorted({chain.source for chain in chains})
    parameters["chain_run"] = [chain.run for chain in chains]
    parameters["chain_source"] = [chain.source for chain in chains]
    parameters["chain_until"] = [chain.until for chain in chains]
    parameters["chain_depth"] = [chain.depth for chain in chains]
    return (
        f"SELECT target AS run, path, x, ts, {', '.join(columns)} FROM ("
        f" SELECT run AS source_run, path, reinterpret(step, 'Int64') AS x, ts, {made}"
        f" FROM {table} FINAL WHERE project = {{project:String}} AND {condition}"
        " AND run IN {sources:Array(UInt64)}) AS p"
        " JOIN (SELECT c.1 AS target, c.2 AS chain_source, c.3 AS until, c.4 AS depth FROM"
        " (SELECT arrayJoin(arrayZip({chain_run:Array(UInt64)}, {chain_source:Array(UInt64)},"
        " {chain_until:Array(Int64)}, {chain_depth:Array(UInt32)})) AS c)) AS c"
        " ON source_run = chain_source WHERE x <= until"
        " ORDER BY run, path, x, depth LIMIT 1 BY run, path, x"
    )
