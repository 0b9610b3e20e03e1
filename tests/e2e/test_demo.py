"""`make demo ONCE=1` as a user runs it, then the dashboard on what it left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support_browser import chromium, needs_chromium, tab
from support_homes import Home
from support_naiad import LONGER, clean_environment

from naiad.query import runs

# Twelve trainings, on a machine that others use too.
pytestmark = [pytest.mark.crowd, pytest.mark.slow, pytest.mark.timeout(200 + 600 * LONGER)]

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "examples/digits"


@pytest.fixture(scope="module")
def printed(home: Home) -> str:
    """What a demo printed that has run there."""
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "examples/demo.py"), "--once", *home.demo_options),
            # Fewer than a user's demo, whose trainings are most of its time.
            *("--epochs", "10"),
        ],
        env=clean_environment(COLUMNS="120"), capture_output=True, text=True, check=False,
        timeout=600 * LONGER,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_prints_12_runs_as_the_store_has_them(
    home: Home, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [line for line in printed.splitlines() if "mlp-" in line]
    assert len(rows) == 12
    assert "Everything that the 12 runs logged came back" in printed
    with home.serving() as naiad:
        monkeypatch.setenv("NAIAD_URL", naiad.url)
        table = runs.fetch_runs_table(
            project=PROJECT,
            attributes=["sys/name", "val/accuracy"],
            sort_by="val/accuracy",
            sort_direction="desc",
        )
    assert len(table) == 12
    for (_, stored), row in zip(table.iterrows(), rows, strict=True):
        assert f"{stored['val/accuracy']:.4f}" in row
    # Good learning rates learn: the figures are real, whatever they are exactly.
    assert table["val/accuracy"].iloc[0] > 0.9


@pytest.mark.usefixtures("printed")
def test_a_missing_point_would_be_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's own check can fail: it is shown a claim that the store does not hold."""
    sys_path = str(ROOT / "examples")
    monkeypatch.syspath_prepend(sys_path)
    import demo as demo_module

    with home.serving() as naiad:
        monkeypatch.setenv("NAIAD_URL", naiad.url)
        run, name = next(
            iter(runs.fetch_runs_table(project=PROJECT, attributes="sys/name")["sys/name"].items())
        )
        points = runs.fetch_metrics(project=PROJECT, runs=[run], attributes=["val/loss"]).loc[run]
        claim = {
            "run_id": run,
            "experiment": name,
            "points": {"val/loss": list(points["val/loss"].items())},
            "configs": {"model/kind": "MLP"},
            "tags": runs.fetch_runs_table(project=PROJECT, runs=[run], attributes="sys/tags").loc[
                run
            ]["sys/tags"],
            "lines": 10,
        }
        assert demo_module.missing([claim]) == []
        assert demo_module.missing([{**claim, "configs": {"model/kind": "CNN"}}])
        assert demo_module.missing([{**claim, "lines": 26}])
        assert demo_module.missing([{**claim, "tags": ["other"]}])
        more = {"val/loss": [*claim["points"]["val/loss"], (1e6, 0.5)]}
        assert demo_module.missing([{**claim, "points": more}])


@pytest.mark.browser
@needs_chromium
@pytest.mark.usefixtures("printed")
def test_three_of_its_runs_are_three_named_curves(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the table of runs to their curves, with the values that the query API gives."""
    with (
        home.serving(dashboard=True) as naiad,
        chromium() as browser,
        tab(browser, naiad.dashboard) as page,
    ):
        monkeypatch.setenv("NAIAD_URL", naiad.url)
        names = runs.fetch_runs_table(project=PROJECT, attributes="sys/name")["sys/name"]
        page.go(f"/runs?project={PROJECT}").shows("12 runs")
        # The newest run is the first row, as in the query API's answer.
        for count, row in enumerate((0, 4, 7), start=1):
            page.tick(row)
            page.shows(f"{count} selected")
        chosen = names.iloc[[0, 4, 7]]
        page.shows("Compare 3 runs").click()
        for path in ("val/accuracy", "train/loss"):
            curves = page.curves(path)
            assert list(curves) == list(chosen) == page.legend()
            stored = runs.fetch_metrics(project=PROJECT, runs=list(chosen.index), attributes=[path])
            for run, name in chosen.items():
                points = stored.loc[run][path]
                assert [x for x, _ in curves[name]] == list(points.index)
                assert [y for _, y in curves[name]] == pytest.approx(list(points), rel=1e-3)
        page.page.reload()
        assert page.legend() == list(chosen)
