"""Alert rules and dashboard: valid, on metrics that there are, and each alert explained."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support_compose import FOLDER, ROOT
from support_monitoring import (
    GRAFANA,
    METRIC,
    PROMETHEUS,
    RULE_TESTS,
    RULES,
    alerts,
    panels,
    questions,
)
from support_naiad import LONGER

from naiad_serve.stages import STAGES


def promtool(*arguments: str, cwd: Path = PROMETHEUS) -> subprocess.CompletedProcess[str]:
    if not shutil.which("promtool"):
        pytest.skip("needs promtool: Debian: apt-get install prometheus")
    return subprocess.run(
        ["promtool", *arguments], cwd=cwd,
        capture_output=True, text=True, timeout=60 * LONGER, check=False,
    )  # fmt: skip


def test_the_rules_raise_what_they_should_and_keep_still_otherwise() -> None:
    checked = promtool("check", "rules", RULES.name)
    assert checked.returncode == 0, checked.stderr
    tested = promtool("test", "rules", RULE_TESTS.name)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_each_alert_is_seen_to_fire() -> None:
    loaded = yaml.safe_load(RULE_TESTS.read_text())
    fired = {
        entry["alertname"]
        for test in loaded["tests"]
        for entry in test["alert_rule_test"]
        if entry.get("exp_alerts")
    }
    assert fired == {rule["alert"] for rule in alerts()}


def test_each_question_is_promql(tmp_path: Path) -> None:
    """The dashboard's too, as rules that Prometheus would take."""
    records = [
        {"record": f"q{number}", "expr": expr.replace("$__rate_interval", "5m")}
        for number, expr in enumerate(questions())
    ]
    file = tmp_path / "all.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": records}]}))
    checked = promtool("check", "rules", str(file))
    assert checked.returncode == 0, checked.stderr
    assert f"{len(records)} rules found" in checked.stdout


def test_every_metric_asked_for_is_one_that_naiad_has() -> None:
    table = (ROOT / "docs" / "metrics.md").read_text()
    kinds = dict(re.findall(r"^\| `(naiad_[a-z_]+)` \| (\w+) \|", table, re.MULTILINE))
    there = {
        f"{name}{end}"
        for name, kind in kinds.items()
        for end in (("_bucket", "_count", "_sum") if kind == "histogram" else ("",))
    }
    for question in questions():
        for name in METRIC.findall(question):
            assert name in there, f"{name} is in no page of docs/metrics.md: {question}"
    # And the dashboard shows all that there is.
    shown = {name for question in questions() for name in METRIC.findall(question)}
    lacking = {name for name in kinds if name not in shown and f"{name}_bucket" not in shown}
    assert not lacking


def test_the_dashboard_is_fresh() -> None:
    checked = subprocess.run(
        [sys.executable, str(GRAFANA / "make_dashboard.py"), "--check"],
        capture_output=True, text=True, timeout=30 * LONGER, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


def test_the_panels_fit_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["description"]


def test_each_alert_has_its_page() -> None:
    explained = re.findall(
        r"^### (Naiad\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE
    )
    assert explained == [rule["alert"] for rule in alerts()]
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]


def test_prometheus_takes_compose_s_configuration(tmp_path: Path) -> None:
    text = (FOLDER / "prometheus.yml").read_text()
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace("/etc/prometheus/naiad.rules.yml", str(RULES)))
    checked = promtool("check", "config", str(file))
    assert checked.returncode == 0, checked.stderr


def test_prometheus_asks_every_stage_of_compose() -> None:
    job = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"][0]
    (names,) = job["dns_sd_configs"]
    assert set(names["names"]) == set(STAGES)
    assert names["port"] == 9464
