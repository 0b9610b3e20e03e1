"""What scripts written for neptune_query 1.14 rely on: names, arguments, defaults, frames."""

from __future__ import annotations

import inspect
from typing import Any

import pandas as pd
import pytest

from naiad import query
from naiad.exceptions import NaiadError
from naiad.query import filters, runs, types

# Its public functions: arguments, all by name, with their defaults; "!" stands for none. Written
# down from its 1.14.1.
_WHICH = {"project": None}
_FETCH = {
    "include_time": None, "step_range": (None, None), "lineage_to_the_root": True,
    "tail_limit": None,
}  # fmt: skip
_NEWEST = filters.Attribute("sys/creation_time", "datetime")
_TABLE = {
    "attributes": [], "sort_by": _NEWEST, "sort_direction": "desc", "limit": None,
    "type_suffix_in_column_names": False,
}  # fmt: skip
_METRICS = {
    "attributes": "!", **_FETCH, "type_suffix_in_column_names": False,
    "include_point_previews": False,
}  # fmt: skip
_BUCKETS = {
    "x": "step", "y": "!", "limit": 1000, "lineage_to_the_root": True,
    "include_point_previews": False,
}  # fmt: skip
_DOWNLOAD = {"files": "!", "destination": None}
THEIRS: dict[str, dict[str, dict[str, Any]]] = {
    "query": {
        "list_experiments": {**_WHICH, "experiments": None},
        "list_attributes": {**_WHICH, "experiments": None, "attributes": None},
        "fetch_experiments_table": {**_WHICH, "experiments": None, **_TABLE},
        "fetch_metrics": {**_WHICH, "experiments": "!", **_METRICS},
        "fetch_metric_buckets": {**_WHICH, "experiments": "!", **_BUCKETS},
        "fetch_series": {**_WHICH, "experiments": "!", "attributes": "!", **_FETCH},
        "download_files": _DOWNLOAD,
    },
    "runs": {
        "list_runs": {**_WHICH, "runs": None},
        "list_attributes": {**_WHICH, "runs": None, "attributes": None},
        "fetch_runs_table": {**_WHICH, "runs": None, **_TABLE},
        "fetch_metrics": {**_WHICH, "runs": "!", **_METRICS},
        "fetch_series": {**_WHICH, "runs": "!", "attributes": "!", **_FETCH},
        "download_files": _DOWNLOAD,
    },
}
FILTERS = {
    "name": ["name"], "exists": ["attribute"], "matches": ["attribute", "pattern"],
    "contains_all": ["attribute", "values"], "contains_none": ["attribute", "values"],
    **{name: ["attribute", "value"] for name in ("eq", "ne", "gt", "ge", "lt", "le")},
}  # fmt: skip


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, found in THEIRS.items() for name in found]
)
def test_functions_take_what_theirs_take(module: str, name: str) -> None:
    function = getattr({"query": query, "runs": runs}[module], name)
    ours = inspect.signature(function).parameters
    for argument, default in THEIRS[module][name].items():
        assert argument in ours, argument
        assert ours[argument].kind is inspect.Parameter.KEYWORD_ONLY
        given = ours[argument].default
        if default == "!":
            assert given is inspect.Parameter.empty
        else:
            assert (list(given) if default == [] else given) == default
    # What is ours besides can be left out.
    for argument in set(ours) - set(THEIRS[module][name]):
        assert ours[argument].default is not inspect.Parameter.empty


def test_filters_take_what_theirs_take() -> None:
    for name, arguments in FILTERS.items():
        assert list(inspect.signature(getattr(filters.Filter, name)).parameters) == arguments
    one, other = filters.Filter.exists("a"), filters.Filter.exists("b")
    for combined in (one & other, one | other, ~one):
        assert isinstance(combined, filters.Filter)
    assert list(inspect.signature(filters.Attribute).parameters)[:2] == ["name", "type"]
    assert list(inspect.signature(filters.AttributeFilter).parameters) == ["name", "type"]
    assert set(filters.KNOWN_TYPES) == {
        "float", "int", "string", "bool", "datetime", "float_series", "string_set",
        "string_series", "file", "histogram_series", "file_series",
    }  # fmt: skip


