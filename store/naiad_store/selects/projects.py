"""What there is of projects, and how long it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from naiad_store.selects import trash
from naiad_store.store import Store


@dataclass(frozen=True, slots=True)
class Retention:
    """Days from a run's end to the trash, and from there to its purge; 0 is for ever."""

    days: int
    trash_days: int
    set_at: datetime
    set_by: str


@dataclass(frozen=True, slots=True)
class Project:
    name: str
    # Those that are not in the trash.
    runs: int
    runs_in_trash: int
    # None where nothing was said.
    retention: Retention | None


def described(store: Store, names: Sequence[str] | None = None) -> list[Project]:
    """Projects that have a run, if only in the trash, in alphabetical order; of `names` those that
    are among them."""
    among, parameters = "1", {}
    if names is not None:
        among, parameters = "project IN {projects:Array(String)}", {"projects": list(names)}
    # A run has one key however many rows of its creation there are.
    counts = store.query(
        f"""
        SELECT project, uniqExactIf(run, {trash.condition()}) AS runs,
            uniqExactIf(run, {trash.condition(in_trash=True)}) AS runs_in_trash
        FROM runs WHERE {among} GROUP BY project HAVING runs + runs_in_trash > 0 ORDER BY project
        """,
        parameters,
    ).to_pylist()
    rows = store.query(
        "SELECT project, days, trash_days, set_at, toString(set_by) AS set_by FROM retention FINAL"
        f" WHERE {among}",
        parameters,
    ).to_pylist()
    kept = {row.pop("project"): Retention(**row) for row in rows}
    return [
        Project(row["project"], row["runs"], row["runs_in_trash"], kept.get(row["project"]))
        for row in counts
    ]
