"""A row per run, a column per attribute."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from support_query import BEGIN, Reading, Spool

from naiad.exceptions import NaiadQueryError
from naiad.query.client import Attributes, QueryClient, Runs
from naiad_proto.v1 import records_pb2 as pb

PROJECT = "team/vision"


def at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp((BEGIN + milliseconds) / 1000, UTC)


def row(table: pa.Table, run: str) -> dict[str, Any]:
    (found,) = [one for one in table.to_pylist() if one["run_id"] == run]
    return found


def test_columns_come_as_asked_for_and_only_where_some_run_has_them(client: QueryClient) -> None:
    wanted = Attributes(paths=["sys/state", "lr", "nothing", "acc"])
    assert client.runs_table(PROJECT, attributes=wanted).to_pydict() == {
        "run_id": ["fork", "sgd", "adam-2", "adam-1"],
        "experiment": ["forked", "sgd", "adam", "adam"],
        "sys/state:string": ["running", "failed", "running", "finished"],
        # The fork has its parent's config.
        "lr:float": [None, 0.01, 0.1, None],
        "lr:int": [1, None, None, 1],
        "acc:float_series": [None, None, 0.6, None],
    }


def test_by_pattern_columns_come_in_alphabetical_order(client: QueryClient) -> None:
    table = client.runs_table(PROJECT, attributes=Attributes("o & !sys", types=["string", "int"]))
    assert table.column_names == ["run_id", "experiment", "note:string"]
    table = client.runs_table(PROJECT, attributes=Attributes(types=["string_series", "int"]))
    assert table.column_names[2:] == ["depth:int", "log/out:string_series", "lr:int"]


def test_every_kind_of_value(client: QueryClient) -> None:
    found = row(client.runs_table(PROJECT, attributes=Attributes("!^sys")), "sgd")
    file = found.pop("readme:file")
    assert (file["name"], file["size_bytes"], file["mime_type"]) == ("note.txt", 19, "text/plain")
    assert found.pop("images:file_series")["key"] == file["key"]
    assert found == {
        "run_id": "sgd", "experiment": "sgd", "acc:float_series": None, "depth:int": 2**60 + 1,
        "extra:string": None, "log/out:string_series": "three",
        # The last committed one; the preview after it is none.
        "loss:float_series": -math.inf,
        "lr:float": 0.01, "lr:int": None, "note:string": 'a "quoted" ü', "ready:bool": True,
        "weights:histogram_series": {
            "type": "COUNTING", "edges": [0.0, 1.0, 2.0], "values": [3.0, 4.0]},
        "when:datetime": datetime(2026, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC),
    }  # fmt: skip


def test_what_the_platform_says_of_a_run(client: QueryClient) -> None:
    table = client.runs_table(PROJECT, attributes=Attributes("^sys/"))
    assert row(table, "sgd") == {
        "run_id": "sgd", "experiment": "sgd",
        "sys/creation_time:datetime": at(2000), "sys/custom_run_id:string": "sgd",
        "sys/experiment/name:string": "sgd", "sys/failed:bool": True,
        "sys/forked_from:string": None, "sys/id:string": "sgd",
        "sys/modification_time:datetime": at(0), "sys/name:string": "sgd",
        "sys/owner:string": "test", "sys/ping_time:datetime": at(0),
        "sys/state:string": "failed", "sys/state_reason:string": "ValueError: no",
        "sys/tags:string_set": ["good"], "sys/trained_time:float": 3.0,
    }  # fmt: skip
    assert row(table, "fork")["sys/forked_from:string"] == "adam-1"
    assert row(table, "fork")["sys/tags:string_set"] is None


@pytest.mark.parametrize(
    ("sort_by", "ascending", "order"),
    [
        ("", False, ["fork", "sgd", "adam-2", "adam-1"]),
        ("", True, ["adam-1", "adam-2", "sgd", "fork"]),
        ("loss", False, ["fork", "adam-1", "adam-2", "sgd"]),
        ("loss", True, ["sgd", "adam-2", "adam-1", "fork"]),
        # int and float compare as numbers; of equal ones the newest comes first.
        ("lr", False, ["fork", "adam-1", "adam-2", "sgd"]),
        ("lr", True, ["sgd", "adam-2", "fork", "adam-1"]),
        # Runs without it come last either way.
        ("acc", False, ["adam-2", "fork", "sgd", "adam-1"]),
        ("acc", True, ["adam-2", "fork", "sgd", "adam-1"]),
        ("note", True, ["sgd", "fork", "adam-2", "adam-1"]),
        ("sys/state", True, ["sgd", "adam-1", "fork", "adam-2"]),
        ("sys/trained_time", False, ["adam-1", "sgd", "fork", "adam-2"]),
        ("nothing", False, ["fork", "sgd", "adam-2", "adam-1"]),
    ],
)
def test_order(client: QueryClient, sort_by: str, ascending: bool, order: list[str]) -> None:
    table = client.runs_table(
        PROJECT, attributes=Attributes(paths=[]), sort_by=sort_by, ascending=ascending
    )
    assert table.to_pydict()["run_id"] == order
    few = client.runs_table(PROJECT, sort_by=sort_by, ascending=ascending, limit=2)
    assert few.column("run_id").to_pylist() == order[:2]


def test_order_by_one_of_two_types(client: QueryClient) -> None:
    table = client.runs_table(PROJECT, sort_by="lr", sort_by_type="float")
    assert table.column("run_id").to_pylist() == ["adam-2", "sgd", "fork", "adam-1"]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("double", "there is no type 'double'; there are int, float"),
        ("string_set", "runs can't be sorted by a string_set; it takes float_series, float, int"),
    ],
)
def test_a_type_that_has_no_order_is_refused(client: QueryClient, kind: str, message: str) -> None:
    with pytest.raises(NaiadQueryError, match=message):
        client.runs_table(PROJECT, sort_by="sys/tags", sort_by_type=kind)


def test_no_runs_is_a_table_without_rows(client: QueryClient) -> None:
    table = client.runs_table(PROJECT, Runs(names=["nobody"]), Attributes(paths=["lr"]))
    assert table.to_pydict() == {"run_id": [], "experiment": []}


def test_nan_stands_with_the_runs_that_have_none(server: Reading, client: QueryClient) -> None:
    spools = [
        Spool("team/nan", run).create().metrics({"v": [value]})
        for run, value in [("a", 1.0), ("b", math.nan), ("c", math.inf)]
    ]
    server.write(*spools)
    for ascending, order in [(True, ["a", "c", "b"]), (False, ["c", "a", "b"])]:
        table = client.runs_table("team/nan", sort_by="v", ascending=ascending)
        assert table.column("run_id").to_pylist() == order


def test_the_newest_value_counts_whatever_came_last(server: Reading, client: QueryClient) -> None:
    run = Spool("team/edits", "r").create("first name")
    run.set("lr", 0.1).tag("sys/tags", add=["a", "b"]).set("lr", 0.2)
    run.tag("sys/tags", remove=["a"]).set("sys/name", "second name")
    run.batches.reverse()
    server.write(run)
    assert client.runs_table("team/edits", attributes=Attributes("lr | tags")).to_pylist() == [
        {"run_id": "r", "experiment": "second name", "lr:float": 0.2, "sys/tags:string_set": ["b"]}
    ]


def test_a_run_is_running_while_any_of_its_writers_is(server: Reading, client: QueryClient) -> None:
    def state() -> str:
        table = client.runs_table("team/writers", attributes=Attributes(paths=["sys/state"]))
        return str(table.column("sys/state:string").to_pylist()[0])

    first = Spool("team/writers", "r").create()
    first.status(pb.WRITER_STATE_RUNNING).status(pb.WRITER_STATE_FAILED, at=BEGIN + 9000)
    second = Spool("team/writers", "r").status(pb.WRITER_STATE_RUNNING, at=BEGIN + 1000)
    server.write(first, second)
    assert state() == "running"
    second.status(pb.WRITER_STATE_FINISHED, at=BEGIN + 2000)
    server.write(second)
    # Their lives overlapped: the worst end counts.
    assert state() == "failed"
    third = Spool("team/writers", "r").status(pb.WRITER_STATE_RUNNING, at=BEGIN + 10_000)
    third.status(pb.WRITER_STATE_FINISHED, at=BEGIN + 20_000)
    server.write(third)
    assert state() == "finished"


def test_configs_come_from_ancestors_only_where_that_was_asked_for(
    server: Reading, client: QueryClient
) -> None:
    root = Spool("team/heirs", "root").create().set("lr", 0.1).set("seed", 1)
    root.metrics({"loss": [3.0, 2.0, 1.0]})
    heir = Spool("team/heirs", "heir").create(fork=("root", 1), inherit_configs=True)
    heir.set("seed", 2)
    grandchild = Spool("team/heirs", "grandchild").create(fork=("heir", 5), inherit_configs=True)
    stranger = Spool("team/heirs", "stranger").create(fork=("root", 0))
    server.write(root, heir, grandchild, stranger)
    wanted = Attributes(paths=["lr", "seed", "loss"])
    found = client.runs_table("team/heirs", attributes=wanted).to_pylist()
    assert {one["run_id"]: (one["lr:float"], one["seed:int"], one["loss:float_series"])
            for one in found} == {
        "root": (0.1, 1, 1.0), "heir": (0.1, 2, 2.0), "grandchild": (0.1, 2, 2.0),
        "stranger": (None, None, 3.0),
    }  # fmt: skip
