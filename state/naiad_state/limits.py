"""Rules of how much may be sent, as text and as values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

# Seconds' worth of a rate that may come at once after a pause.
DEFAULT_BURST = 2.0
# Of any rate, per second: below it a second batch would never come.
_LEAST, _MOST = 0.001, 1e15
EVERY_OTHER = "*"
UNLIMITED = "unlimited"
FORM = (
    "a rule is SUBJECT=NAME:RATE=NUMBER,…, as in project=team/vision:points_per_second=1000000;"
    " rules are separated by ';'"
)
_SUBJECTS = ("project", "token")
_RATES = {
    "points_per_second": "points",
    "bytes_per_second": "bytes",
    "batches_per_second": "batches",
}


class LimitsError(ValueError):
    """The rules can't be used; the message names which and why."""


class Cost(NamedTuple):
    """What one batch takes from each limit."""

    points: int
    bytes: int
    batches: int = 1


@dataclass(frozen=True, slots=True)
class Rates:
    """Per second; None is no limit. `burst`: seconds' worth of it that may come at once."""

    points: float | None = None
    bytes: float | None = None
    batches: float | None = None
    burst: float = DEFAULT_BURST


class Allowance(NamedTuple):
    """One limit of one subject."""

    # project, token
    subject: str
    name: str
    # points, bytes, batches
    unit: str
    rate: float
    # What a full bucket holds.
    capacity: float

    @property
    def key(self) -> str:
        """Of its bucket in Redis."""
        return f"naiad:limit:{self.unit}:{self.subject}:{self.name}"

    def __str__(self) -> str:
        return f"{self.subject} {self.name!r} may send {self.rate:,.15g} {self.unit} per second"


@dataclass(frozen=True, slots=True)
class Limits:
    """Rates by name of the project and of the token, `EVERY_OTHER` for those not named.

    A token is known by the name that it was made with, so tokens of one name share its limit;
    without a name it is "token ID". Each name has its own bucket, also under `EVERY_OTHER`.
    """

    projects: Mapping[str, Rates] = field(default_factory=dict)
    tokens: Mapping[str, Rates] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.projects or self.tokens)

    def of(self, project: str, token: str) -> list[Allowance]:
        """All limits that hold for what `token` sends to `project`."""
        found = []
        for subject, name, table in (
            ("project", project, self.projects),
            ("token", token, self.tokens),
        ):
            rates = table.get(name) or table.get(EVERY_OTHER)
            if rates is None:
                continue
            for unit in Cost._fields:
                if rate := getattr(rates, unit):
                    found.append(Allowance(subject, name, unit, rate, rate * rates.burst))
        return found

    @classmethod
    def parse(cls, text: str) -> Limits:
        """Raises LimitsError. Empty text is no limits.

        Rules are separated by ';' or line ends: `project=team/vision:points_per_second=1000000`,
        `token=*:bytes_per_second=5e7,batches_per_second=100,burst_seconds=10`,
        `project=team/paper:unlimited`.
        """
        tables: dict[str, dict[str, Rates]] = {subject: {} for subject in _SUBJECTS}
        for rule in text.replace("\n", ";").split(";"):
            if not (rule := rule.strip()):
                continue
            # A token's name may hold a colon.
            who, colon, rates = rule.rpartition(":")
            subject, equals, name = (part.strip() for part in who.partition("="))
            if not (colon and equals and name) or subject not in _SUBJECTS:
                raise LimitsError(f"the limit {rule!r} can't be read; {FORM}")
            if name in tables[subject]:
                raise LimitsError(f"there are two limits for {subject}={name}; keep one")
            tables[subject][name] = _rates(rule, rates)
        return cls(tables["project"], tables["token"])


def _rates(rule: str, text: str) -> Rates:
    if text.strip() == UNLIMITED:
        return Rates()
    given: dict[str, float] = {}
    for part in text.split(","):
        word, equals, number = (piece.strip() for piece in part.partition("="))
        name = "burst" if word == "burst_seconds" else _RATES.get(word)
        if not equals or name is None:
            raise LimitsError(
                f"{part.strip()!r} of the limit {rule!r} is none of {', '.join(_RATES)} and"
                f" burst_seconds, each =NUMBER, nor {UNLIMITED}"
            )
        if name in given:
            raise LimitsError(f"{word} stands twice in the limit {rule!r}")
        given[name] = _number(rule, part.strip(), number)
    if given.keys() <= {"burst"}:
        raise LimitsError(f"the limit {rule!r} has no rate: {', '.join(_RATES)}")
    return Rates(**given)


def _number(rule: str, part: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not _LEAST <= number <= _MOST:
        raise LimitsError(
            f"{part!r} of the limit {rule!r} is not a number from {_LEAST:g} to {_MOST:g}"
        )
    return number
