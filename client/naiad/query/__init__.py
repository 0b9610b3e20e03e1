"""Reading back, by experiment: of each name the newest run stands for it.

    from naiad import query

    query.list_experiments(project="me/first-steps")
    query.fetch_metrics(project="me/first-steps", experiments=["hello"], attributes="^train/")

Enter: names, lists of names, regular expressions (RE2, found anywhere), or a `Filter` by the
values of attributes. Leave: pandas data frames with every point, not a sample, or with
`output="polars"` or `"arrow"` tables of those. The functions have the names and arguments of
neptune_query; `naiad.query.runs` has the same by run id. Errors are `naiad.NaiadError`s.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Literal

try:
    import pandas as pd
    import pyarrow  # noqa: F401
except ImportError as error:
    raise ImportError(
        "reading back needs pandas and pyarrow: pip install 'naiad[query]'"
    ) from error

from naiad.query._asking import (
    NEWEST,
    Asking,
    Band,
    Smoothing,
    Steps,
    projects_table,
    sql_answer,
)
from naiad.query.attributes import Attribute, AttributeFilter
from naiad.query.choices import AttributesArgument, RunsArgument
from naiad.query.client import Axis, QueryClient
from naiad.query.connecting import connected, set_api_token
from naiad.query.files import File, download_files
from naiad.query.filter import Filter
from naiad.query.outputs import Output

_ASKING = Asking(by_experiment=True)

__all__ = [
    "Attribute",
    "AttributeFilter",
    "File",
    "Filter",
    "QueryClient",
    "download_files",
    "fetch_chart",
    "fetch_experiments_table",
    "fetch_metric_buckets",
    "fetch_metrics",
    "fetch_projects_table",
    "fetch_series",
    "list_attributes",
    "list_experiments",
    "list_projects",
    "set_api_token",
    "sql",
    "stream_metrics",
]


def list_projects() -> list[str]:
    """Projects that the token may read, in alphabetical order."""
    with connected() as client:
        return client.list_projects()


def fetch_projects_table(
    *, projects: Sequence[str] | None = None, output: Output = "pandas"
) -> pd.DataFrame:
    """A row per project that the token may read, in alphabetical order, or of those named.

    Columns: runs and runs_in_trash, how many there are; days and trash_days, how long a run is kept
    from its end to the trash and from there to its purge (missing: for ever); retention_set_by and
    retention_set_time, who said so and when. A project whose runs are all in the trash is here too.

    Raises NaiadAuthError for the name of a project that the token may not read.
    """
    frame: pd.DataFrame = projects_table(projects, output)
    return frame


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
    output: Output = "pandas",
) -> pd.DataFrame:
    """A row per experiment, a column per attribute: of a series its last value, of a set of strings
    a set, of a file a `File`.

    experiments: names, a regular expression (RE2, found anywhere), a `Filter`, or None for all.
    attributes: paths, a regular expression, or an `AttributeFilter`.
    sort_by: a path, or an `Attribute` where a path has several types. Experiments without it
        come last.
    type_suffix_in_column_names: "loss:float_series" instead of "loss". Without it a path that has
        several types is an error, ConflictingAttributeTypes.
    output: "polars" or "arrow" instead of pandas, with the names as first column.
    """
    frame: pd.DataFrame = _ASKING.table(
        project,
        experiments,
        attributes,
        sort_by,
        sort_direction,
        limit,
        type_suffix_in_column_names,
        output,
    )
    return frame


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
    output: Output = "pandas",
) -> pd.DataFrame:
    """Every point of metrics: rows by (experiment, step), a column per path, NaN where a path
    has no point at a step.

    include_time: "absolute" adds a column with each point's time.
    step_range: first and last step wanted, both included; None is open.
    lineage_to_the_root: a fork has its ancestors' points up to where it forked.
    tail_limit: so many points from the end of each series.
    include_point_previews: also provisional values, with columns that say so.
    output: "polars" or "arrow" instead of pandas: a row per point, without an index.
    """
    frame: pd.DataFrame = _ASKING.metrics(
        project,
        experiments,
        attributes,
        include_time,
        step_range,
        lineage_to_the_root,
        tail_limit,
        type_suffix_in_column_names,
        include_point_previews,
        output,
    )
    return frame


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
    output: Output = "pandas",
) -> pd.DataFrame:
    """What a chart needs of long series, exactly: for each of `limit` to about twice as many
    buckets of x the first, last, least and greatest point (M4), the sum, and counts of finite,
    NaN and infinite values. A row per bucket, columns by (experiment, metric, figure).

    x: "step", "time" (Unix seconds) or "relative_time" (seconds since the run's first point
        among those asked for).
    x_range: where to look, in units of x; widened to whole buckets.
    output: "polars" or "arrow" instead of pandas: a row per series and bucket.
    """
    frame: pd.DataFrame = _ASKING.buckets(
        project,
        experiments,
        y,
        x,
        limit,
        x_range,
        lineage_to_the_root,
        include_point_previews,
        output,
    )
    return frame


def fetch_chart(
    *,
    project: str | None = None,
    experiments: RunsArgument,
    y: AttributesArgument,
    x: Axis | Attribute = "step",
    limit: int = 1000,
    x_range: Steps = (None, None),
    smoothing: Smoothing | None = None,
    smoothing_amount: float = 0.0,
    group_by: Sequence[str | Attribute] | Literal["all"] = (),
    band: Band | None = None,
    quantiles: Sequence[float] = (),
    lineage_to_the_root: bool = True,
    include_point_previews: bool = False,
    output: Output = "pandas",
) -> pd.DataFrame:
    """What the dashboard draws, computed from all points: a row per curve and bucket of x.

    x: "step", "time", "relative_time", or an `Attribute` that names a metric.
    limit: buckets wanted over the range, as a chart's width in pixels.
    smoothing: "ema" (time-weighted, amount within 0 and 1), "mean" or "gaussian" (amount in units
        of x); adds smoothed_y.
    group_by: paths whose values make groups of experiments, or "all" for one group: a curve of
        the mean of each group, with its band: "min_max", "std" or "quantiles".

    What the chart stands for is in `frame.attrs["chart"]`; a limit that it ran into is also a
    warning, `ChartNote`.
    """
    frame: pd.DataFrame = _ASKING.chart(
        project,
        experiments,
        y,
        x,
        limit,
        x_range,
        smoothing,
        smoothing_amount,
        group_by,
        band,
        quantiles,
        lineage_to_the_root,
        include_point_previews,
        output,
    )
    return frame


def stream_metrics(
    *,
    project: str | None = None,
    experiments: RunsArgument,
    attributes: AttributesArgument,
    tail_limit: int | None = None,
    include_point_previews: bool = False,
    output: Output = "pandas",
) -> Generator[pd.DataFrame]:
    """New points as they are logged, for as long as it is read: frames with a row per point,
    experiment, step, path, value, absolute_time. A point may come twice; the later one counts.

    tail_limit: begin with so many points from the end of each metric; default: only what is new.
    """
    return _ASKING.live(
        project, experiments, attributes, tail_limit, include_point_previews, output
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
    containing: str | None = None,
    output: Output = "pandas",
) -> pd.DataFrame:
    """Series of strings, `naiad.Histogram`s and `File`s: rows by (experiment, step), a column per
    path. Arguments as for `fetch_metrics`.

    containing: only strings in which this regular expression (RE2) is found.
    output: "polars" or "arrow" instead of pandas: a row per point, without an index.
    """
    frame: pd.DataFrame = _ASKING.series(
        project,
        experiments,
        attributes,
        include_time,
        step_range,
        lineage_to_the_root,
        tail_limit,
        containing,
        output,
    )
    return frame


def sql(statement: str, *, limit: int | None = None, output: Output = "pandas") -> pd.DataFrame:
    """The rows of one SELECT over the documented views (docs/sql.md), of all projects that the
    token may read. `limit`: so many rows at the most; without it an answer of more than 100,000
    is refused."""
    answer: pd.DataFrame = sql_answer(statement, limit, output)
    return answer
