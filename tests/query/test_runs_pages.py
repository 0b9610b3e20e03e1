"""Pages of the runs table, sorting by what stands for a metric, and groups, held against pandas."""

from __future__ import annotations

import base64
import json
import math
import statistics
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_filters import Run, runs_of, spool_of
from support_query import BEGIN, Reading, Spool

from naiad.exceptions import NaiadQueryError
from naiad.query.client import Attributes, QueryClient, Runs

PROJECT = "team/vision"
DRAWN = "team/drawn"
SORTS = [
    "", "sys/creation_time", "sys/state", "loss", "loss.min", "loss.max", "loss.mean",
    "loss.first", "loss.count", "lr", "model/depth", "note", "`odd path`", "`thin``s`.last",
    "a.min", "nobody", "sys/custom_run_id",
]  # fmt: skip


@pytest.fixture(scope="module")
def drawn(server: Reading) -> list[Run]:
    runs = runs_of(seed=7, count=40)
    server.write(*(spool_of(DRAWN, run) for run in runs))
    return runs


def pages(client: QueryClient, limit: int, **how: Any) -> list[list[str]]:
    found, cursor = [], ""
    while True:
        page = client.runs_page(
            DRAWN, attributes=Attributes(paths=[]), limit=limit, cursor=cursor, **how
        )
        assert page.total_runs == 40
        found.append(page.table.column("run_id").to_pylist())
        cursor = page.next_cursor
        if not cursor:
            return found


@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.parametrize("sort", ["loss.min", "loss.mean", "loss.count", "loss.first", "loss.max"])
def test_runs_are_sorted_by_what_stands_for_a_metric(
    client: QueryClient, drawn: list[Run], sort: str, ascending: bool
) -> None:
    path, stat = sort.split(".")
    values = {run.run_id: run.stat(path, stat).get("float_series") for run in drawn}
    frame = pd.DataFrame(
        {"run": [run.run_id for run in drawn], "created": [run.created for run in drawn]}
    )
    frame["value"] = [math.nan if values[run] is None else values[run] for run in frame["run"]]
    frame = frame.sort_values("created", ascending=False).sort_values(
        "value", ascending=ascending, na_position="last", kind="stable"
    )
    (found,) = pages(client, 0, sort_by=sort, ascending=ascending)
    assert found == frame["run"].tolist()


@pytest.mark.one_engine
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(sort=st.sampled_from(SORTS), ascending=st.booleans(), limit=st.integers(1, 17))
def test_pages_put_together_are_the_whole(
    client: QueryClient, drawn: list[Run], sort: str, ascending: bool, limit: int
) -> None:
    (whole,) = pages(client, 0, sort_by=sort, ascending=ascending)
    assert sorted(whole) == sorted(run.run_id for run in drawn)
    parts = pages(client, limit, sort_by=sort, ascending=ascending)
    assert [run for part in parts for run in part] == whole
    assert all(len(part) == limit for part in parts[:-1])


def test_pages_are_stable_while_runs_arrive(server: Reading, client: QueryClient) -> None:
    def spool(number: int, lr: float) -> Spool:
        return Spool("team/arriving", f"r{number}").create(at=BEGIN + number * 1000).set("lr", lr)

    server.write(*(spool(number, number % 3) for number in range(9)))
    for how in ({}, {"sort_by": "lr"}, {"sort_by": "lr", "ascending": True}):
        whole = client.runs_page("team/arriving", **how).table.column("run_id").to_pylist()
        first = client.runs_page("team/arriving", limit=4, **how)
        # On either side of where the page ended, and with the values that are at its edge.
        fresh = [f"r{number}" for number in range(len(whole), len(whole) + 5)]
        server.write(*(spool(int(run[1:]), number - 1.0) for number, run in enumerate(fresh)))
        found, cursor = first.table.column("run_id").to_pylist(), first.next_cursor
        while cursor:
            page = client.runs_page("team/arriving", limit=4, cursor=cursor, **how)
            found += page.table.column("run_id").to_pylist()
            cursor = page.next_cursor
        assert [run for run in found if run not in fresh] == whole
        assert len(found) == len(set(found))


