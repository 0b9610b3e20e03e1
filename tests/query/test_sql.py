"""What SQL answers, and how what is wrong with it is said."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import Any

import pytest

from naiad.exceptions import NaiadQueryError
from naiad.query.client import QueryClient
from naiad_query import sql

BORN = datetime(2026, 1, 1, tzinfo=UTC)


def values(client: QueryClient, statement: str) -> list[tuple[Any, ...]]:
    table = client.sql(statement)
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        ("select run_id, experiment, state, state_reason, fork_run_id, fork_step, points from runs"
         " where project = 'team/vision' order by run_id",
         [("adam-1", "adam", "finished", "", None, None, 3),
          ("adam-2", "adam", "running", "", None, None, 4),
          ("fork", "forked", "running", "", "adam-1", 1.0, 2),
          ("sgd", "sgd", "failed", "ValueError: no", None, None, 10)]),
        ("select created_at, ended_at from runs where run_id = 'adam-1'",
         [(BORN, datetime(2026, 1, 1, 0, 1, tzinfo=UTC))]),
        ("select step, value, preview, completion from points where run_id = 'sgd' and step >= 1",
         [(1.0, math.inf, 0, 1.0), (1.5, -math.inf, 0, 1.0), (2.0, 3.5, 1, 0.25)]),
        ("select path, type, value, number from attributes where run_id = 'sgd' order by path",
         [("depth", "int", "1152921504606846977", float(2**60)), ("lr", "float", "0.01", 0.01),
          ("note", "string", 'a "quoted" ü', None), ("readme", "file", "note.txt", None),
          ("ready", "bool", "true", 1.0), ("sys/name", "string", "sgd", None),
          ("when", "datetime", "2026-02-03 04:05:06.789", 1770091506.789)]),
        ("select run_id, path, tag from tags", [("sgd", "sys/tags", "good")]),
        ("select path, type, last_step, last_value, last_text from series where run_id = 'sgd'"
         " order by path",
         [("images", "file_series", 3.0, None, None), ("log/out", "string_series", 2.0, None,
          "three"), ("loss", "float_series", 1.5, -math.inf, None),
          ("weights", "histogram_series", 0.0, None, None)]),
        ("select step, value from strings order by step",
         [(0.0, "one"), (1.0, "two"), (2.0, "three")]),
        ("select kind, edges, bins from histograms",
         [("COUNTING", [0.0, 1.0, 2.0], [3.0, 4.0])]),
        ("select path, step, name, size_bytes, mime_type from files where run_id = 'sgd'"
         " order by path",
         [("images", 3.0, "note.txt", 19, "text/plain"),
          ("readme", None, "note.txt", 19, "text/plain")]),
    ],
)  # fmt: skip
def test_the_views(client: QueryClient, statement: str, rows: list[tuple[Any, ...]]) -> None:
    assert values(client, statement) == rows


def test_nan_comes_back(client: QueryClient) -> None:
    ((value,),) = values(client, "select value from points where isNaN(value)")
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        # Comments, cases, quotes, a semicolon at the end.
        ("-- first\nSELECT /* two /* nested */ */ 1;", [(1,)]),
        ("select count() from `tags`", [(1,)]),
        ("select 'it''s', 'a\\'b\\\\', \"tag\" from tags", [("it's", "a'b\\", "good")]),
        # Own tables, also under the name of a view, also several deep.
        ("with best as (select run_id, max(value) as v from points where path = 'acc'"
         " group by run_id) select * from best", [("adam-2", 0.6)]),
        ("with points as (select * from points where value > 65 and value < 80)"
         " select value from points", [(70.0,)]),
        ("with a as (select 1 as x), b as (select x + 1 as y from a) select a.x, b.y from a, b",
         [(1, 2)]),
        ("select x from (with a as (select 3 as x) select x from a)", [(3,)]),
        ("with recursive r as (select 1 as n union all select n + 1 from r where n < 3)"
         " select n from r order by n", [(1,), (2,), (3,)]),
        ("with 5 as five, (select max(step) from strings) as last select five, last", [(5, 2.0)]),
        # Joins, windows, arrays, sets.
        ("select r.run_id, a.number from runs as r join attributes as a on a.run_id = r.run_id"
         " where a.path = 'lr' order by 1",
         [("adam-1", 1.0), ("adam-2", 0.1), ("sgd", 0.01)]),
        ("select runs.run_id from runs where runs.state = 'failed'", [("sgd",)]),
        ("select value - lagInFrame(value) over (partition by run_id order by step) as d"
         " from points where run_id = 'adam-1' order by step", [(9.0,), (-1.0,), (-1.0,)]),
        ("select e, b from histograms array join edges as e, arrayPushBack(bins, 0) as b",
         [(0.0, 3.0), (1.0, 4.0), (2.0, 0.0)]),
        ("select run_id from runs where run_id in (select run_id from tags)", [("sgd",)]),
        ("select count() from points where value in (9, 8) or run_id in ('nobody')", [(2,)]),
        ("select run_id from runs where project = 'rivals/secret' union all select 'x'",
         [("theirs",), ("x",)]),
        ("select run_id, step from points where path = 'loss' and run_id like 'adam%'"
         " order by step desc limit 1 by run_id",
         [("adam-1", 2.0), ("adam-2", 1.0)]),
        # Functions with combinators and parameters.
        ("select quantile(0.5)(value), countIf(value > 8), sumOrNullIf(value, value > 100),"
         " argMax(step, value) from points where run_id = 'adam-1'", [(8.0, 1, None, 0.0)]),
        ("select if(1, 2, 3), multiIf(0, 1, 5), 1 ? 2 : 3, toString(7)::Int8,"
         " cast('1.5' as Nullable(Float64)), [1, 2][2], tuple(1, 'a').2, map('k', 1)['k']",
         [(2, 5, 2, 7, 1.5, 2, "a", 1)]),
        ("select arrayMap(x -> x * 2, [1, 2]), formatReadableSize(1024), splitByChar(',', 'a,b')",
         [([2, 4], "1.00 KiB", ["a", "b"])]),
        # The names of functions where they are only names.
        ("select t.file, 1 as version from (select 2 as file) as t", [(2, 1)]),
        ("select arrayMap(upper, ['a']), sum(value) filter (where step > 0) from points"
         " where run_id = 'adam-1'", [(["A"], 15.0)]),
        ("select columns('tag') apply(upper) from tags", [("GOOD",)]),
        # Times in whole seconds are times, not numbers.
        ("select toStartOfInterval(max(timestamp), interval 1 hour), toDate(max(timestamp)),"
         " toDateTime('2026-01-02 03:04:05', 'UTC') from points where run_id = 'sgd'",
         [(BORN, date(2026, 1, 1), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))]),
    ],
)  # fmt: skip
def test_what_one_may_write(
    client: QueryClient, statement: str, rows: list[tuple[Any, ...]]
) -> None:
    found = values(client, statement)
    if "order by" not in statement:
        found, rows = sorted(found, key=repr), sorted(rows, key=repr)
    assert found == rows


def test_columns_are_named_as_written(client: QueryClient) -> None:
    table = client.sql("select run_id, count(), max(value) as best from points group by run_id")
    assert table.column_names == ["run_id", "count()", "best"]


def test_show_tables_and_describe(client: QueryClient) -> None:
    table = client.sql("SHOW TABLES;")
    assert table["name"].to_pylist() == [
        "runs", "configs", "points", "attributes", "tags", "series", "logs", "strings",
        "histograms", "files",
    ]  # fmt: skip
    assert all(table["about"].to_pylist())
    for statement in ("describe tags", "DESC `tags`;", "describe table tags"):
        assert client.sql(statement)["name"].to_pylist() == [
            "project", "run_id", "experiment", "path", "tag"
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("", "there is no statement; ask for example: select"),
        ("select 1; select 2", "one statement at a time; there are 2"),
        ("selekt * from runs", "this is no SQL: "),
        ("select sum(value from points", "this is no SQL: Expecting "),
        ("select * from run", "there is no view 'run'; there are runs, configs, points"),
        ("describe run", "there is no view 'run'; there are runs, configs"),
        ("select valeu from points", r"^Unknown expression identifier `valeu`.*\)$"),
        ("select nosuch(1)", "there is no function nosuch here: "),
        ("select max(value, 1, 2) from points", "max"),
        ("select toInt8('x')", "Cannot parse string 'x' as Int8"),
        ("explain select 1", "only SELECT, SHOW TABLES and DESCRIBE are allowed"),
        ("select * from points final", "leave FINAL out: the views show each thing once"),
        ("select 1 " + "/*" + "x" * 200_000 + "*/", "the statement is longer than 200,000 bytes"),
        ("select " + "(" * 5000 + "1" + ")" * 5000, "the statement is nested too deeply"),
    ],
)
def test_what_is_wrong_is_said_plainly(client: QueryClient, statement: str, message: str) -> None:
    with pytest.raises(NaiadQueryError, match=message) as told:
        client.sql(statement)
    # Nothing of how it is done behind.
    for ours in ("_view_", "_own_", "view_", "test_query", "Traceback", "\x1b"):
        assert ours not in str(told.value)


def test_rows_have_a_limit_that_is_not_silent(
    client: QueryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "DEFAULT_ROWS", 4)
    assert client.sql("select * from points limit 4").num_rows == 4
    with pytest.raises(NaiadQueryError, match=r"more than 4 rows\. Ask for fewer, or say"):
        client.sql("select * from points")
    # Who says how many are wanted gets so many.
    assert client.sql("select * from points", limit=3).num_rows == 3
    assert client.sql("select * from points", limit=1000).num_rows == 15
    with pytest.raises(NaiadQueryError, match="limit is 1,000,001; at most 1,000,000 rows"):
        client.sql("select 1", limit=1_000_001)


def test_time_has_a_limit(client: QueryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "MAX_SECONDS", 1)
    with pytest.raises(NaiadQueryError, match="the statement needs more than 1 s or 4 GiB"):
        client.sql("select count() from points a, points b, points c, points d, points e, points f,"
                   " points g, points h, points i")  # fmt: skip


def test_memory_has_a_limit(client: QueryClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "MAX_BYTES", 50_000_000)
    with pytest.raises(NaiadQueryError, match=r"needs more than 60 s or .*; ask for less"):
        client.sql("select length(groupArray(n)) from (select arrayJoin(range(20000000)) as n)")
    assert client.sql("select 1").num_rows == 1
