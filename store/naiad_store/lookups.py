"""What the writer asks of the store when it meets a run or a spool that it doesn't know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from naiad_store.lives import Tombstone, tombstone_of
from naiad_store.store import Store


def names_of_runs(store: Store, runs: Iterable[int]) -> dict[int, tuple[str, str]]:
    """(project, run id) by run key, of those that have a row."""
    found = store.query(
        "SELECT DISTINCT run, project, run_id FROM runs WHERE run IN {runs:Array(UInt64)}",
        {"runs": list(runs)},
    )
    return {row["run"]: (row["project"], row["run_id"]) for row in found.to_pylist()}


def types_of_run(store: Store, project: str, run: int) -> list[tuple[str, str]]:
    """(path, type) of every attribute and series of a run, in no order."""
    found = store.query(
        "SELECT DISTINCT path, type FROM ("
        " SELECT path, type FROM series"
        " WHERE project = {project:String} AND run = {run:UInt64} UNION ALL"
        " SELECT path, type FROM attributes"
        " WHERE project = {project:String} AND run = {run:UInt64} UNION ALL"
        " SELECT path, 'string_set' AS type FROM string_sets"
        " WHERE project = {project:String} AND run = {run:UInt64})",
        {"project": project, "run": run},
    )
    return list(zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True))


def paths_warned_of(store: Store, project: str, run: int) -> list[str]:
    """The path of each warning that was said of the run's records."""
    found = store.query(
        "SELECT JSONExtractString(arrayJoin(warnings), 'path') AS path FROM writers FINAL"
        " WHERE project = {project:String} AND run = {run:UInt64}",
        {"project": project, "run": run},
    )
    return [str(path) for path in found.column(0).to_pylist()]


def rows_of_writers(
    store: Store, projects: Iterable[str], runs: Iterable[int]
) -> list[dict[str, Any]]:
    """The rows of `writers` of these runs, of every partition; each as it stands in the
    table."""
    rows: list[dict[str, Any]] = store.query(
        "SELECT * FROM writers FINAL WHERE project IN {projects:Array(String)}"
        " AND run IN {runs:Array(UInt64)}",
        {"projects": sorted(projects), "runs": sorted(runs)},
    ).to_pylist()
    return rows


def highest_epoch(store: Store) -> int:
    """The highest under which anybody has owned a partition, or written as its owner."""
    found = store.query(
        "SELECT greatest((SELECT max(epoch) FROM owners),"
        " (SELECT bitShiftRight(max(row_version), 40) FROM writers)) AS epoch"
    )
    return int(found.column(0)[0].as_py())


def tombstones(
    store: Store, projects: Iterable[str] | None = None, run_ids: Iterable[str] | None = None
) -> list[Tombstone]:
    """Of these run ids, or of all, of these projects, or of all."""
    named = "1" if projects is None else "project IN {projects:Array(String)}"
    named += "" if run_ids is None else " AND run_id IN {run_ids:Array(String)}"
    found = store.query(
        "SELECT project, run_id, until, incarnation, next, state, deleted_by, changed_by, version,"
        " toUnixTimestamp64Milli(deleted_at) AS deleted_ms,"
        " toUnixTimestamp64Milli(changed_at) AS changed_ms"
        f" FROM tombstones FINAL WHERE {named}",
        {"projects": sorted(projects or ()), "run_ids": sorted(run_ids or ())},
    )
    return [tombstone_of(row) for row in found.to_pylist()]