def test_a_cursor_of_another_question_is_refused(client: QueryClient, drawn: list[Run]) -> None:
    cursor = client.runs_page(DRAWN, limit=3, sort_by="lr").next_cursor
    for how in (
        {"limit": 3},
        {"limit": 3, "sort_by": "lr", "ascending": True},
        {"limit": 3, "sort_by": "lr", "runs": Runs(filter="lr exists")},
    ):  # fmt: skip
        with pytest.raises(NaiadQueryError, match="cursor belongs to another question: runs and"):
            client.runs_page(DRAWN, cursor=cursor, **how)  # type: ignore[arg-type]
    with pytest.raises(NaiadQueryError, match="cursor belongs to another question"):
        client.runs_page(PROJECT, limit=3, sort_by="lr", cursor=cursor)
    # Columns and the size of a page may change.
    client.runs_page(
        DRAWN, limit=4, sort_by="lr", cursor=cursor, attributes=Attributes(paths=["lr"])
    )


@pytest.mark.parametrize(
    "cursor",
    ["x", "ä", "bm9uZQ==", base64.b64encode(json.dumps([1, 2]).encode()).decode(),
     base64.b64encode(json.dumps(["q", "number", 1, "c", 0, 0, "r"]).encode()).decode()],
)  # fmt: skip
def test_a_cursor_that_is_none_is_refused(client: QueryClient, cursor: str) -> None:
    with pytest.raises(NaiadQueryError, match="cursor is not one that this server gave"):
        client.runs_page(PROJECT, cursor=cursor)


def test_a_page_behind_the_last_run_is_empty(client: QueryClient, drawn: list[Run]) -> None:
    page = client.runs_page(DRAWN, Runs(filter="nobody/has/it > 1"), limit=5)
    assert (page.table.num_rows, page.total_runs, page.next_cursor) == (0, 0, "")


# --- groups ------------------------------------------------------------------------------------


def finite(run: Run, path: str) -> float | None:
    value = run.stat(path, "last").get("float_series")
    return value if value is not None and math.isfinite(value) else None


@pytest.mark.parametrize("by", [["sys/state"], ["sys/state", "sys/failed"], ["labels"], ["nobody"]])
def test_groups_are_those_of_pandas(client: QueryClient, drawn: list[Run], by: list[str]) -> None:
    def key(run: Run, path: str) -> Any:
        values = run.known(path) if path.startswith("sys/") else run.values(path)
        value = next(iter((values or {}).values()), None)
        return tuple(sorted(value)) if isinstance(value, set) else value

    frame = pd.DataFrame(
        {"key": [tuple(key(run, path) for path in by) for run in drawn],
         "value": [finite(run, "loss") for run in drawn]}
    )  # fmt: skip
    found = client.run_groups(DRAWN, by, attributes=Attributes(paths=["loss"]))
    assert found.total_groups == found.table.num_rows == frame["key"].nunique()
    names = found.table.column_names[: len(by)]
    for row in found.table.to_pylist():
        mine = tuple(
            tuple(row[name]) if isinstance(row[name], list) else row[name] for name in names
        )
        rows = frame[frame["key"] == mine]
        values = rows["value"].dropna()
        assert row["run_count"] == len(rows)
        said = row["loss:float_series"]
        assert said["count"] == len(values)
        if len(values):
            assert said == {
                "count": len(values), "min": values.min(), "median": values.median(),
                "max": values.max(), "mean": pytest.approx(values.mean()),
            }  # fmt: skip
        else:
            assert said["min"] is said["median"] is said["max"] is said["mean"] is None


