"""What the alert rules and the dashboard of Naiad itself ask."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml
from support_compose import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "naiad.rules.yml"
RULE_TESTS = PROMETHEUS / "naiad.rules.test.yml"
GRAFANA = ROOT / "deploy" / "grafana"
METRIC = re.compile(r"\bnaiad_[a-z_]+\b")


def rules() -> list[dict[str, Any]]:
    loaded = yaml.safe_load(RULES.read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def panels() -> list[dict[str, Any]]:
    loaded = json.loads((GRAFANA / "naiad.json").read_text())
    return [panel for panel in loaded["panels"] if panel["type"] != "row"]


def questions() -> list[str]:
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [rule["expr"] for rule in rules()] + asked
