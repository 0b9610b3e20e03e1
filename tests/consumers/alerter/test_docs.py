"""What the docs say of alerts is so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from naiad_consumers.alerter import (
    AlertConfig,
    AlertConfigError,
    HeartbeatRule,
    NonFiniteRule,
    Severity,
    ThresholdRule,
    Webhook,
)
from naiad_consumers.alerter.book import MAX_PER_RUN_AND_HOUR
from naiad_consumers.alerter.config import MetricSelection
from naiad_consumers.alerter.occurrence import Event, Occurrence, Origin, Subject, payload

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs/alerts.md").read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)


def test_the_example_file_loads_and_so_does_what_is_commented_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = ROOT / "examples/alerts.yaml"
    assert len(AlertConfig.load(example).thresholds) == 3
    monkeypatch.setenv("HOOK_TOKEN", "secret")
    all_of_it = tmp_path / "alerts.yaml"
    all_of_it.write_text(re.sub(r"^# ( *-? ?\w+:)", r"\1", example.read_text(), flags=re.M))
    (webhook,) = AlertConfig.load(all_of_it).webhooks
    assert webhook.headers == {"Authorization": "Bearer secret"}


def test_the_yaml_in_the_page_loads(tmp_path: Path) -> None:
    names = []
    for block in blocks("yaml"):
        file = tmp_path / "alerts.yaml"
        file.write_text(block)
        names += [rule.name for rule in AlertConfig.load(file).thresholds]
    assert names == ["loss too high", "diverges in production"]


def test_the_message_in_the_page_is_what_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = 'thresholds:\n  - name: hot\n    path: "*"\n    op: "=>"\n    value: 1\n'
    Path("alerts.yaml").write_text(text)
    with pytest.raises(AlertConfigError) as told:
        AlertConfig.load("alerts.yaml")
    assert f"    naiad up: {told.value}\n" in TEXT


def test_the_payload_in_the_page_is_what_is_sent() -> None:
    (block,) = blocks("json")
    shown = json.loads(block)
    subject = Subject("loss too high", "lab/vision", "gifted-owl", "train/loss")
    at = 1769860800000
    occurrence = Occurrence(
        id=shown["id"],
        subject=subject,
        severity=Severity.CRITICAL,
        experiment="resnet-50",
        step=1200_000_000,
        value=12.5,
        message=shown["message"],
        raised_at=at,
        sinks=("team",),
        changed=Origin(0, 1, "w", at),
        record=1,
    )
    assert payload(occurrence, Event.FIRING, "http://127.0.0.1:8501") == shown
    assert list(payload(occurrence, Event.FIRING, "http://127.0.0.1:8501")) == list(shown)


@pytest.mark.parametrize(
    "model", [AlertConfig, NonFiniteRule, HeartbeatRule, ThresholdRule, Webhook, MetricSelection]
)
def test_every_field_is_documented_with_its_default(model: type[AlertConfig]) -> None:
    for name, field in model.model_fields.items():
        rows = re.findall(rf"^\| `{name}` \| ([^|]+) \|", TEXT, re.MULTILINE)
        assert rows, f"{model.__name__}.{name} is not in docs/alerts.md"
        if isinstance(field.default, bool | int | float | Severity):
            default = str(field.default).lower().removesuffix(".0")
            assert any(default in row for row in rows), f"{name} is {default}, not {rows}"


def test_the_bound_in_the_page_is_the_bound() -> None:
    assert f"at most {MAX_PER_RUN_AND_HOUR} alerts per run in an hour" in TEXT