def test_values_have_what_theirs_have() -> None:
    histogram = types.Histogram([0.0, 1.0], counts=[2.0])
    assert (histogram.type, histogram.edges, histogram.values) == ("COUNTING", [0.0, 1.0], [2.0])
    for name in (
        "project_identifier", "experiment_name", "run_id", "attribute_path", "step", "path",
        "size_bytes", "mime_type", "container_identifier",
    ):  # fmt: skip
        assert name in {*types.File.__dataclass_fields__, *dir(types.File)}


@pytest.mark.usefixtures("environment")
def test_frames_are_shaped_like_theirs() -> None:
    """What its documentation shows of each."""
    table = query.fetch_experiments_table(attributes="loss | acc", sort_direction="asc")
    assert (table.index.name, table.columns.name) == ("experiment", "attribute")
    assert list(table.columns) == ["acc", "loss"]
    assert type(table.index) is pd.Index
    empty = query.fetch_experiments_table(experiments="nobody")
    assert (empty.shape, empty.index.name, empty.columns.name) == (
        (0, 0), "experiment", "attribute",
    )  # fmt: skip
    metrics = query.fetch_metrics(experiments=["adam"], attributes="loss | acc")
    assert metrics.index.names == ["experiment", "step"]
    assert list(metrics.columns) == ["acc", "loss"]
    assert metrics.loc[("adam", 1.0), "acc"] == 0.6
    timed = query.fetch_metrics(experiments=["adam"], attributes="acc", include_time="absolute")
    assert list(timed.columns) == [("acc", "value"), ("acc", "absolute_time")]
    assert isinstance(timed["acc"]["absolute_time"].dtype, pd.DatetimeTZDtype)
    buckets = query.fetch_metric_buckets(experiments=["adam"], y=["acc"], limit=10)
    assert buckets.columns.names == ["experiment", "metric", "bucket"]
    assert isinstance(buckets.index[0], pd.Interval)
    points = buckets["adam", "acc"][["x", "y"]].dropna()
    assert points.to_numpy().tolist() == [[0.0, 0.5], [1.0, 0.6]]
    series = query.fetch_series(experiments=["sgd"], attributes="log")
    assert series.index.names == ["experiment", "step"]
    files = runs.download_files(files=[])
    assert files.index.names == ["run", "step"]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("function", "arguments", "kind"),
    [
        (query.list_experiments, {"experiments": []}, ValueError),
        (query.list_experiments, {"experiments": 3}, ValueError),
        (query.fetch_experiments_table, {"limit": 0}, ValueError),
        (query.fetch_experiments_table, {"limit": "1"}, ValueError),
        (query.fetch_experiments_table, {"sort_direction": "up"}, ValueError),
        (query.fetch_experiments_table, {"sort_by": 3}, ValueError),
        (query.fetch_experiments_table, {"attributes": ["lr"]}, NaiadError),
        (query.fetch_metrics, {"experiments": "a", "attributes": 3}, ValueError),
        (query.fetch_metrics, {"experiments": "a", "attributes": "", "tail_limit": 0}, ValueError),
        (query.fetch_metrics, {"experiments": "a", "attributes": "", "step_range": (2, 1)},
         ValueError),
        (query.fetch_metrics,
         {"experiments": "a", "attributes": filters.AttributeFilter(type="int")}, ValueError),
        (query.fetch_metric_buckets, {"experiments": "a", "y": "b", "x": "tokens"}, ValueError),
        (query.download_files, {"files": 3}, ValueError),
        (filters.Filter.contains_all, {"attribute": "a", "values": []}, ValueError),
        (filters.Filter.eq, {"attribute": "a", "value": None}, TypeError),
        (filters.AttributeFilter, {"name": 3}, ValueError),
        (filters.Attribute, {"name": "a", "type": "double"}, ValueError),
    ],
)  # fmt: skip
def test_what_is_wrong_is_caught_as_there(
    function: Any, arguments: dict[str, Any], kind: type[Exception]
) -> None:
    # The table is of all runs, and lr has two types in them.
    if arguments == {"attributes": ["lr"]}:
        function, arguments = runs.fetch_runs_table, arguments
    with pytest.raises(kind):
        function(**arguments)
