"""The views that users' SQL reads; docs/sql.md describes their columns."""

from __future__ import annotations

from collections.abc import Mapping

from naiad_store.store import Store

# As users name them: as the store does.
VIEWS = {
    "runs": "view_runs",
    "configs": "view_configs",
    "points": "view_points",
    "attributes": "view_attributes",
    "tags": "view_tags",
    "series": "view_series",
    "logs": "view_logs",
    "strings": "view_strings",
    "histograms": "view_histograms",
    "files": "view_files",
}
# Tables that views read for everybody: they have nothing of a project.
SHARED = ("listening",)
ABOUT = {
    "runs": "a row per run: experiment, state, owner, times, fork",
    "configs": "what was set once: numbers, texts, bools, times",
    "points": "every point of every metric",
    "attributes": "all single values: configs, files and what the platform set",
    "tags": "elements of string sets, such as sys/tags",
    "series": "which series there are, with the last point of each",
    "logs": "console lines and other logged texts",
    "strings": "points of string series, as logs has them",
    "histograms": "points of histogram series",
    "files": "points of file series, and files assigned once",
}


def tables(store: Store) -> Mapping[str, bool]:
    """The store's own tables, and whether each has a column `project`. Raises StoreError."""
    found = store.query(
        "SELECT table, max(name = 'project') AS has_project FROM system.columns"
        " WHERE database = {database:String} AND table IN ("
        "   SELECT name FROM system.tables"
        "   WHERE database = {database:String} AND engine NOT LIKE '%View')"
        " GROUP BY table ORDER BY table",
        {"database": store.database},
    )
    names, having = found.column("table").to_pylist(), found.column("has_project").to_pylist()
    return {str(name): bool(has) for name, has in zip(names, having, strict=True)}
