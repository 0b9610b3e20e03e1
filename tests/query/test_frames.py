"""`naiad.query` and `naiad.query.runs`: frames, and what is said of wrong arguments."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support_query import BEGIN, Reading, Spool

from naiad import Histogram, query
from naiad.exceptions import (
    NaiadAuthError,
    NaiadConnectionError,
    NaiadError,
    NaiadQueryError,
    NaiadTypeError,
    NaiadValueError,
)
from naiad.query import runs
from naiad.query.exceptions import ConflictingAttributeTypes
from naiad.query.filters import Attribute, AttributeFilter
from naiad.query.types import File

pytestmark = pytest.mark.usefixtures("environment")


def at(milliseconds: int) -> pd.Timestamp:
    return pd.Timestamp(BEGIN + milliseconds, unit="ms", tz="UTC")


def rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Index and values, NaN and the like as None."""
    found = frame.reset_index().itertuples(index=False, name=None)
    return [tuple(None if _missing(value) else value for value in row) for row in found]


def _missing(value: Any) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or value != value


def test_both_modules_have_the_same_functions_by_their_own_nouns() -> None:
    renamed = {"list_runs": "list_experiments", "fetch_runs_table": "fetch_experiments_table"}
    for name in runs.__all__:
        one, other = getattr(runs, name), getattr(query, renamed.get(name, name))
        if not inspect.isfunction(one) or name == "download_files":
            assert one is other
            continue
        ours, theirs = inspect.signature(one).parameters, inspect.signature(other).parameters
        nouns = [argument.replace("runs", "experiments") for argument in ours]
        assert nouns == list(theirs), name
        assert [p.default for p in ours.values()] == [p.default for p in theirs.values()], name
        assert all(p.kind is p.KEYWORD_ONLY for p in ours.values()), name


def test_names() -> None:
    assert query.list_projects() == ["rivals/secret", "team/vision"]
    assert runs.list_runs() == ["fork", "sgd", "adam-2", "adam-1"]
    assert runs.list_runs(runs="adam & !2") == ["adam-1"]
    assert runs.list_runs(runs=["sgd", "nobody"]) == ["sgd"]
    assert runs.list_runs(runs=pd.Index(["sgd"])) == ["sgd"]
    assert runs.list_runs(project="rivals/secret") == ["theirs"]
    assert query.list_experiments() == ["forked", "sgd", "adam"]
    assert query.list_experiments(experiments="^a") == ["adam"]


def test_attributes_are_named_once_whatever_their_types() -> None:
    assert runs.list_attributes(attributes="^l") == ["log/out", "loss", "lr"]
    assert query.list_attributes(experiments="adam", attributes=["lr", "acc", "note"]) == [
        "acc", "lr",
    ]  # fmt: skip
    numbers = AttributeFilter(name="^[^s]", type=["int", "bool"])
    assert runs.list_attributes(attributes=numbers) == ["depth", "lr", "ready"]


def test_a_table_has_a_row_per_run_and_a_column_per_attribute() -> None:
    frame = runs.fetch_runs_table(
        attributes=["loss", "note", "sys/tags", "nothing"], sort_by="loss"
    )
    assert (frame.index.name, frame.columns.name) == ("run", "attribute")
    assert list(frame.columns) == ["loss", "note", "sys/tags"]
    assert rows(frame) == [
        ("fork", 60.0, None, None), ("adam-1", 7.0, None, None), ("adam-2", 4.0, None, None),
        ("sgd", -math.inf, 'a "quoted" ü', {"good"}),
    ]  # fmt: skip


def test_a_table_by_experiment_is_of_the_heads() -> None:
    frame = query.fetch_experiments_table(
        attributes="^(loss|acc)$", sort_by="loss", sort_direction="asc", limit=2
    )
    assert frame.index.name == "experiment"
    assert rows(frame) == [("sgd", None, -math.inf), ("adam", 0.6, 4.0)]


def test_without_attributes_a_table_is_its_index() -> None:
    frame = runs.fetch_runs_table()
    assert frame.shape == (4, 0)
    assert list(frame.index) == ["fork", "sgd", "adam-2", "adam-1"]
    assert runs.fetch_runs_table(runs=["nobody"], attributes="").shape == (0, 0)


