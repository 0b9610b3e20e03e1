"""What is told to people: the settings a process runs with, and docs/settings.md and
docs/metrics.md, which are made from the code so that they can't be wrong."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

from prometheus_client import REGISTRY, Metric
from pydantic.fields import FieldInfo

from naiad_serve.settings import Settings, is_secret, settings_of
from naiad_serve.stages import STAGES

_LOGIN = re.compile(r"//[^/?#]*@")
# Whose import makes the metrics.
_MEASURED = (
    "naiad_ingest.metrics", "naiad_consumers.metrics", "naiad_query.metrics",
    "naiad_state.metrics", "naiad_serve.logwatch",
)  # fmt: skip

_SETTINGS_INTRO = """\
# Settings of `naiad serve`

Each stage is a process, and reads its settings from the environment and from nowhere else.
A variable that is set to nothing counts as not set. What is missing or wrong is refused at
the start, one line for each setting with what to do, and status 2. A variable that looks like
a misspelt setting is warned of. `naiad serve STAGE --print-settings` shows what a stage would
run with, without passwords.

This page is made from the code: `make docs`.
"""
_EXITS = """\
## How a stage begins and ends

SIGTERM or Ctrl-C has a stage finish what it has begun. Ingest and query say by their health
that no more should come, take calls for NAIAD_DRAIN_DELAY_SECONDS more, and then hang up on
idle connections and let calls under way end. The writer, live and the alerter finish what they
have read, commit, and leave their group. A second signal ends it at once, which loses nothing
that was acknowledged.

| exit status | |
|---|---|
| 0 | it was asked to end and has finished |
| 1 | it can't work, and waiting would not help: a taken port, a store made by a newer release |
| 1 | it could not finish within its time; what it had not committed is done again |
| 2 | settings that can't be used |
| 130, 143 | a second signal, SIGINT or SIGTERM, ended it |

An engine that isn't there yet is waited for, because a cluster starts in any order: the process
lives (`/healthz`), isn't ready (`/readyz` says what it lacks), and logs one line each time that
the reason changes. A refused login is waited for too, since whoever makes the user may only be
starting. A URL that can't be right is refused at once.

While it runs, a stage is not ready when its log or store hasn't answered for 10 seconds, while
its consumer is between an error and its next start, and from the first signal on. Ingest and
query tell the same by `grpc.health.v1`, for each service. Redis never makes a stage unready.
"""
_METRICS_INTRO = """\
# Metrics for Prometheus

Every stage serves `/metrics` at `NAIAD_METRICS_LISTEN` ([settings](settings.md)), `naiad up` at
`--metrics-port`. A stage has the metrics of what it does; Python's own (`process_…`,
`python_…`) come with them. They count batches, polls and calls, never single points, so that
they cost nothing.

This page is made from the code: `make docs`.

| metric | type | labels | meaning |
|---|---|---|---|
"""


def known_settings() -> frozenset[str]:
    return frozenset(name for kind in STAGES.values() for name, _ in settings_of(kind))


def shown(settings: Settings) -> Iterator[str]:
    """Lines NAME=value, without passwords; what is not set stands as a comment."""
    for field, (name, info) in zip(
        type(settings).model_fields, settings_of(type(settings)), strict=True
    ):
        value = getattr(settings, field)
        if value is None:
            yield f"# {name} is not set"
        else:
            text = _text(value)
            yield f"{name}={_LOGIN.sub('//…@', text) if is_secret(info) else text}"


def settings_page() -> str:
    """docs/settings.md"""
    parts = [_SETTINGS_INTRO]
    # A setting that several stages have stands with the first of them.
    users: dict[str, list[str]] = {}
    for stage, kind in STAGES.items():
        for name, _ in settings_of(kind):
            users.setdefault(name, []).append(stage)
    everywhere = [name for name, stages in users.items() if len(stages) == len(STAGES)]
    first = next(iter(STAGES.values()))
    parts.append("## Of every stage\n\n" + _table(dict(settings_of(first)), everywhere, users))
    for stage, kind in STAGES.items():
        of_stage = dict(settings_of(kind))
        own = [name for name in of_stage if name not in everywhere]
        parts.append(f"## {stage}\n\n{_table(of_stage, own, users)}")
    parts.append(_defaults())
    parts.append(_EXITS)
    return "\n".join(parts)


def _table(of_stage: dict[str, FieldInfo], names: list[str], users: dict[str, list[str]]) -> str:
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for name in names:
        info = of_stage[name]
        if info.is_required():
            example = f", such as `{info.examples[0]}`" if info.examples else ""
            default = f"has to be set{example}"
        elif info.default is None:
            default = "not set"
        elif name == "NAIAD_METRICS_LISTEN":
            default = "see below"
        else:
            default = f"`{_text(info.default)}`"
        rows.append(f"| `{name}` | {default} | {info.description} |")
    return "\n".join(rows) + "\n"


def _defaults() -> str:
    """Ports, which differ so that all stages can run on one machine as they are."""
    rows = ["## Ports", "", "| stage | `NAIAD_LISTEN` | `NAIAD_METRICS_LISTEN` |", "|---|---|---|"]
    for stage, kind in STAGES.items():
        fields = kind.model_fields
        listen = f"`{fields['listen'].default}`" if "listen" in fields else ""
        rows.append(f"| {stage} | {listen} | `{fields['metrics_listen'].default}` |")
    return "\n".join(rows) + "\n"


def metrics() -> list[Metric]:
    """All that a process of ours may have, in the order of the river."""
    for module in _MEASURED:
        importlib.import_module(module)
    return [metric for metric in REGISTRY.collect() if metric.name.startswith("naiad_")]


def metrics_page() -> str:
    """docs/metrics.md"""
    rows = []
    for metric in metrics():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        labels = ", ".join(f"`{label}`" for label in _labels(metric.name))
        rows.append(f"| `{name}` | {metric.type} | {labels} | {metric.documentation} |\n")
    return _METRICS_INTRO + "".join(rows)


def _labels(name: str) -> tuple[str, ...]:
    # A metric without samples doesn't tell its labels.
    collector: Any = REGISTRY._names_to_collectors[name]
    return tuple(collector._labelnames)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
