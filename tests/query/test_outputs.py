"""Answers as Arrow and polars tables; charts, SQL and live points as frames."""

from __future__ import annotations

import json
import math
import sys
import threading
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from support_one_engine import store_url
from support_query import BEGIN, PATIENCE, Reading, Spool

from naiad import query
from naiad.exceptions import NaiadQueryError, NaiadTypeError, NaiadValueError
from naiad.query import runs
from naiad.query.exceptions import ChartNote, ConflictingAttributeTypes
from naiad.query.filters import Attribute

__all__ = ["store_url"]

pytestmark = pytest.mark.usefixtures("environment")


def as_rows(table: Any) -> list[tuple[Any, ...]]:
    assert isinstance(table, pa.Table)
    return [tuple(row.values()) for row in table.to_pylist()]


def test_a_runs_table() -> None:
    table = runs.fetch_runs_table(
        attributes=["loss", "note", "sys/tags"], runs="sgd | adam-1", output="arrow"
    )
    assert table.column_names == ["run", "loss", "note", "sys/tags"]
    assert as_rows(table) == [
        ("sgd", -math.inf, 'a "quoted" ü', ["good"]), ("adam-1", 7.0, None, None),
    ]  # fmt: skip
    table = query.fetch_experiments_table(
        attributes=["loss"], output="arrow", limit=1, type_suffix_in_column_names=True
    )
    assert table.column_names == ["experiment", "loss:float_series"]
    with pytest.raises(ConflictingAttributeTypes):
        runs.fetch_runs_table(attributes=["lr"], output="arrow")


def test_metrics_have_a_row_per_point() -> None:
    table = runs.fetch_metrics(runs="adam-2", attributes=None, output="arrow")
    assert table.schema == pa.schema(
        [("run", "string"), ("step", "float64"), ("path", "string"), ("value", "float64")]
    )
    assert as_rows(table) == [
        ("adam-2", 0.0, "acc", 0.5), ("adam-2", 1.0, "acc", 0.6), ("adam-2", 0.0, "loss", 5.0),
        ("adam-2", 1.0, "loss", 4.0),
    ]  # fmt: skip
    table = query.fetch_metrics(
        experiments=["sgd"], attributes="loss", tail_limit=1, include_time="absolute",
        include_point_previews=True, type_suffix_in_column_names=True, output="arrow",
    )  # fmt: skip
    at = pd.Timestamp(BEGIN + 2000, unit="ms", tz="UTC")
    assert as_rows(table) == [("sgd", 2.0, "loss:float_series", 3.5, at, True, 0.25)]
    assert table.column_names[4:] == ["absolute_time", "is_preview", "preview_completion"]


def test_series_have_a_row_per_point() -> None:
    table = runs.fetch_series(runs="sgd", attributes=None, output="arrow", include_time="absolute")
    rows = {row["path"]: row for row in table.to_pylist()}
    assert rows["log/out"]["string_value"] == "three"
    assert rows["log/out"]["type"] == "string_series"
    assert rows["weights"]["histogram"]["values"] == [3.0, 4.0]
    assert rows["images"]["file"]["name"] == "note.txt"
    assert rows["images"]["absolute_time"] == pd.Timestamp(BEGIN, unit="ms", tz="UTC")
    frame = runs.fetch_series(runs="sgd", attributes="log", containing="^t")
    assert frame["log/out"].tolist() == ["two", "three"]


def test_buckets_have_a_row_per_series_and_bucket() -> None:
    table = runs.fetch_metric_buckets(runs="adam-2", y=["acc"], limit=1, output="arrow")
    row = table.to_pylist()[0]
    assert (row["run"], row["metric"], row["from_x"], row["max_y"]) == ("adam-2", "acc", 0.0, 0.5)


def test_nothing_found_has_the_same_columns() -> None:
    for table in (
        runs.fetch_metrics(runs="nobody", attributes=None, output="arrow"),
        runs.fetch_metrics(runs="adam-1", attributes=None, output="arrow"),
    ):
        assert table.column_names == ["run", "step", "path", "value"]


def test_polars() -> None:
    import polars

    frame = runs.fetch_metrics(runs="adam", attributes=["loss"], output="polars")
    assert isinstance(frame, polars.DataFrame)
    best = frame.group_by("run").agg(polars.col("value").min()).sort("run").rows()
    assert best == [("adam-1", 7.0), ("adam-2", 4.0)]
    for other in (
        runs.fetch_runs_table(attributes=["note", "readme", "sys/tags"], output="polars"),
        runs.fetch_series(runs="sgd", attributes=None, output="polars"),
        runs.fetch_metric_buckets(runs="sgd", y=None, output="polars"),
        runs.fetch_chart(runs="sgd", y=None, output="polars"),
        query.sql("select * from runs", output="polars"),
    ):
        assert isinstance(other, polars.DataFrame)
        assert other.height


def test_without_polars_it_is_said_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    monkeypatch.setenv("NAIAD_URL", "grpc://127.0.0.1:1")
    with pytest.raises(ImportError, match="output='polars' needs polars: pip install polars; or"):
        runs.fetch_metrics(runs="adam", attributes="loss", output="polars")