def test_a_path_with_two_types_needs_a_word() -> None:
    with pytest.raises(ConflictingAttributeTypes, match=r"'lr' is float and int\. Ask"):
        runs.fetch_runs_table(attributes=["lr", "loss"])
    frame = runs.fetch_runs_table(
        attributes=["lr", "loss"], sort_by="sys/id", sort_direction="asc",
        type_suffix_in_column_names=True,
    )  # fmt: skip
    assert list(frame.columns) == ["loss:float_series", "lr:float", "lr:int"]
    assert rows(frame) == [
        ("adam-1", 7.0, None, 1), ("adam-2", 4.0, 0.1, None), ("fork", 60.0, None, 1),
        ("sgd", -math.inf, 0.01, None),
    ]  # fmt: skip
    only = AttributeFilter(name=["lr"], type="float")
    assert list(runs.fetch_runs_table(attributes=only).columns) == ["lr"]
    frame = runs.fetch_runs_table(sort_by=Attribute("lr", type="float"), sort_direction="asc")
    assert list(frame.index) == ["sgd", "adam-2", "fork", "adam-1"]


def test_filters_of_attributes_add_up() -> None:
    either = AttributeFilter(name="^l", type="int") | AttributeFilter(["note"])
    assert runs.list_attributes(attributes=either | AttributeFilter("^acc$")) == [
        "acc", "lr", "note",
    ]  # fmt: skip
    # Of lr the int alone, though note's part has no type.
    frame = runs.fetch_runs_table(attributes=either, type_suffix_in_column_names=True)
    assert list(frame.columns) == ["lr:int", "note:string"]
    both = AttributeFilter("log", "string_series") | AttributeFilter(".", "histogram_series")
    assert list(runs.fetch_series(runs="sgd", attributes=both).columns) == ["log/out", "weights"]
    metrics = AttributeFilter("^acc") | AttributeFilter("^loss", ["float_series", "int"])
    assert list(runs.fetch_metrics(runs="adam", attributes=metrics).columns) == ["acc", "loss"]


def test_values_have_types_that_hold_them() -> None:
    frame = runs.fetch_runs_table(
        runs=["sgd", "fork"],
        attributes=["depth", "ready", "when", "weights", "images", "log/out", "sys/trained_time"],
    )
    # Exact beyond 2**53, and with a gap.
    assert frame["depth"].dtype == "Int64"
    assert frame["depth"]["sgd"] == 2**60 + 1
    assert frame["ready"]["sgd"] is True
    assert frame["when"]["sgd"] == pd.Timestamp("2026-02-03 04:05:06.789", tz="UTC")
    assert frame["when"].dtype == "datetime64[ms, UTC]"
    assert frame["weights"]["sgd"] == Histogram([0.0, 1.0, 2.0], counts=[3.0, 4.0])
    assert frame["log/out"]["sgd"] == "three"
    assert frame["sys/trained_time"]["sgd"] == 3.0
    file = frame["images"]["sgd"]
    assert isinstance(file, File)
    assert (file.project_identifier, file.run_id, file.experiment_name) == (
        "team/vision", "sgd", None,
    )  # fmt: skip
    assert repr(file) == "File('note.txt', 19 bytes)"
    assert all(_missing(frame[name]["fork"]) for name in frame.columns.drop("sys/trained_time"))
    # As pandas says it: what neptune_query's frames have too.
    assert math.isnan(frame["weights"]["fork"])


def test_metrics_have_a_row_per_step() -> None:
    frame = runs.fetch_metrics(runs="adam", attributes=["loss", "acc"])
    assert frame.index.names == ["run", "step"]
    assert list(frame.columns) == ["acc", "loss"]
    assert frame.columns.name is None
    assert (frame.dtypes == np.float64).all()
    assert rows(frame) == [
        ("adam-1", 0, None, 9), ("adam-1", 1, None, 8), ("adam-1", 2, None, 7),
        ("adam-2", 0, 0.5, 5), ("adam-2", 1, 0.6, 4),
    ]  # fmt: skip
    frame = query.fetch_metrics(
        experiments=["adam"], attributes="acc", type_suffix_in_column_names=True
    )
    assert frame.index.names == ["experiment", "step"]
    assert rows(frame) == [("adam", 0, 0.5), ("adam", 1, 0.6)]
    assert list(frame.columns) == ["acc:float_series"]


