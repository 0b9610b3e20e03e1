"""The views that users' SQL reads; docs/sql.md describes their columns."""

from __future__ import annotations

# As users name them: as the store does.
VIEWS = {
    "runs": "view_runs",
    "points": "view_points",
    "attributes": "view_attributes",
    "tags": "view_tags",
    "series": "view_series",
    "strings": "view_strings",
    "histograms": "view_histograms",
    "files": "view_files",
}
ABOUT = {
    "runs": "a row per run: experiment, state, owner, times, fork",
    "points": "every point of every metric",
    "attributes": "configs and other single values",
    "tags": "elements of string sets, such as sys/tags",
    "series": "which series there are, with the last point of each",
    "strings": "points of string series, such as console lines",
    "histograms": "points of histogram series",
    "files": "points of file series, and files assigned once",
}
