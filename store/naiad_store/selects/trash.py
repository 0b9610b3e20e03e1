"""Which runs are in the trash, and which are hidden: those and the purged ones."""

from __future__ import annotations

from naiad_store.store import Store


def condition(*, in_trash: bool = False, column: str = "run") -> str:
    """A condition on a run's key: it is neither deleted nor purged; or it is in the trash."""
    if in_trash:
        return f"{column} IN (SELECT run FROM trashed_runs)"
    return f"{column} NOT IN (SELECT run FROM hidden_runs)"


def hidden(store: Store, project: str) -> set[int]:
    """Keys of the project's runs that are deleted or purged."""
    found = store.query(
        "SELECT run FROM (SELECT run, state FROM tombstones FINAL"
        " WHERE project = {project:String}) WHERE state != 'restored'",
        {"project": project},
    )
    return set(found.column(0).to_pylist())
