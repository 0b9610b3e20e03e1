"""`naiad runs list` and `naiad sql`: for people, for pipes, for programs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from support_cli import lines, naiad, on_a_terminal, refused
from support_one_engine import store_url
from support_query import Reading, Spool

__all__ = ["store_url"]

pytestmark = pytest.mark.usefixtures("environment")


def test_runs_in_a_pipe_are_whole_lines() -> None:
    assert lines("runs", "list") == [
        ["run_id", "experiment", "state", "created", "trained_s", "tags"],
        ["fork", "forked", "running", "2026-01-01T00:00:03.000Z", "0.0", ""],
        ["sgd", "sgd", "failed", "2026-01-01T00:00:02.000Z", "3.0", '["good"]'],
        ["adam-2", "adam", "running", "2026-01-01T00:00:01.000Z", "0.0", ""],
        ["adam-1", "adam", "finished", "2026-01-01T00:00:00.000Z", "60.0", ""],
    ]


def test_runs_on_a_terminal_are_a_table() -> None:
    assert on_a_terminal("runs", "list", "--columns", "lr,loss,sys/tags") == [
        "run_id  experiment    lr       loss  sys/tags",
        "fork    forked         1         60",
        "sgd     sgd         0.01  -Infinity  good",
        "adam-2  adam         0.1          4",
        "adam-1  adam           1          7",
    ]


def test_runs_as_json_are_objects() -> None:
    done = naiad("runs", "list", "--json", "--columns", "loss,lr", "--match", "sgd | adam & 1")
    assert json.loads(done.stdout) == [
        {"run_id": "sgd", "experiment": "sgd", "loss": "-Infinity", "lr": 0.01},
        {"run_id": "adam-1", "experiment": "adam", "loss": 7.0, "lr": 1},
    ]
    assert json.loads(naiad("runs", "list", "--json", "--match", "nobody").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        (["--experiments"], ["fork", "sgd", "adam-2"]),
        (["--match", "^adam$", "--experiments"], ["adam-2"]),
        (["--ascending", "--limit", "2"], ["adam-1", "adam-2"]),
        (["--sort", "loss", "--limit", "1"], ["fork"]),
        (["--sort", "lr", "--ascending"], ["sgd", "adam-2", "fork", "adam-1"]),
        (["--match", "nobody"], []),
        (["--project", "rivals/secret"], ["theirs"]),
    ],
)
def test_runs_are_chosen(arguments: list[str], runs: list[str]) -> None:
    assert [line[0] for line in lines("runs", "list", *arguments)[1:]] == runs


def test_columns_may_be_given_together_or_apart() -> None:
    together = lines("runs", "list", "--columns", "lr,nothing,acc")
    assert lines("runs", "list", "--columns", "lr", "--columns", "nothing,acc,lr") == together
    assert together[0] == ["run_id", "experiment", "lr", "nothing", "acc"]
    assert together[3] == ["adam-2", "adam", "0.1", "", "0.6"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["runs", "list", "--project", "x/y"], 1,
         "Error: there is no project 'x/y'; there are: rivals/secret, team/vision\n"),
        (["runs", "list", "--project", "xy"], 1, "Error: project 'xy' is not of the form"),
        (["runs", "list", "--project", ""], 2,
         "Error: name the project: --project WORKSPACE/NAME, or set NAIAD_PROJECT\n"),
        (["runs", "list", "--match", "("], 1, "(https://github.com/google/re2/wiki/Syntax)"),
        (["runs", "list", "--limit", "0"], 2, "Invalid value for '--limit': 0 is not in the range"),
        (["runs", "list", "--colums", "x"], 2, "No such option"),
        (["runs", "list", "--token", "naiad_wrong"], 1, "token"),
        (["runs", "list", "--url", "http://x"], 1, "http://x"),
        (["sql"], 2, "give one statement: naiad sql"),
        (["sql", "select 1", "select 2"], 2, "unexpected extra argument"),
        (["sql", "--jsn", "select 1"], 2, "No such option"),
        (["sql", "select x from points"], 1,
         "Error: Unknown expression identifier `x` (UNKNOWN_IDENTIFIER)\n"),
        (["sql", "drop table points"], 1,
         "Error: only SELECT is allowed, not DROP: this is for reading\n"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(arguments: list[str], status: int, message: str) -> None:
    told = refused(*arguments, status=status)
    assert message in told
    assert len(told.splitlines()) == (1 if status == 1 else 4)


def test_a_server_that_is_not_there() -> None:
    assert refused("runs", "list", "--url", "grpc://127.0.0.1:1") == (
        "Error: no Naiad server answers at grpc://127.0.0.1:1. Start one with `naiad up`, or set"
        " NAIAD_URL. (Connection refused)\n"
    )


def test_sql_in_a_pipe() -> None:
    assert lines("sql", "select path, value, value from points where run_id = 'sgd'") == [
        ["path", "value", "value"], ["loss", "1.0", "1.0"], ["loss", "NaN", "NaN"],
        ["loss", "Infinity", "Infinity"], ["loss", "-Infinity", "-Infinity"],
        ["loss", "3.5", "3.5"],
    ]  # fmt: skip


def test_sql_as_json_keeps_columns_of_one_name_apart() -> None:
    statement = "select value, value, timestamp, true as t from points where run_id = 'theirs'"
    assert json.loads(naiad("sql", "--json", statement).stdout) == [
        {"value": 42.0, "value_2": 42.0, "timestamp": "2026-01-01T00:00:00.000Z", "t": True}
    ]


def test_sql_on_a_terminal() -> None:
    assert on_a_terminal("sql", "select tag, now() > 0 as old, 1 / 3 as third from tags") == [
        "tag   old     third",
        "good    1  0.333333",
    ]


def test_a_statement_may_come_from_stdin_or_begin_with_a_comment(tmp_path: Path) -> None:
    statement = "-- which tags\nselect tag from tags"
    for arguments in ([statement], ["--json", statement], [statement, "--limit", "1"]):
        assert "good" in naiad("sql", *arguments).stdout
    assert lines("sql", "-", stdin=statement) == [["tag"], ["good"]]


def test_a_limit_of_rows() -> None:
    assert len(lines("sql", "select * from points", "--limit", "2")) == 3


def test_what_can_be_read_is_told() -> None:
    tables = lines("sql", "show tables")
    assert tables[1] == ["runs", "a row per run: experiment, state, owner, times, fork"]
    assert lines("sql", "describe tags")[-1] == ["tag", "String"]


def test_control_characters_of_a_run_reach_no_terminal(server: Reading) -> None:
    run = Spool("team/odd", "r").create().set("note", "a\tb\n\x1b[31mred")
    server.write(run)
    arguments = ("runs", "list", "--project", "team/odd", "--columns", "note")
    shown = r"a\tb\n\x1b[31mred"
    assert lines(*arguments)[1] == ["r", "", shown]
    assert on_a_terminal(*arguments)[1].split() == ["r", shown]
    (found,) = json.loads(naiad(*arguments, "--json").stdout)
    assert found["note"] == "a\tb\n\x1b[31mred"


# --- naiad runs list: filters, pages ----------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        (["--filter", "lr < 0.5"], ["sgd", "adam-2"]),
        (["--filter", 'name == "adam" and loss > 5', "--sort", "lr"], ["adam-1"]),
        (["--filter", "loss exists", "--experiments"], ["fork", "sgd", "adam-2"]),
        (["--filter", 'status == "failed" or tags has "good"'], ["sgd"]),
        (["--filter", "lr > 5"], []),
        (["--sort", "loss.min", "--ascending"], ["sgd", "adam-2", "adam-1", "fork"]),
    ],
)
def test_runs_are_filtered(arguments: list[str], runs: list[str]) -> None:
    assert [line[0] for line in lines("runs", "list", *arguments)[1:]] == runs


def test_a_wrong_filter_is_pointed_at() -> None:
    assert refused("runs", "list", "--filter", "lr > 0.1 and status == running") == (
        'Error: filter, column 24: expected a value: a number, a "text", true, false or ago("7d");'
        ' a text stands in quotes: "running"\n'
        "  lr > 0.1 and status == running\n"
        "                         ^\n"
    )


def test_columns_by_a_regular_expression() -> None:
    found = lines("runs", "list", "--columns-match", "^l", "--filter", "depth exists")
    assert found == [
        ["run_id", "experiment", "log/out", "loss", "lr"],
        ["sgd", "sgd", "three", "-Infinity", "0.01"],
    ]


def test_a_part_says_of_how_many_it_is() -> None:
    done = naiad("runs", "list", "--limit", "3")
    assert (len(done.stdout.splitlines()), done.stderr) == (4, "3 of 4 runs\n")
    assert naiad("runs", "list", "--limit", "4").stderr == ""


def test_runs_as_csv() -> None:
    done = naiad("runs", "list", "--csv", "--columns", "note,lr,sys/tags", "--limit", "2")
    assert list(csv.reader(done.stdout.splitlines())) == [
        ["run_id", "experiment", "note", "lr", "sys/tags"],
        ["fork", "forked", "", "1", ""],
        ["sgd", "sgd", 'a "quoted" ü', "0.01", '["good"]'],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "--csv"], "--json and --csv are two answers; ask for one of them"),
        (["--columns", "lr", "--columns-match", "l"], "are two choices; make one of them"),
        (["--filter", " "], "--filter is empty; leave it out for all runs"),
    ],
)
def test_choices_that_exclude_each_other(arguments: list[str], message: str) -> None:
    assert message in refused("runs", "list", *arguments, status=2)
