"""docs/query.md: its examples run, and its tables are the code's."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support_cli import naiad
from support_naiad import clean_environment
from support_one_engine import store_url
from support_query import PATIENCE, Reading, Spool

from naiad import query
from naiad.query import _asking, attributes, runs
from naiad.query.types import File
from naiad_query import asking
from naiad_query.calls import charts
from naiad_store.selects.buckets import BUCKETS

__all__ = ["store_url"]

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "query.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def first_steps(server: Reading) -> None:
    """What the README logs, and a little more."""
    run = Spool("me/first-steps", "hello").create("hello").set("lr", 0.01).set("batch_size", 64)
    run.metrics({"train/loss": [1 / (step + 1) for step in range(1000)]})
    run.tag("sys/tags", add=["try"]).lines("runtime/here/stdout", ["See it at", "there"])
    run.set("model", server.put(b"weights", "model.bin"))
    server.write(run)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 12


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_run(server: Reading, token: str, tmp_path: Path, example: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
        env=clean_environment(NAIAD_URL=server.url, NAIAD_API_TOKEN=token),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "Empty" not in done.stdout
    assert "[]" not in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_run(
    server: Reading, token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAIAD_URL", server.url)
    monkeypatch.setenv("NAIAD_API_TOKEN", token)
    done = naiad(*shlex.split(command)[1:])
    assert done.exit_code == 0, done.output
    written = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(done.stdout.splitlines()) > 1 or written[0] > 500


def test_every_function_is_in_the_table() -> None:
    table = PAGE.split("## The functions")[1].split("\n## ")[0]
    named = set(re.findall(r"`(\w+)\(", table))
    functions = {
        name
        for module in (query, runs)
        for name in module.__all__
        if inspect.isfunction(getattr(module, name))
    }
    assert named == functions


@pytest.mark.parametrize(
    ("heading", "function", "elsewhere"),
    [
        ("fetch_runs_table, fetch_experiments_table", runs.fetch_runs_table, set()),
        ("fetch_metrics", runs.fetch_metrics, {"attributes"}),
        ("fetch_metric_buckets", runs.fetch_metric_buckets, set()),
        (
            "fetch_chart",
            runs.fetch_chart,
            set(inspect.signature(runs.fetch_metric_buckets).parameters),
        ),
        ("fetch_series", runs.fetch_series, {"attributes"}),
        ("stream_metrics", runs.stream_metrics, set()),
        ("sql", query.sql, {"statement"}),
        ("download_files", runs.download_files, {"files"}),
    ],
)
def test_every_argument_is_told(heading: str, function: object, elsewhere: set[str]) -> None:
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    assert callable(function)
    arguments = set(inspect.signature(function).parameters) - {"project", "runs"} - elsewhere
    assert {name for name in arguments if f"`{name}`" in section} == arguments


def test_columns_of_buckets_are_those_of_the_code() -> None:
    section = PAGE.split("## fetch_metric_buckets")[1].split("\n## ")[0]
    (table,) = re.findall(r"\| column \| \|\n\|---\|---\|\n(.*?)\n\n", section, re.DOTALL)
    assert re.findall(r"`(\w+)`", table) == [
        "x", "y", *(n for n in BUCKETS.names if n not in ("place", "path", "from_x", "to_x")),
    ]  # fmt: skip


def test_types_fields_and_limits_are_those_of_the_code() -> None:
    (types,) = re.findall(r"The types are (.*?)\. What", PAGE, re.DOTALL)
    assert tuple(re.findall(r"`(\w+)`", types)) == attributes.TYPES
    (fields,) = re.findall(r"A `File` has (.*?)\.\n", PAGE, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", fields)) == set(File.__dataclass_fields__)
    assert f"At most {asking.MAX_RUNS_WITH_POINTS:,} runs at a time" in PAGE
    assert _asking.MAX_BUCKETS == charts.MAX_BUCKETS
    assert f"1 to {_asking.MAX_BUCKETS:,}; default {charts.DEFAULT_BUCKETS:,}" in PAGE
