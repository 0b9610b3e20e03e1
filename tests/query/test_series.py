"""Points of strings, histograms and files."""

from __future__ import annotations

from typing import Any

import pytest
from support_query import Reading, Spool

from naiad.exceptions import NaiadQueryError
from naiad.query.client import Attributes, QueryClient, Runs

PROJECT = "team/vision"


def test_each_kind_fills_its_own_column(client: QueryClient) -> None:
    rows = client.series(PROJECT).to_pylist()
    told = [
        (row["run"], row["path"], row["type"], row["step"], row["string_value"], row["histogram"])
        for row in rows
    ]
    assert told == [
        ("sgd", "log/out", "string_series", 0, "one", None),
        ("sgd", "log/out", "string_series", 1_000_000, "two", None),
        ("sgd", "log/out", "string_series", 2_000_000, "three", None),
        ("sgd", "weights", "histogram_series", 0, None,
         {"type": "COUNTING", "edges": [0.0, 1.0, 2.0], "values": [3.0, 4.0]}),
        ("sgd", "images", "file_series", 3_000_000, None, None),
    ]  # fmt: skip
    assert [row["file"] and row["file"]["name"] for row in rows] == [None] * 4 + ["note.txt"]


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        ({"tail_limit": 2}, ["two", "three"]),
        ({"steps": (1_000_000, 1_000_000)}, ["two"]),
        ({"steps": (None, 0)}, ["one"]),
        ({"steps": (2_000_001, None)}, []),
    ],
)
def test_a_part_of_it(client: QueryClient, asked: dict[str, object], lines: list[str]) -> None:
    table = client.series(PROJECT, attributes=Attributes("log"), **asked)  # type: ignore[arg-type]
    assert table["string_value"].to_pylist() == lines


def test_types_choose(client: QueryClient) -> None:
    table = client.series(PROJECT, attributes=Attributes(types=["file_series"]))
    assert table["path"].to_pylist() == ["images"]
    # Metrics have a call of their own.
    assert client.series(PROJECT, attributes=Attributes("loss")).num_rows == 0
    assert client.series(PROJECT, attributes=Attributes(types=["float_series"])).num_rows == 0


def test_a_fork_goes_on_with_its_parents_lines(server: Reading, client: QueryClient) -> None:
    parent = Spool("team/lines", "parent").create()
    parent.lines("log", ["a", "b", "c"]).histogram("h", 0, [0.0, 1.0], [1.0])
    child = Spool("team/lines", "child").create(fork=("parent", 1))
    child.lines("log", ["B", "D"], first_step=1)
    server.write(parent, child)
    runs = Runs(names=["child"])
    table = client.series("team/lines", runs)
    assert list(zip(table["path"].to_pylist(), table["string_value"].to_pylist(), strict=True)) == [
        ("log", "a"), ("log", "B"), ("log", "D"), ("h", None),
    ]  # fmt: skip
    own = client.series("team/lines", runs, own_points_only=True)
    assert own["string_value"].to_pylist() == ["B", "D"]


def test_any_text_comes_back_and_the_last_call_counts(server: Reading, client: QueryClient) -> None:
    lines = ["", "ü\n\t\x00", "x" * 100_000, "'; DROP TABLE points --"]
    run = Spool("team/text", "r").create().lines("log", lines)
    run.lines("log", ["again"], first_step=0)
    run.batches.reverse()
    server.write(run)
    assert client.series("team/text")["string_value"].to_pylist() == ["again", *lines[1:]]


def test_lines_that_contain_something(server: Reading, client: QueryClient) -> None:
    parent = Spool("team/search", "parent").create()
    parent.lines("log", ["error: a", "fine", "Error: b", "error: overwritten"])
    parent.lines("log", ["fixed"], first_step=3).lines("other", ["no error"])
    parent.histogram("h", 0, [0.0, 1.0], [1.0])
    child = Spool("team/search", "child").create(fork=("parent", 2))
    child.lines("log", ["also fine"], first_step=0)
    server.write(parent, child)

    def found(pattern: str, **asked: Any) -> list[tuple[str, str]]:
        table = client.series("team/search", containing=pattern, **asked)
        return list(zip(table["run"].to_pylist(), table["string_value"].to_pylist(), strict=True))

    of_parent, of_child = Runs(names=["parent"]), Runs(names=["child"])
    assert found("error", runs=of_parent) == [("parent", "error: a"), ("parent", "no error")]
    # What the fork has anew no longer is its parent's line.
    assert found("(?i)error", runs=of_child, attributes=Attributes("log")) == [
        ("child", "Error: b")
    ]
    assert found("^(?i)error", runs=of_parent, tail_limit=1) == [("parent", "Error: b")]
    assert found("nowhere") == []
    with pytest.raises(NaiadQueryError, match=r"containing '\(' is not a regular expression"):
        found("(")
