"""docs/filters.md: its commands choose what they say, and its tables are the code's."""

from __future__ import annotations

import math
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from support_query import BEGIN, Reading, Spool

from naiad.cli import main
from naiad_proto.filters import FilterError, parse_filter
from naiad_proto.filters.kinds import ALIASES, STATS
from naiad_proto.filters.parser import MAX_DEPTH, MAX_LENGTH, MAX_LITERALS, MAX_TESTS
from naiad_proto.v1 import records_pb2 as pb

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "filters.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]


@pytest.fixture(scope="module", autouse=True)
def sweep(server: Reading) -> None:
    """One run for most of the page's examples."""
    best = Spool("team/page", "best").create("resnet-50").set("lr", 0.1).set("model/kind", "cnn")
    best.metrics(
        {
            "val/acc": [0.5, 0.97],
            "loss": [
                0.9,
                0.05,
            ],
        }
    ).set("seed", 1)
    best.tag("sys/tags", add=["prod", "sweep"]).status(pb.WRITER_STATE_FINISHED, at=BEGIN + 1)
    odd = Spool("team/page", "odd").create("resnet-9", at=BEGIN + 1).set("lr", 0.01)
    odd.metrics({"val/acc": [0.95, 0.2], "loss": [1.0, math.nan]}).tag("sys/tags", add=["sweep"])
    odd.status(pb.WRITER_STATE_RUNNING)
    server.write(best, odd)


@pytest.mark.usefixtures("environment")
def test_the_commands_choose_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_PROJECT", "team/page")
    found = []
    for command in COMMANDS:
        done = CliRunner().invoke(main, shlex.split(command)[1:])
        assert done.exit_code == 0, done.output
        found.append([re.split("[\t,]", line)[0] for line in done.stdout.splitlines()[1:]])
    # The clock of the test is not that of its runs.
    assert found == [["best"], ["odd"], ["odd"], ["odd"], ["best"], ["best"]]


def test_every_filter_of_the_page_is_understood() -> None:
    text = PAGE.split("## Mistakes")[0]
    filters = [PAGE.splitlines()[2].strip()]
    filters += [a or b for a, b in re.findall(r"`` (.+?) ``|`([^`\n]+)`", text)]
    tests = re.compile(r"^(?!naiad|Filter)(.* (==|=|!=|>|<|=~|!~|in|has) .*|.* exists|exists .*)$")
    asked = [one for one in filters if tests.match(one)]
    assert len(asked) >= 25
    for one in asked:
        parse_filter(one)


def test_the_mistakes_are_told_like_that() -> None:
    block = PAGE.split("## Mistakes\n\n")[1].split("\n\n")[0]
    said = "\n".join(line.removeprefix("    ") for line in block.splitlines())
    with pytest.raises(FilterError) as told:
        parse_filter("lr > 0.1 and status == running")
    assert str(told.value) == said


def test_names_and_limits_are_those_of_the_code() -> None:
    names = PAGE.split("| name | attribute |")[1].split("\n\n")[0]
    assert dict(re.findall(r"\| `(\w+)` \| `([\w/]+)`", names)) == ALIASES
    stats = PAGE.split("**Metrics.**")[1].split("\n\n")[1]
    assert set(re.findall(r"`loss\.(\w+)`", stats)) == set(STATS)
    limits = PAGE.split("## Limits")[1].split("\n## ")[0]
    assert [int(n.replace(",", "")) for n in re.findall(r"\| ([\d,]+)", limits)] == [
        MAX_LENGTH, MAX_TESTS, MAX_LITERALS, MAX_DEPTH,
    ]  # fmt: skip