def test_metrics_keep_nan_as_points() -> None:
    frame = runs.fetch_metrics(runs=["sgd"], attributes="loss")
    assert repr(frame["loss"]["sgd"].to_dict()) == "{0.0: 1.0, 0.5: nan, 1.0: inf, 1.5: -inf}"


def test_metrics_with_times_and_previews_have_columns_below() -> None:
    frame = runs.fetch_metrics(
        runs=["sgd"], attributes=["loss"], include_time="absolute", include_point_previews=True,
        tail_limit=2,
    )  # fmt: skip
    assert list(frame.columns) == [
        ("loss", "value"), ("loss", "absolute_time"), ("loss", "is_preview"),
        ("loss", "preview_completion"),
    ]  # fmt: skip
    assert frame.columns.names == [None, None]
    assert rows(frame) == [
        ("sgd", 1.5, -math.inf, at(1500), False, 1.0), ("sgd", 2.0, 3.5, at(2000), True, 0.25),
    ]  # fmt: skip
    frame = runs.fetch_metrics(runs="adam", attributes="acc | loss", include_time="absolute")
    assert frame["acc"].columns.tolist() == ["value", "absolute_time"]
    assert frame["acc", "absolute_time"].isna().tolist() == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("asked", "steps"),
    [
        ({}, [0, 1, 2, 3]),
        ({"lineage_to_the_root": False}, [2, 3]),
        ({"step_range": (1, 2)}, [1, 2]),
        ({"step_range": (None, 1.5)}, [0, 1]),
        ({"step_range": (2.000001, None)}, [3]),
        ({"step_range": (-math.inf, math.inf)}, [0, 1, 2, 3]),
        ({"step_range": (-7, -1)}, []),
        ({"step_range": (1e12, 1e300)}, []),
        ({"step_range": [3, 3]}, [3]),
        ({"tail_limit": 1}, [3]),
        ({"tail_limit": np.int64(3), "step_range": (None, 2)}, [0, 1, 2]),
    ],
)
def test_a_part_of_the_metrics(asked: dict[str, Any], steps: list[float]) -> None:
    frame = runs.fetch_metrics(runs=["fork"], attributes=["loss"], **asked)
    assert frame.index.get_level_values("step").tolist() == steps


def test_nothing_found_is_an_empty_frame_of_the_same_shape() -> None:
    for frame in (
        runs.fetch_metrics(runs=["nobody"], attributes="loss"),
        runs.fetch_metrics(runs="sgd", attributes=["nothing"], include_time="absolute"),
        runs.fetch_series(runs="sgd", attributes=["loss"]),
    ):
        assert frame.shape == (0, 0)
        assert frame.index.names == ["run", "step"]
    frame = query.fetch_metric_buckets(experiments="sgd", y=["nothing"])
    assert frame.columns.names == ["experiment", "metric", "bucket"]
    assert frame.shape == (0, 0)


def test_series_hold_strings_histograms_and_files() -> None:
    frame = query.fetch_series(experiments="sgd", attributes=["log/out", "weights", "images"])
    assert frame.index.names == ["experiment", "step"]
    assert list(frame.columns) == ["images", "log/out", "weights"]
    told = rows(frame.drop(columns="images"))
    assert told == [
        ("sgd", 0, "one", Histogram([0.0, 1.0, 2.0], counts=[3.0, 4.0])),
        ("sgd", 1, "two", None), ("sgd", 2, "three", None), ("sgd", 3, None, None),
    ]  # fmt: skip
    file = frame["images"]["sgd", 3.0]
    assert (file.experiment_name, file.run_id, file.attribute_path, file.step) == (
        "sgd", None, "images", 3.0,
    )  # fmt: skip
    frame = runs.fetch_series(
        runs="sgd", attributes="log", include_time="absolute", tail_limit=1, step_range=(0, 1)
    )
    assert rows(frame) == [("sgd", 1.0, "two", at(1000))]


