"""Which projects, runs and attributes there are."""

from __future__ import annotations

import pytest
from support_query import Reading, Spool

from naiad.exceptions import NaiadQueryError
from naiad.query.client import Attributes, QueryClient, Runs

PROJECT = "team/vision"


def test_projects_come_in_alphabetical_order(client: QueryClient) -> None:
    assert client.list_projects() == ["rivals/secret", "team/vision"]


def test_the_server_says_what_it_is(client: QueryClient) -> None:
    info = client.server_info()
    assert (info.version, info.dashboard_url, info.mode) == (
        "1.2.3", "http://here:8501", "embedded",
    )  # fmt: skip


def test_runs_come_newest_first(client: QueryClient) -> None:
    assert client.list_runs(PROJECT) == ["fork", "sgd", "adam-2", "adam-1"]


def test_an_experiment_is_its_newest_run(client: QueryClient) -> None:
    assert client.list_runs(PROJECT, Runs(by_experiment=True)) == ["forked", "sgd", "adam"]
    table = client.runs_table(PROJECT, Runs(names=["adam"], by_experiment=True))
    assert table.column("run_id").to_pylist() == ["adam-2"]


def test_the_head_is_the_run_that_was_created_last_not_the_one_dated_last(server: Reading) -> None:
    old = Spool("team/heads", "written-first").create("e", at=2_000_000_000_000)
    new = Spool("team/heads", "written-last").create("e", at=1_000_000_000_000)
    unnamed = Spool("team/heads", "unnamed").create()
    server.write(new, old, unnamed)
    with server.client(_token(server)) as client:
        table = client.runs_table("team/heads", Runs(by_experiment=True))
    assert table.column("run_id").to_pylist() == ["written-last"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("adam", ["adam-2", "adam-1"]),
        ("^adam$", []),
        ("1$|^s", ["sgd", "adam-1"]),
        ("adam & !2", ["adam-1"]),
        ("^fork | 1$", ["fork", "adam-1"]),
        ("!adam & !fork", ["sgd"]),
        ("! adam", ["fork", "sgd"]),
        ("sgd | adam & 2", ["sgd", "adam-2"]),
        (r"\x21", []),
        ("(?i)ADAM-[12]", ["adam-2", "adam-1"]),
        ("", ["fork", "sgd", "adam-2", "adam-1"]),
    ],
)
def test_patterns_choose_runs(client: QueryClient, pattern: str, found: list[str]) -> None:
    assert client.list_runs(PROJECT, Runs(pattern=pattern)) == found


def test_names_choose_exactly_and_unknown_ones_nothing(client: QueryClient) -> None:
    assert client.list_runs(PROJECT, Runs(names=["adam-1", "nobody", "adam"])) == ["adam-1"]
    assert client.list_runs(PROJECT, Runs(names=[])) == []


def test_attributes_have_a_type_each(client: QueryClient) -> None:
    assert client.list_attributes(PROJECT, Runs(names=["adam-2", "adam-1"])) == [
        ("acc", "float_series"), ("loss", "float_series"), ("lr", "float"), ("lr", "int"),
        ("sys/creation_time", "datetime"), ("sys/custom_run_id", "string"),
        ("sys/experiment/name", "string"), ("sys/failed", "bool"), ("sys/forked_from", "string"),
        ("sys/id", "string"), ("sys/modification_time", "datetime"), ("sys/name", "string"),
        ("sys/owner", "string"), ("sys/ping_time", "datetime"), ("sys/state", "string"),
        ("sys/state_reason", "string"), ("sys/trained_time", "float"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Attributes("^l"), ["log/out", "loss", "lr", "lr"]),
        (Attributes("^l & !o"), ["lr", "lr"]),
        (Attributes("sys/st | depth"), ["depth", "sys/state", "sys/state_reason"]),
        (Attributes("^r", types=["bool"]), ["ready"]),
        (Attributes(types=["file", "file_series", "histogram_series"]),
         ["images", "readme", "weights"]),
        (Attributes(paths=["lr", "sys/tags", "nothing"]), ["lr", "lr", "sys/tags"]),
        (Attributes(paths=[]), []),
    ],
)  # fmt: skip
def test_attributes_are_chosen(client: QueryClient, wanted: Attributes, found: list[str]) -> None:
    names = client.list_attributes(PROJECT, attributes=wanted)
    assert [path for path, _ in names] == found


def test_a_fork_has_what_it_inherits(client: QueryClient) -> None:
    found = client.list_attributes(PROJECT, Runs(names=["fork"]), Attributes("!^sys"))
    assert found == [("extra", "string"), ("loss", "float_series"), ("lr", "int")]


def test_without_runs_there_are_no_attributes(client: QueryClient) -> None:
    assert client.list_attributes(PROJECT, Runs(names=["nobody"])) == []


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda c: c.list_runs("nowhere/none"),
         "there is no project 'nowhere/none'; there are: rivals/secret, team/"),
        (lambda c: c.list_runs("nonsense"), "project 'nonsense' is not of the form"),
        (lambda c: c.list_runs(PROJECT, Runs(pattern="(a")),
         r"a pattern is not a regular expression that RE2 takes .*: \(a, error: missing \)"),
        (lambda c: c.list_attributes(PROJECT, attributes=Attributes("[z-a]")),
         "invalid character class range: z-a"),
        (lambda c: c.list_attributes(PROJECT, attributes=Attributes(types=["double"])),
         "there is no type 'double'; there are int, float, string"),
        (lambda c: c.list_runs(PROJECT, Runs(names=["x"] * 100_001)),
         "100,001 runs are named; at most 100,000 are allowed"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(client: QueryClient, ask: object, message: str) -> None:
    with pytest.raises(NaiadQueryError, match=message):
        ask(client)  # type: ignore[operator]


def _token(server: Reading) -> str:
    assert server.tokens
    return server.tokens.create()
