"""Which runs a question is about, and what each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from naiad_store.selects import trash
from naiad_store.selects.patterns import matching
from naiad_store.store import Store

_COLUMNS = """
    run, run_id, experiment, created_at, owner, fork_run_id, fork_step, inherit_configs
"""
_RUNS = """
    SELECT
        r.run AS run, r.run_id AS run_id, n.text AS experiment, r.created_at AS created_at,
        r.owner AS owner, r.fork_run_id AS fork_run_id,
        reinterpret(r.fork_step, 'Int64') AS fork_step, r.inherit_configs AS inherit_configs,
        r.version AS version
    FROM (SELECT * FROM runs FINAL WHERE project = {project:String}) AS r
    LEFT JOIN (
        SELECT run, text FROM attributes FINAL
        WHERE project = {project:String} AND path = 'sys/name' AND type = 'string'
    ) AS n ON n.run = r.run
"""


@dataclass(frozen=True, slots=True)
class Which:
    """The wire's `RunSelector`: neither pattern nor names means all."""

    by_experiment: bool = False
    pattern: str | None = None
    names: Sequence[str] | None = None
    # Those in the trash instead of the others.
    in_trash: bool = False


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as it was born. One whose creation has not arrived yet counts too."""

    run: int
    run_id: str
    # Empty if it has none.
    experiment: str
    created_at: datetime
    owner: str
    # Empty if it is no fork.
    fork_run_id: str
    # Micro-steps.
    fork_step: int
    inherit_configs: bool


def projects(store: Store) -> list[str]:
    """All that have a run, in alphabetical order."""
    found = store.query(
        f"SELECT DISTINCT project FROM runs WHERE {trash.condition()} ORDER BY project"
    )
    return [str(name) for name in found.column(0).to_pylist()]


def has_project(store: Store, project: str) -> bool:
    """Also one that has runs only in the trash."""
    sql = (
        "SELECT 1 AS one FROM runs WHERE project = {project:String}"
        f" AND {trash.not_purged()} LIMIT 1"
    )
    return bool(store.query(sql, {"project": project}).num_rows > 0)


def select_runs(store: Store, project: str, which: Which) -> list[RunRow]:
    """Newest first. By experiment: of each name the run whose creation came last, which is
    its head; runs without a name are left out. Raises StoreError for a pattern that is not
    RE2."""
    name = "experiment" if which.by_experiment else "run_id"
    conditions = [trash.condition(in_trash=which.in_trash)]
    if which.by_experiment:
        conditions.append("experiment != ''")
    parameters: dict[str, object] = {"project": project}
    if which.names is not None:
        conditions.append(f"{name} IN {{names:Array(String)}}")
        parameters["names"] = list(which.names)
    elif which.pattern is not None:
        conditions.append(matching(name, which.pattern, parameters))
    where = f"WHERE {' AND '.join(conditions)}"
    one = "LIMIT 1 BY experiment" if which.by_experiment else ""
    sql = f"""
        SELECT {_COLUMNS} FROM (
            SELECT {_COLUMNS}, version FROM ({_RUNS}) {where}
            ORDER BY version DESC, run {one}
        ) ORDER BY created_at DESC, version DESC, run_id
    """
    return [
        RunRow(**(row | {"inherit_configs": bool(row["inherit_configs"])}))
        for row in store.query(sql, parameters).to_pylist()
    ]


@dataclass(frozen=True, slots=True)
class Lived:
    """What its writers say of a run."""

    # running, finished, stopped, failed, killed, unreachable
    state: str
    reason: str
    last_seen_at: datetime
    # The end of its last writer; None while it runs or is unreachable.
    ended_at: datetime | None


def lives_of(store: Store, project: str, runs: Sequence[int]) -> dict[int, Lived]:
    """By run, of those that a writer has been seen of."""
    rows = store.query(
        "SELECT run, state, reason, last_seen_at, ended_at FROM view_run_lives"
        " WHERE project = {project:String} AND run IN {runs:Array(UInt64)}",
        {"project": project, "runs": list(runs)},
    ).to_pylist()
    return {row.pop("run"): Lived(**row) for row in rows}