def test_buckets_have_a_row_each_and_columns_by_run_and_metric() -> None:
    frame = runs.fetch_metric_buckets(runs="adam", y="loss", limit=1)
    assert frame.columns.names == ["run", "metric", "bucket"]
    assert frame.index.tolist() == [
        pd.Interval(0, 1.048576, "left"), pd.Interval(1.048576, 2.097152, "left"),
    ]  # fmt: skip
    first, second = frame["adam-1", "loss"].to_dict("records")
    figures = {"first_x": 0, "first_y": 9, "last_x": 1, "last_y": 8, "min_x": 1, "min_y": 8,
               "max_x": 0, "max_y": 9, "sum_y": 17, "finite_count": 2, "nan_count": 0,
               "positive_infinity_count": 0, "negative_infinity_count": 0}  # fmt: skip
    # The point of a first bucket is its first, of the others their last.
    assert first == {"x": 0, "y": 9, **figures}
    assert (second["x"], second["y"], second["finite_count"]) == (2, 7, 1)
    alone = frame["adam-2", "loss"].iloc[1]
    assert alone["finite_count"] == 0
    assert math.isnan(alone["x"])
    assert math.isnan(alone["min_y"])


def test_buckets_of_another_axis() -> None:
    frame = query.fetch_metric_buckets(
        experiments=["forked"], y=["loss"], x="relative_time", x_range=(2, None), limit=2,
        lineage_to_the_root=False,
    )  # fmt: skip
    # The run's own first point is at its relative time 0.
    assert frame.empty
    frame = query.fetch_metric_buckets(experiments=["forked"], y=["loss"], x="time", limit=2)
    figures = frame["forked", "loss"]
    assert figures["finite_count"].sum() == 4
    assert figures["first_x"].iloc[0] == BEGIN / 1000


ASK: dict[str, Callable[..., Any]] = {
    "list": runs.list_runs,
    "table": runs.fetch_runs_table,
    "metrics": lambda **asked: runs.fetch_metrics(**{"runs": "", "attributes": ""} | asked),
    "series": lambda **asked: runs.fetch_series(**{"runs": "", "attributes": ""} | asked),
    "buckets": lambda **asked: query.fetch_metric_buckets(
        **{"experiments": "", "y": "loss"} | asked
    ),
    "attribute": lambda **asked: Attribute(**asked),
    "filter": lambda **asked: AttributeFilter(**asked),
    "download": runs.download_files,
}