def test_ints_and_floats_are_one_number_and_inherited_values_group(client: QueryClient) -> None:
    found = client.run_groups(PROJECT, ["lr"], attributes=Attributes(paths=["loss", "sys/state"]))
    # The fork has its parent's.
    assert found.table.select(["lr:float", "run_count"]).to_pylist() == [
        {"lr:float": 0.01, "run_count": 1}, {"lr:float": 0.1, "run_count": 1},
        {"lr:float": 1.0, "run_count": 2},
    ]  # fmt: skip
    assert found.table.column_names == ["lr:float", "run_count", "loss:float_series"]
    of_ints = client.run_groups(PROJECT, [("lr", "int")], attributes=Attributes(paths=[])).table
    assert of_ints.to_pydict() == {"lr:int": [1, None], "run_count": [2, 2]}


@pytest.mark.parametrize(
    ("sort", "ascending", "keys"),
    [
        ("", False, [0.01, 0.1, 1.0]),
        ("lr", False, [1.0, 0.1, 0.01]),
        ("run_count", False, [1.0, 0.01, 0.1]),
        ("run_count", True, [0.01, 0.1, 1.0]),
        ("loss.max", False, [1.0, 0.1, 0.01]),
        # That of the group 0.01 is not finite: last either way.
        ("loss.mean", True, [0.1, 1.0, 0.01]),
        ("nobody.min", True, [0.01, 0.1, 1.0]),
    ],
)
def test_groups_are_sorted(
    client: QueryClient, sort: str, ascending: bool, keys: list[float]
) -> None:
    wanted = Attributes(paths=["loss", "nobody"])
    found = client.run_groups(PROJECT, ["lr"], attributes=wanted, sort_by=sort, ascending=ascending)
    assert found.table.column("lr:float").to_pylist() == keys
    two = client.run_groups(
        PROJECT, ["lr"], attributes=wanted, sort_by=sort, ascending=ascending, limit=2
    )
    assert (two.table.column("lr:float").to_pylist(), two.total_groups) == (keys[:2], 3)


def test_all_runs_are_one_group_and_no_runs_none(client: QueryClient) -> None:
    one = client.run_groups(PROJECT, [], attributes=Attributes(paths=["loss"])).table
    (row,) = one.to_pylist()
    assert row["run_count"] == 4
    assert row["loss:float_series"]["median"] == statistics.median([7.0, 4.0, 60.0])
    none = client.run_groups(PROJECT, ["lr"], Runs(filter="lr > 100"))
    assert (none.total_groups, none.table.num_rows) == (0, 0)


@pytest.mark.parametrize(
    ("by", "sort", "message"),
    [
        ([("lr", "double")], "", "there is no type 'double'; there are int"),
        ([("readme", "file")], "", "runs can't be grouped by a file; it takes float_series"),
        (["readme"], "", "runs can't be grouped by 'readme', a file; it takes float_series"),
        (["lr", "lr"], "", "group_by names a path twice; name each once"),
        ([""], "", "group_by has an empty path; name an attribute"),
        ([f"p{n}" for n in range(21)], "", "group_by names 21 attributes; at most 20"),
        (["lr"], "loss", r"sort_by is 'loss'; it is run_count, the path of a group_by \(lr\), or"),
        (["lr"], "acc.max", "sort_by is 'acc.max'"),
    ],
)
def test_what_is_wrong_with_a_grouping_is_named(
    client: QueryClient, by: Any, sort: str, message: str
) -> None:
    with pytest.raises(NaiadQueryError, match=message):
        client.run_groups(PROJECT, by, attributes=Attributes(paths=["loss"]), sort_by=sort)


def test_a_path_of_two_kinds_wants_a_type(server: Reading, client: QueryClient) -> None:
    server.write(
        Spool("team/two", "a").create().set("x", 1), Spool("team/two", "b").create().set("x", "s")
    )
    with pytest.raises(NaiadQueryError, match="'x' is int and string in these runs; give one of"):
        client.run_groups("team/two", ["x"])
    found = client.run_groups("team/two", [("x", "string")], attributes=Attributes(paths=[])).table
    assert found.to_pydict() == {"x:string": ["s", None], "run_count": [1, 1]}
