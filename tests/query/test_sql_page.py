"""docs/sql.md: its statements run, and its views are those that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from support_query import BEGIN, Reading, Spool

from naiad.cli import main
from naiad.query.client import QueryClient
from naiad_query import sql, statements
from naiad_store.selects import views

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sql.md").read_text()
QUESTIONS = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    line.partition(" | ")[0]
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
    # Those of curl: tests/deploy/test_sql_port.py.
    if line.startswith("naiad")
]


@pytest.fixture(scope="module", autouse=True)
def console(server: Reading) -> None:
    server.write(Spool("team/vision", "adam-1").lines("log/err", ["fine", "Warning: slow"]))


def documented() -> dict[str, list[tuple[str, str]]]:
    """Columns and types by view."""
    found = {}
    for part in PAGE.split("\n### ")[1:]:
        rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", part.split("\n## ")[0], re.MULTILINE)
        found[part.splitlines()[0]] = [(name, kind.strip()) for name, kind in rows]
    return found


def test_the_views_and_their_columns_are_those_that_there_are(client: QueryClient) -> None:
    there = {}
    for name in client.sql("show tables")["name"].to_pylist():
        table = client.sql(f"describe {name}").to_pydict()
        there[name] = list(zip(table["name"], table["type"], strict=True))
    assert documented() == there
    assert list(documented()) == list(views.VIEWS)


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_has_an_answer(client: QueryClient, question: str) -> None:
    assert client.sql(question).num_rows > 0


def test_the_answers_are_right(client: QueryClient) -> None:
    assert len(QUESTIONS) == 15
    best, minima, by_rate, wrong, differ, smooth, lines, days, *more = (
        client.sql(question).to_pydict() for question in QUESTIONS
    )
    settings, correlation, speed, tags, forks, jumps, files = more
    assert best == {
        "run_id": ["adam-2", "adam-1", "fork"], "loss": [4.0, 7.0, 60.0],
        "lr": [0.1, 1.0, None],
    }  # fmt: skip
    assert minima["run_id"] == ["sgd", "adam-2", "adam-1", "fork"]
    assert (minima["best"], minima["at_step"]) == ([1, 4, 7, 60], [0, 1, 2, 3])
    assert (by_rate["lr"], by_rate["runs"]) == ([0.01, 0.1, 1.0], [1, 1, 1])
    assert wrong == {
        "run_id": ["sgd"], "first_bad_step": [0.5], "bad_points": [3],
        "reason": ["ValueError: no"],
    }  # fmt: skip
    assert differ == {"path": ["lr"], "a": ["1"], "b": ["0.1"]}
    assert smooth["smooth"][:3] == [9.0, 8.5, 8.0]
    assert lines["message"] == ["Warning: slow"]
    assert (days["points"], days["runs"]) == ([14], [4])
    assert settings == {"path": ["lr"], "value": ["0.1"]}
    assert correlation == {"path": ["lr"], "runs": [2], "correlation": [1.0]}
    assert (speed["run_id"][0], speed["seconds"][0]) == ("sgd", 3)
    assert speed["points_per_second"][0] == 3.33
    assert tags == {"tag": ["good"], "state": ["failed"], "runs": [1]}
    assert forks == {
        "run_id": ["fork"], "parent": ["adam-1"], "fork_step": [1.0], "loss": [60.0],
        "parent_loss": [7.0],
    }  # fmt: skip
    assert jumps == {
        "run_id": ["fork", "sgd", "adam-1", "adam-2"], "largest_jump": [10.0, 2.5, 1.0, 1.0],
    }  # fmt: skip
    assert files["size"] == ["19.00 B", "19.00 B"]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_run(server: Reading, command: str) -> None:
    server.write(Spool("team/page", "r").create(at=BEGIN).metrics({"train/loss": [1.0]}))
    done = CliRunner().invoke(main, shlex.split(command)[1:])
    assert done.exit_code == 0, done.output
    assert len(done.stdout.splitlines()) > 1


def test_limits_are_those_of_the_code() -> None:
    assert re.findall(
        r"^\| (?:time|memory|rows|answer|statement) \| (.*) \|$", PAGE, re.MULTILINE
    ) == [
        f"{sql.MAX_SECONDS} s",
        f"{sql.MAX_BYTES >> 30} GiB",
        f"{sql.DEFAULT_ROWS:,}; up to {sql.MAX_ROWS:,} where `--limit N` or `limit=N` says so",
        f"{sql.MAX_ANSWER_BYTES >> 20} MiB",
        f"{statements.MAX_SQL_BYTES:,} bytes",
    ]
