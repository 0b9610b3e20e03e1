"""docs/charts.md: its examples run, and its figures are the code's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support_naiad import clean_environment
from support_one_engine import store_url
from support_query import PATIENCE, Reading, Spool

from naiad_query import tails
from naiad_query.charts import chart, groups, plan, smoothing

__all__ = ["store_url"]

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "charts.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def first_steps(server: Reading) -> None:
    spools = []
    for seed in range(3):
        run = Spool("me/first-steps", f"hello-{seed}").create().set("lr", 0.01)
        run.metrics({"train/loss": [(1 + seed) / (step + 1) for step in range(1000)]})
        spools.append(run)
    server.write(*spools)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_run(server: Reading, token: str, tmp_path: Path, example: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example],
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
        env=clean_environment(NAIAD_URL=server.url, NAIAD_API_TOKEN=token),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") >= 3
    assert "Empty" not in done.stdout


@pytest.mark.parametrize(
    "said",
    [
        f"(1 to {plan.MAX_WIDTH:,}; default {plan.DEFAULT_WIDTH:,})",
        f"{chart.MOST_BY_TIME:,} points are read over time and {chart.MOST_BY_METRIC:,} over",
        f"Up to {chart.MOST_SMOOTHED:,} points are smoothed one by one, and a Gaussian up to "
        f"{chart.MOST_WEIGHTS:,} weights",
        f"e^−{smoothing._FAINT:.0f}",
        f"≤ {smoothing._WIDEST:.0f}a",
        f"at most {plan.MOST_GROUP_BY} attributes, {groups.MOST_GROUPS:,} groups",
        f"At most {tails.MOST_RUNS:,} runs.",
        f"server has {tails.MOST_TAILS};",
        f"Every {tails.HEARTBEAT_SECONDS:.0f} s",
    ],
)
def test_limits_are_as_the_page_says(said: str) -> None:
    assert said in " ".join(PAGE.split())
