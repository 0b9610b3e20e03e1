"""Reading back, by experiment: of each name the newest run stands for it.

    from naiad import query

    query.list_experiments(project="me/first-steps")
    query.fetch_metrics(project="me/first-steps", experiments=["hello"], attributes="^train/")

Enter: names, lists of names, or regular expressions (RE2, found anywhere). Leave: pandas
data frames with every point, not a sample. The functions have the names and arguments of
neptune_query; `naiad.query.runs` has the same by run id. Errors are `naiad.NaiadError`s.
"""

from __future__ import annotations

from typing import Literal

try:
    import pandas as pd
except ImportError as error:
    raise ImportError(
        "reading back needs pandas and pyarrow: pip install 'naiad[query]'"
    ) from error

from naiad.query._asking import NEWEST, Asking, Steps
from naiad.query.attributes import (
    Attribute,
    AttributeFilter,
    AttributesArgument,
    RunsArgument,
)
from naiad.query.client import Axis, QueryClient
from naiad.query.files import File, download_files

_ASKING = Asking(by_experiment=True)

__all__ = [
    "Attribute",
    "AttributeFilter",
    "File",
    "QueryClient",
    "download_files",
    "fetch_experiments_table",
    "fetch_metric_buckets",
    "fetch_metrics",
    "fetch_series",
    "list_attributes",
    "list_experiments",
    "list_projects",
]


def list_projects() -> list[str]:
    """Projects that the token may read, in alphabetical order."""
    with QueryClient() as client:
        return client.list_projects()


def list_experiments(*, project: str | None = None, experiments: RunsArgument = None) -> list[str]:
    """Experiment names, newest first."""
    return _ASKING.names(project, experiments)


def list_attributes(
    *,
    project: str | None = None,
    experiments: RunsArgument = None,
    attributes: AttributesArgument = None,
) -> list[str]:
    """Paths of the attributes that any of the experiments has, in alphabetical order."""
    return _ASKING.attributes(project, experiments, attributes)


def fetch_experiments_table(
    *,
    project: str | None = None,
    experiments: RunsArgument = None,
    attributes: AttributesArgument = (),
    sort_by: str | Attribute = NEWEST,
    sort_direction: Literal["asc", "desc"] = "desc",
    limit: int | None = None,
    type_suffix_in_column_names: bool = False,
) -> pd.DataFrame:
    """A row per experiment, a column per attribute: of a series its last value, of a set of strings
    a set, of a file a `File`.

    experiments: names, a regular expression (RE2, found anywhere), or None for all.
    attributes: paths, a regular expression, or an `AttributeFilter`.
    sort_by: a path, or an `Attribute` where a path has several types. Experiments without it
        come last.
    type_suffix_in_column_names: "loss:float_series" instead of "loss". A path that has several
        types gets its suffixes anyway.
    """
    return _ASKING.table(
        project,
        experiments,
        attributes,
        sort_by,
        sort_direction,
        limit,
        type_suffix_in_column_names,
    )


def fetch_metrics(
    *,
    project: str | None = None,
    experiments: RunsArgument,
    attributes: AttributesArgument,
    include_time: Literal["absolute"] | None = None,
    step_range: Steps = (None, None),
    lineage_to_the_root: bool = True,
    tail_limit: int | None = None,
    type_suffix_in_column_names: bool = False,
    include_point_previews: bool = False,
) -> pd.DataFrame:
    """Every point of metrics: rows by (experiment, step), a column per path, NaN where a path
    has no point at a step.

    include_time: "absolute" adds a column with each point's time.
    step_range: first and last step wanted, both included; None is open.
    lineage_to_the_root: a fork has its ancestors' points up to where it forked.
    tail_limit: so many points from the end of each series.
    include_point_previews: also provisional values, with columns that say so.
    """
    return _ASKING.metrics(
        project,
        experiments,
        attributes,
        include_time,
        step_range,
        lineage_to_the_root,
        tail_limit,
        type_suffix_in_column_names,
        include_point_previews,
    )


def fetch_metric_buckets(
    *,
    project: str | None = None,
    experiments: RunsArgument,
    y: AttributesArgument,
    x: Axis = "step",
    limit: int = 1000,
    x_range: Steps = (None, None),
    lineage_to_the_root: bool = True,
    include_point_previews: bool = False,
) -> pd.DataFrame:
    """What a chart needs of long series, exactly: for each of `limit` to about twice as many
    columns the first, last, least and greatest point (M4), the sum, and counts of finite, NaN
    and infinite values. Rows by (experiment, attribute, from_x).

    x: "step", "time" (Unix seconds) or "relative_time" (seconds since the run's first point
        among those asked for).
    x_range: where to look, in units of x; widened to whole columns.
    """
    return _ASKING.buckets(
        project, experiments, y, x, limit, x_range, lineage_to_the_root, include_point_previews
    )


def fetch_series(
    *,
    project: str | None = None,
    experiments: RunsArgument,
    attributes: AttributesArgument,
    include_time: Literal["absolute"] | None = None,
    step_range: Steps = (None, None),
    lineage_to_the_root: bool = True,
    tail_limit: int | None = None,
) -> pd.DataFrame:
    """Series of strings, `naiad.Histogram`s and `File`s: rows by (experiment, step), a column per
    path. Arguments as for `fetch_metrics`."""
    return _ASKING.series(
        project, experiments, attributes, include_time, step_range, lineage_to_the_root, tail_limit
    )