def test_sql_is_a_frame() -> None:
    frame = query.sql("select run_id, min(value) as best from points where project = 'team/vision'"
                      " group by run_id order by best desc limit 2")  # fmt: skip
    assert frame.to_dict("list") == {"run_id": ["fork", "adam-1"], "best": [60.0, 7.0]}
    assert query.sql("select 1 as a", output="arrow").to_pydict() == {"a": [1]}
    assert len(query.sql("select * from points", limit=3)) == 3
    with pytest.raises(NaiadQueryError, match="only SELECT is allowed"):
        query.sql("drop table points")
    with pytest.raises(NaiadTypeError, match="statement is 3; give a SELECT"):
        query.sql(3)  # type: ignore[arg-type]


def test_a_chart_has_a_row_per_bucket_and_says_what_it_stands_for() -> None:
    frame = runs.fetch_chart(runs="adam", y="loss", limit=1)
    assert frame[["run", "metric", "from_x", "last_y"]].values.tolist() == [
        ["adam-2", "loss", 0.0, 4.0], ["adam-1", "loss", 0.0, 8.0],
        ["adam-1", "loss", 1.048576, 7.0],
    ]  # fmt: skip
    facts = frame.attrs["chart"]
    assert (facts["points"], facts["runs"], facts["column_width"]) == (5, 2, 1.048576)
    table = runs.fetch_chart(runs="adam", y="loss", limit=1, output="arrow")
    assert json.loads(table.schema.metadata[b"chart"]) == facts
    smooth = runs.fetch_chart(
        runs="adam-1", y="loss", smoothing="ema", smoothing_amount=0.5, limit=10
    )
    assert smooth["smoothed_y"].notna().all()


def test_a_chart_of_groups_has_bands() -> None:
    frame = runs.fetch_chart(runs="adam", y="loss", limit=1, group_by="all", band="min_max")
    first = frame.iloc[0]
    assert (first["low_y"], first["high_y"], first["run_count"]) == (4.0, 9.0, 2)
    by_rate = query.fetch_chart(
        experiments="adam | sgd", y="loss", group_by=["lr"], band="quantiles", quantiles=[0.1, 0.9]
    )
    assert by_rate["lr:float"].unique().tolist() == [0.01, 0.1]


def test_a_chart_over_a_metric_tells_what_it_leaves_out(server: Reading) -> None:
    run = Spool("team/axis", "r").create()
    run.metrics({"loss": [3.0, 2.0, 1.0], "tokens": [10.0, 20.0, math.nan]})
    server.write(run)
    with pytest.warns(ChartNote, match="1 of 3 points are left out: tokens has no finite value"):
        frame = runs.fetch_chart(project="team/axis", runs=["r"], y="loss", x=Attribute("tokens"))
    assert frame["first_x"].tolist() == [10.0, 20.0]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"x": "epoch"}, "x is 'epoch'; it is one of 'step', 'time', 'relative_time' or an Attrib"),
        ({"smoothing": "lowess"}, "smoothing is 'lowess'; it is one of 'ema', 'mean', 'gaussian'"),
        ({"band": "iqr"}, "band is 'iqr'; it is one of 'min_max'"),
        ({"group_by": "lr"}, "group_by is 'lr'; give a list of paths, or 'all'"),
        ({"limit": 0}, "limit is 0; give a number"),
    ],
)
def test_what_is_wrong_with_a_chart(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(NaiadValueError, match=message):
        runs.fetch_chart(**{"runs": "", "y": "loss"} | asked)


def test_points_as_they_are_logged(server: Reading) -> None:
    run = Spool("team/live", "r").create().metrics({"loss": [1.0, 2.0]})
    server.write(run)
    frames = runs.stream_metrics(project="team/live", runs=["r"], attributes="loss", tail_limit=1)
    first = next(frames)
    assert first[["run", "step", "path", "value"]].values.tolist() == [["r", 1.0, "loss", 2.0]]
    writing = threading.Thread(target=server.write, args=[run.metrics({"loss": [3.0]}, steps=[2])])
    writing.start()
    fresh = next(frames)
    while 2.0 not in fresh["step"].tolist():
        fresh = next(frames)
    writing.join(PATIENCE)
    assert fresh["value"].tolist()[-1] == 3.0
    frames.close()
    with pytest.raises(NaiadValueError, match="tail_limit is 0"):
        runs.stream_metrics(runs="x", attributes="loss", tail_limit=0)


def test_a_token_for_the_process(server: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server.tokens
    monkeypatch.setattr("naiad.query.connecting._token", None)
    query.set_api_token(server.tokens.create(project="rivals/secret", read_only=True))
    assert query.list_projects() == ["rivals/secret"]
    query.set_api_token("")
    assert "team/vision" in query.list_projects()
    with pytest.raises(NaiadTypeError, match="api_token is not a string"):
        query.set_api_token(None)  # type: ignore[arg-type]
