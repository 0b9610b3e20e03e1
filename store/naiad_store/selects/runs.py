"""Which runs a question is about, and what each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from naiad_store.selects import trash
from naiad_store.selects.patterns import matching
from naiad_store.store import Store

_COLUMNS = """
    run, run_id, incarnation, experiment, created_at, owner, fork_run_id, fork_step,
    inherit_configs, version
"""


def _of_project(experiment: str) -> str:
    return f"""
    SELECT
        r.run AS run, r.run_id AS run_id, r.incarnation AS incarnation,
        {experiment} AS experiment, r.created_at AS created_at,
        r.owner AS owner, r.fork_run_id AS fork_run_id,
        reinterpret(r.fork_step, 'Int64') AS fork_step, r.inherit_configs AS inherit_configs,
        r.version AS version
    FROM (SELECT * FROM runs FINAL WHERE project = {{project:String}}) AS r
"""


# A question about points that names runs by their ids need not know their experiments: the join
# takes as long as the rest.
_NAMELESS = _of_project("''")
_RUNS = f"""
    {_of_project("n.text")}
    LEFT JOIN (
        SELECT run, text FROM attributes FINAL
        WHERE project = {{project:String}} AND path = 'sys/name' AND type = 'string'
    ) AS n ON n.run = r.run
"""
_LIVES = """
    SELECT run, 1 AS lived, state, reason, last_seen_at, ended_at
    FROM view_run_lives WHERE project = {project:String}
"""
_TRASHED = """
    SELECT run, 1 AS trashed, deleted_at, toString(deleted_by) AS deleted_by
    FROM (
        SELECT run, state, deleted_at, deleted_by FROM tombstones FINAL
        WHERE project = {project:String}
    ) WHERE state = 'trash'
"""


@dataclass(frozen=True, slots=True)
class Which:
    """The wire's `RunSelector`: neither pattern nor names means all; `filter` is of those the
    ones for which it is true (docs/filters.md), empty: all of them; `in_trash`, those in the
    trash instead of the others."""

    by_experiment: bool = False
    pattern: str | None = None
    names: Sequence[str] | None = None
    filter: str = ""
    in_trash: bool = False


class RunRow(NamedTuple):
    """A run as it was born. One whose creation has not arrived yet counts too."""

    run: int
    run_id: str
    # Empty if it has none, or runs were not asked for by it.
    experiment: str
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


def choose(
    store: Store, project: str, which: Which, *, now: float | None = None, names: bool = True
) -> pa.Table:
    """A row per run in the columns of RunRow, created_at, version_high and version_low (of the
    creation's version), newest first: by creation time, version, run id. By experiment: of each
    name the run whose creation came last, which is its head; runs without a name are left out,
    and the filter is asked of the heads.

    `now`, in seconds, is what the filter's ago() counts from. Without `names`, experiments need
    not be there. Raises FilterError, and StoreError for a pattern that is not RE2.
    """
    parameters: dict[str, object] = {"project": project}
    sql = _named(which, parameters, names=names or bool(which.filter.strip()))
    condition = None
    if which.filter.strip():
        # They ask for runs themselves.
        from naiad_store.selects.filters import condition_of

        condition = condition_of(store, project, which, parameters, now)
        sql = with_facts(sql, lives=condition.lives, trash=condition.trash)
    where = f"WHERE {condition.sql}" if condition else ""
    return store.query(
        f"""
        SELECT
            run, run_id, experiment, created_at, fork_run_id, fork_step, inherit_configs,
            toUInt64(bitShiftRight(version, 64)) AS version_high,
            toUInt64(bitAnd(version, toUInt128('18446744073709551615'))) AS version_low
        FROM ({sql}) {where}
        ORDER BY created_at DESC, version DESC, run_id
        """,
        parameters,
    )


def select_runs(store: Store, project: str, which: Which) -> list[RunRow]:
    """The same as rows, which have an experiment where it is asked for by it."""
    return run_rows(choose(store, project, which, names=which.by_experiment))


def forks_among(store: Store, project: str, which: Which) -> list[RunRow]:
    """The forks among the runs that `which` chooses by name."""
    parameters: dict[str, object] = {"project": project}
    any_sql = "SELECT 1 AS one FROM runs WHERE project = {project:String} AND fork_run_id != ''"
    if not store.query(f"{any_sql} LIMIT 1", parameters).num_rows:
        return []
    found = store.query(
        f"SELECT {_COLUMNS} FROM ({_named(which, parameters)}) WHERE fork_run_id != ''"
        " ORDER BY run_id",
        parameters,
    )
    return run_rows(found)


def run_rows(table: pa.Table) -> list[RunRow]:
    """Of what `choose` gives."""
    columns = [table.column(name).to_pylist() for name in RunRow._fields]
    columns[-1] = [bool(value) for value in columns[-1]]
    return [RunRow(*values) for values in zip(*columns, strict=True)]


def fork_rows(table: pa.Table) -> list[RunRow]:
    """Those of them that are forks."""
    return run_rows(table.filter(pc.not_equal(table.column("fork_run_id"), "")))


def with_facts(
    runs: str = _RUNS, *, lives: bool = False, trash: bool = False, among: str = "1"
) -> str:
    """SQL of `runs`; with `lives` and of what their writers say of them: lived (whether a writer
    has been seen), state, reason, last_seen_at, ended_at; with `trash` and of how they came there:
    trashed (whether they are there), deleted_at, deleted_by. `among` is a condition on `run`."""
    found = f"SELECT * FROM ({runs}) WHERE {among}"
    if lives:
        found = f"""
            SELECT
                b.*, l.lived AS lived, l.state AS state, l.reason AS reason,
                l.last_seen_at AS last_seen_at, l.ended_at AS ended_at
            FROM ({found}) AS b LEFT JOIN ({_LIVES} AND {among}) AS l ON l.run = b.run
        """
    if trash:
        found = f"""
            SELECT
                b.*, t.trashed AS trashed, t.deleted_at AS deleted_at, t.deleted_by AS deleted_by
            FROM ({found}) AS b LEFT JOIN ({_TRASHED} AND {among}) AS t ON t.run = b.run
        """
    return found


def _named(which: Which, parameters: dict[str, object], *, names: bool = False) -> str:
    """SQL of the runs by their names alone; with `names` and of their experiments'."""
    name = "experiment" if which.by_experiment else "run_id"
    conditions = [trash.condition(in_trash=which.in_trash)]
    if which.by_experiment:
        conditions.append("experiment != ''")
    if which.names is not None:
        conditions.append(f"{name} IN {{names:Array(String)}}")
        parameters["names"] = list(which.names)
    elif which.pattern is not None:
        conditions.append(matching(name, which.pattern, parameters))
    where = f"WHERE {' AND '.join(conditions)}"
    one = "ORDER BY version DESC, run LIMIT 1 BY experiment" if which.by_experiment else ""
    runs = _RUNS if names or which.by_experiment else _NAMELESS
    return f"SELECT {_COLUMNS} FROM ({runs}) {where} {one}"


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
