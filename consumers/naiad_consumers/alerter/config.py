"""What to watch and whom to tell: the YAML file, checked before anything starts."""

from __future__ import annotations

import fnmatch
import math
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import httpx
import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from naiad_consumers.alerter.explain import explain, explain_yaml
from naiad_consumers.alerter.occurrence import Severity
from naiad_proto.filters import FilterError
from naiad_store.selects.filters import read_filter

NON_FINITE = "non-finite"
HEARTBEAT = "heartbeat"
LOG_SINK = "log"

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class AlertConfigError(Exception):
    """The alert file can't be used: one line per fault, each with file, line, field and cure."""


def _number(value: object) -> object:
    # YAML 1.1 reads 1e-3 as text, because it wants "1.0e-3".
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _from_environment(value: object) -> object:
    """`${NAME}` stands for an environment variable: secrets needn't stand in the file."""
    if not isinstance(value, str):
        return value

    def look_up(match: re.Match[str]) -> str:
        try:
            return os.environ[match[1]]
        except KeyError:
            raise ValueError(
                f"the environment variable {match[1]} is not set; set it or remove ${{{match[1]}}}"
            ) from None

    return _VARIABLE.sub(look_up, value)


Glob = Annotated[str, Field(min_length=1)]
Number = Annotated[float, BeforeValidator(_number), Field(strict=True)]
Secret = Annotated[str, BeforeValidator(_from_environment), Field(min_length=1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Selection(_Model):
    """Which runs a rule looks at. Globs: `*` stands for any text, slashes too; `?` and
    `[abc]` for one character. Of those the ones for which `filter` is true (docs/filters.md);
    empty: all."""

    project: Glob = "*"
    run: Glob = "*"
    experiment: Glob = "*"
    filter: str = ""

    @field_validator("filter")
    @classmethod
    def _understood(cls, text: str) -> str:
        if not text.strip():
            return ""
        try:
            read_filter(text)
        except FilterError as error:
            raise ValueError(f"column {error.column}: {error.message}") from error
        return text

    @property
    def asks_experiment(self) -> bool:
        return self.experiment != "*"

    def takes(self, project: str, run_id: str) -> bool:
        return bool(_glob(self.project).match(project) and _glob(self.run).match(run_id))

    def takes_experiment(self, experiment: str) -> bool:
        return bool(_glob(self.experiment).match(experiment))


class MetricSelection(Selection):
    """Which metrics of which runs."""

    path: Glob = "*"

    def takes_path(self, path: str) -> bool:
        return bool(_glob(self.path).match(path))


class NonFiniteRule(MetricSelection):
    """A metric became NaN or infinite."""

    enabled: bool = True
    severity: Severity = Severity.WARNING


class HeartbeatRule(Selection):
    """A writer that hasn't ended fell silent."""

    enabled: bool = True
    # Seconds. Clients say something at least every few seconds; less than this and an
    # ordinary pause of the network would be an alert.
    silent_after: Annotated[Number, Field(gt=0, le=86_400 * 30)] = 60.0
    severity: Severity = Severity.CRITICAL


class ThresholdRule(MetricSelection):
    """A metric is on the wrong side of a value, `for_points` points in a row."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    path: Glob
    op: Literal[">", ">=", "<", "<="]
    value: Number
    for_points: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] = 1
    severity: Severity = Severity.WARNING
    message: str = ""

    @field_validator("value")
    @classmethod
    def _comparable(cls, value: float) -> float:
        if math.isnan(value):
            raise ValueError("nothing compares with NaN; the non_finite rule watches for NaN")
        return value


class Webhook(_Model):
    """Receives a JSON POST per event."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    url: Secret
    headers: dict[str, Secret] = Field(default_factory=dict)
    # Seconds for one attempt.
    timeout: Annotated[Number, Field(gt=0, le=300)] = 10.0
    # After this many answers that say "not this one" (a 4xx) the event is given up. A
    # receiver that is away or overloaded is tried for ever.
    attempts: Annotated[int, Field(ge=1, le=100, strict=True)] = 5

    @field_validator("url")
    @classmethod
    def _reachable(cls, url: str) -> str:
        if not re.match(r"https?://[^/\s]+", url):
            raise ValueError("it has to begin with http:// or https:// and name a host")
        try:
            httpx.URL(url)
        except httpx.InvalidURL as error:
            raise ValueError(f"it is not a URL: {error}") from error
        return url


class AlertConfig(_Model):
    """All of it. `AlertConfig()` watches for NaN and silent writers and tells the log."""

    log: bool = True
    webhooks: tuple[Webhook, ...] = ()
    # Where people reach the dashboard: alerts then carry the run's page.
    dashboard_url: str = ""
    non_finite: NonFiniteRule = NonFiniteRule()
    heartbeat: HeartbeatRule = HeartbeatRule()
    thresholds: tuple[ThresholdRule, ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        # Names are part of an occurrence's id and of what was delivered to whom.
        for what, names in (
            ("thresholds", [NON_FINITE, HEARTBEAT, *(t.name for t in self.thresholds)]),
            ("webhooks", [LOG_SINK, *(w.name for w in self.webhooks)]),
        ):
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"the name {name!r} stands twice in {what}; change one")
        return self

    @property
    def sinks(self) -> tuple[str, ...]:
        """Names of those who are told."""
        return (*((LOG_SINK,) if self.log else ()), *(w.name for w in self.webhooks))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AlertConfig:
        """Raises AlertConfigError with all faults of the file at once."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise AlertConfigError(f"the alert file {path} can't be read: {reason}") from error
        try:
            tree = yaml.compose(text, Loader=yaml.SafeLoader)
            data: Any = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise AlertConfigError(explain_yaml(str(path), text, error)) from error
        if data is None:
            return cls()
        if not isinstance(data, dict):
            raise AlertConfigError(
                f"{path}, line 1: the file holds a {type(data).__name__}; it has to be a mapping"
                f" with any of: {', '.join(cls.model_fields)}"
            )
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise AlertConfigError(explain(str(path), tree, cls, error)) from error


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern))