@pytest.mark.parametrize(
    ("ask", "asked", "kind", "message"),
    [
        ("list", {"runs": 7}, NaiadTypeError, "runs is 7; give a regular expression as a string"),
        ("list", {"runs": []}, NaiadValueError, "runs is an empty list; name some, or give None"),
        ("list", {"runs": 7}, ValueError, "list of names or a Filter"),
        ("table", {"output": "dask"}, NaiadValueError, "output is 'dask'; it is 'pandas', 'pol"),
        ("table", {"sort_by": Attribute("loss", aggregation="min")}, NaiadValueError,
         "sort_by is the min of a series; runs are sorted by its last value"),
        ("list", {"runs": [b"x"]}, NaiadTypeError, r"runs is \[b'x'\]"),
        ("list", {"runs": "("}, NaiadQueryError, "not a regular expression that RE2 takes"),
        ("list", {"project": "x/y"}, NaiadQueryError, "there is no project 'x/y'; there are"),
        ("table", {"attributes": {1, 2}}, NaiadTypeError, "attributes is {1, 2}"),
        ("table", {"limit": 0}, NaiadValueError, "limit is 0; give a number of at least 1"),
        ("table", {"limit": "5"}, NaiadTypeError, "limit is '5'; give a whole number, or None"),
        ("table", {"limit": True}, NaiadTypeError, "limit is True"),
        ("table", {"sort_direction": "up"}, NaiadValueError, "sort_direction is 'up'; it is 'asc'"),
        ("table", {"sort_by": 3}, NaiadTypeError, "name is 3; give the attribute's path"),
        ("table", {"sort_by": Attribute("x", "file")}, NaiadQueryError, "be sorted by a file"),
        ("metrics", {"include_time": "yes"}, NaiadValueError, "include_time is 'yes'; it is 'abs"),
        ("metrics", {"tail_limit": -1}, NaiadValueError, "tail_limit is -1; give a number of at"),
        ("metrics", {"tail_limit": 1.5}, NaiadTypeError, "tail_limit is 1.5; give a whole"),
        ("metrics", {"step_range": 5}, NaiadValueError, "step_range is 5; give two numbers"),
        ("metrics", {"step_range": ("a", None)}, NaiadValueError, r"step_range is \('a', None\)"),
        ("metrics", {"step_range": (1, 2, 3)}, NaiadValueError, "give two numbers"),
        ("metrics", {"step_range": (2, 1)}, NaiadValueError, r"\(2, 1\); its first number is not"),
        ("metrics", {"step_range": (math.nan, 1)}, NaiadValueError, "its first number is not"),
        ("metrics", {"attributes": AttributeFilter(type=["string"])}, NaiadValueError,
         "attributes asks for type string; this function gives float_series"),
        ("series", {"attributes": AttributeFilter(type="float_series")}, NaiadValueError,
         "asks for type float_series; this function gives string_series, histogram_series"),
        ("buckets", {"limit": 10_001}, NaiadValueError, "limit is 10001; it is from 1 to 10,000"),
        ("buckets", {"limit": None}, NaiadValueError, "limit is None; it is from 1 to 10,000"),
        ("buckets", {"x": "epoch"}, NaiadValueError, "x is 'epoch'; it is one of 'step', "),
        ("buckets", {"x_range": (3, 2)}, NaiadValueError, r"x_range is \(3, 2\); its first number"),
        ("attribute", {"name": "x", "type": "double"}, NaiadValueError,
         "Attribute: there is no type 'double'; there are int, float"),
        ("filter", {"type": ["int", "x"]}, NaiadValueError, "Filter: there is no type 'x'"),
        ("filter", {"name": 3}, NaiadTypeError, "name is 3; give a regular expression"),
        ("download", {"files": 3}, NaiadTypeError, "files is 3; give a File, a list of them"),
        ("download", {"files": "x"}, NaiadTypeError, "files is 'x'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    ask: str, asked: dict[str, Any], kind: type[NaiadError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        ASK[ask](**asked)


def test_what_the_environment_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_API_TOKEN", "")
    with pytest.raises(NaiadAuthError, match="this server needs a token, and none was sent"):
        runs.list_runs()
    monkeypatch.setenv("NAIAD_URL", "grpc://127.0.0.1:1")
    with pytest.raises(NaiadConnectionError, match="no Naiad server answers at grpc://127"):
        runs.list_runs()
    monkeypatch.delenv("NAIAD_PROJECT")
    with pytest.raises(NaiadValueError, match="no project is given: pass project='workspace/name'"):
        runs.list_runs()


def test_a_store_that_is_away_is_not_a_server_that_is_away(
    server: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    from naiad_store import StoreUnavailable

    def away(*_: object) -> None:
        raise StoreUnavailable("a query failed: no disk")

    monkeypatch.setattr(server.store, "query", away)
    with pytest.raises(NaiadConnectionError, match=rf"^{server.url}: a query failed: no disk; ask"):
        runs.list_runs()


def test_many_runs_and_paths_stand_where_they_belong(server: Reading) -> None:
    spools, wanted = [], {}
    for run in range(12):
        spool = Spool("team/grid", f"r{run:02}").create()
        for path in range(run % 4):
            steps = range(path, 10 + run, path + 1)
            spool.metrics({f"m{path}": [float(run * step) for step in steps]}, steps=list(steps))
            wanted |= {(f"r{run:02}", step, f"m{path}"): float(run * step) for step in steps}
        spools.append(spool)
    server.write(*spools)
    frame = runs.fetch_metrics(project="team/grid", runs=None, attributes=None)
    assert frame.index.is_monotonic_increasing
    assert frame.index.is_unique
    found = frame.stack().dropna()
    assert {(run, step, path): value for (run, step, path), value in found.items()} == wanted
