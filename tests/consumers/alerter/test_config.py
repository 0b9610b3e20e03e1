"""The alert file: what it may say, and what it says of a bad one."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from naiad_consumers.alerter import AlertConfig, AlertConfigError, Severity

ROOT = Path(__file__).resolve().parents[3]

GOOD = """
thresholds:
  - name: loss too high
    path: "*/loss"
    op: ">"
    value: 1e3
"""


def load(folder: Path, text: str) -> AlertConfig:
    file = folder / "alerts.yaml"
    file.write_text(textwrap.dedent(text))
    return AlertConfig.load(file)


def test_without_a_file_nan_and_silence_go_to_the_log() -> None:
    config = AlertConfig()
    assert config.sinks == ("log",)
    assert config.non_finite.enabled
    assert config.heartbeat.enabled
    assert config.heartbeat.silent_after == 60
    assert config.thresholds == ()


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert load(tmp_path, "# nothing yet\n") == AlertConfig()


def test_a_small_file(tmp_path: Path) -> None:
    (rule,) = load(tmp_path, GOOD).thresholds
    assert (rule.value, rule.for_points, rule.severity) == (1000.0, 1, Severity.WARNING)
    assert rule.takes_path("train/deep/loss")
    assert not rule.takes_path("loss")


def test_secrets_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_TOKEN", "s3cret")
    text = """
    webhooks:
      - name: team
        url: https://hooks.example.org/${HOOK_TOKEN}
        headers: {Authorization: "Bearer ${HOOK_TOKEN}"}
    """
    (webhook,) = load(tmp_path, text).webhooks
    assert webhook.url == "https://hooks.example.org/s3cret"
    assert webhook.headers == {"Authorization": "Bearer s3cret"}
    monkeypatch.delenv("HOOK_TOKEN")
    with pytest.raises(AlertConfigError, match="environment variable HOOK_TOKEN is not set"):
        load(tmp_path, text)


RULE = 'thresholds:\n  - name: hot\n    path: "*"\n    op: ">"\n    value: 1\n'
ENTRY = r"thresholds\[0\] \('hot'\)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RULE.replace('">"', '"=>"'), rf"line 4: {ENTRY}\.op: '=>' is not one of '>', '>='"),
        (RULE.replace('">"', ">"), rf"line 4: {ENTRY}\.op: it is empty; .* in quotes"),
        (RULE.replace('">"', ">="), r"line 4: not valid YAML: .*put the operator in quotes"),
        (RULE.replace('"*"', "*"), r"line 3: not valid YAML: .*put a pattern .* in quotes"),
        (RULE.replace("value: 1", "value: high"), rf"line 5: {ENTRY}\.value: .*number.* 'high'"),
        (RULE.replace("value: 1", "value: true"), rf"line 5: {ENTRY}\.value: .*number.* True"),
        (RULE.replace("value: 1", "value: .nan"), rf"line 5: {ENTRY}\.value: nothing compares"),
        (RULE.replace("    value: 1\n", ""), rf"line 2: {ENTRY}\.value: it is missing; add it"),
        (
            RULE + "    severty: info\n",
            rf"line 6: {ENTRY}\.severty: there is no such field; did you mean severity\?",
        ),
        (RULE + "    severity: bad\n", rf"line 6: {ENTRY}\.severity: 'bad' is not one of 'info'"),
        (RULE + "    for_points: 0\n", rf"line 6: {ENTRY}\.for_points: .* 1, not 0"),
        (RULE + "    for_points: 2.5\n", rf"line 6: {ENTRY}\.for_points: .*integer, not 2.5"),
        (RULE + RULE.split("\n", 1)[1], r"the name 'hot' stands twice in thresholds"),
        (RULE.replace("hot", "heartbeat"), r"the name 'heartbeat' stands twice in thresholds"),
        ("threshold: []\n", r"line 1: threshold: there is no such field; did you mean thresholds"),
        ("heartbeat: {silent_after: -1}\n", r"line 1: heartbeat\.silent_after: .*0, not -1"),
        ("webhooks:\n  - {name: a, url: nowhere}\n", r"line 2: webhooks\[0\] \('a'\)\.url: it has"),
        ("- a\n", r"line 1: the file holds a list; it has to be a mapping with any of: log, web"),
        ("log: [\n", r"line 2: not valid YAML"),
        ("thresholds: 3\n", r"line 1: thresholds: .*not 3"),
    ],
)
def test_a_bad_file_is_told_where_and_what_to_do(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(AlertConfigError, match=message) as told:
        load(tmp_path, text)
    assert all(line.startswith(f"{tmp_path}/alerts.yaml, ") for line in str(told.value).split("\n"))


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = "dashbord_url: x\n" + RULE.replace('">"', '"!"').replace("value: 1", "value: x")
    with pytest.raises(AlertConfigError) as told:
        load(tmp_path, text)
    assert len(str(told.value).splitlines()) == 3


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AlertConfigError, match=r"absent\.yaml can't be read: No such file"):
        AlertConfig.load(tmp_path / "absent.yaml")


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AlertConfigError, match="it is not UTF-8 text"):
        AlertConfig.load(tmp_path / "a.yaml")
