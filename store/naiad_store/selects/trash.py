"""Which runs are in the trash, and which are hidden: those and the purged ones."""

from __future__ import annotations

from dataclasses import dataclass

from naiad_store.store import Store


def condition(*, in_trash: bool = False, column: str = "run") -> str:
    """A condition on a run's key: it is neither deleted nor purged; or it is in the trash."""
    if in_trash:
        return f"{column} IN (SELECT run FROM trashed_runs)"
    return f"{column} NOT IN (SELECT run FROM hidden_runs)"


def not_purged() -> str:
    """A condition on the key of a run of the project in the parameter `project`: it is there, or
    in the trash."""
    return (
        "run NOT IN (SELECT run FROM (SELECT run, state FROM tombstones FINAL"
        " WHERE project = {project:String}) WHERE state = 'purged')"
    )


@dataclass(frozen=True, slots=True)
class Due:
    """A life that has been kept for long enough."""

    project: str
    run_id: str
    incarnation: int
    # The highest of its writers.
    epoch: int
    # Of the log, where its writers' records stand.
    partition: int


def retentions(store: Store) -> list[tuple[str, int, int]]:
    """(project, days, days in the trash) of each project of which it was said; 0 is for ever."""
    rows = store.query("SELECT project, days, trash_days FROM retention FINAL").to_pylist()
    return [(row["project"], row["days"], row["trash_days"]) for row in rows]


def unheard(store: Store, project: str, since: int) -> list[Due]:
    """Runs that have ended, and were last heard of, before `since` (Unix milliseconds)."""
    return _due(
        store,
        f"{condition()} AND heard_ms < {{since:Int64}}",
        {"project": project, "since": since},
    )


def trashed(store: Store, project: str, since: int) -> list[Due]:
    """Runs that have been in the trash since before then (Unix milliseconds)."""
    return _due(
        store,
        "run IN (SELECT run FROM (SELECT run, state, deleted_at FROM tombstones FINAL"
        " WHERE project = {project:String}) WHERE state = 'trash'"
        " AND toUnixTimestamp64Milli(deleted_at) < {since:Int64})",
        {"project": project, "since": since},
    )


def purged(store: Store, since: int) -> dict[str, list[int]]:
    """Keys of the runs that were purged since then (Unix milliseconds), by project."""
    rows = store.query(
        "SELECT project, run FROM (SELECT project, run, state, changed_at FROM tombstones FINAL)"
        " WHERE state = 'purged' AND toUnixTimestamp64Milli(changed_at) >= {since:Int64}",
        {"since": since},
    ).to_pylist()
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(row["project"], []).append(row["run"])
    return found


def unreferred_files(store: Store, discarded_before: int, limit: int) -> list[str]:
    """Keys of files that were discarded before then (Unix milliseconds) and that nothing in any
    project refers to."""
    found = store.query(
        "SELECT key FROM discarded_files FINAL"
        " WHERE toUnixTimestamp64Milli(discarded_at) < {before:Int64}"
        " AND key NOT IN (SELECT file.key FROM attributes WHERE type = 'file')"
        " AND key NOT IN (SELECT file.key FROM file_points)"
        " ORDER BY discarded_at LIMIT {limit:UInt64}",
        {"before": discarded_before, "limit": limit},
    )
    return [str(key) for key in found.column(0).to_pylist()]


def _due(store: Store, which: str, parameters: dict[str, object]) -> list[Due]:
    rows = store.query(
        f"""
        SELECT project, run_id, incarnation, epoch, partition FROM
        (
            SELECT r.project AS project, r.run_id AS run_id, r.incarnation AS incarnation,
                r.run AS run, w.epoch AS epoch, w.partition AS partition,
                greatest(w.heard_ms, toUnixTimestamp64Milli(r.created_at)) AS heard_ms
            FROM (SELECT * FROM runs FINAL WHERE project = {{project:String}}) AS r
            LEFT JOIN
            (
                SELECT run, max(epoch) AS epoch,
                    toUnixTimestamp64Milli(max(greatest(last_seen_at, ended_at))) AS heard_ms,
                    argMax(log_partition, last_seen_at) AS partition
                FROM (SELECT * FROM writers FINAL WHERE project = {{project:String}})
                GROUP BY run
            ) AS w ON w.run = r.run
        ) WHERE {which} ORDER BY run_id, incarnation
        """,
        parameters,
    ).to_pylist()
    return [Due(**row) for row in rows]


def hidden(store: Store, project: str) -> set[int]:
    """Keys of the project's runs that are deleted or purged."""
    found = store.query(
        "SELECT run FROM (SELECT run, state FROM tombstones FINAL"
        " WHERE project = {project:String}) WHERE state != 'restored'",
        {"project": project},
    )
    return set(found.column(0).to_pylist())
