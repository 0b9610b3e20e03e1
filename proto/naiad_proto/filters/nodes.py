"""The tree of a filter. `str` of a node is text that parses to an equal one; where a node stood
in the text (`at`) does not count for equality."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from naiad_proto.filters.kinds import (
    ALIASES,
    BOOLS,
    DATETIMES,
    KEYWORDS,
    NUMBERS,
    STATS,
    STRINGS,
    TYPES,
)

WORD = re.compile(r"[\w\-/.]+")
_STAT = re.compile(rf".\.({'|'.join(STATS)})$")


@dataclass(frozen=True, slots=True)
class Operand:
    """An attribute, or what stands for a series. `stat` is empty for a bare path, `type` where
    none was forced."""

    path: str
    stat: str = ""
    type: str = ""
    at: int = field(default=0, compare=False)

    @property
    def types(self) -> tuple[str, ...]:
        """Types of attributes that it can mean."""
        if self.type:
            return (self.type,)
        return STATS[self.stat] if self.stat else TYPES

    @property
    def looked_at(self) -> tuple[str, ...]:
        """Types of what a test looks at: how many points a series has is a number."""
        return ("float",) if self.stat == "count" else self.types

    def __str__(self) -> str:
        plain = (
            WORD.fullmatch(self.path)
            and self.path.lower() not in KEYWORDS
            and self.path not in ALIASES
            and not _STAT.search(self.path)
        )
        text = self.path if plain else "`" + self.path.replace("`", "``") + "`"
        text += f".{self.stat}" if self.stat else ""
        return text + (f":{self.type}" if self.type else "")


@dataclass(frozen=True, slots=True)
class Ago:
    """A moment, so long before the question is asked."""

    seconds: float

    def __str__(self) -> str:
        return f'ago("{self.seconds!r}s")'


Value = int | float | str | bool | Ago


@dataclass(frozen=True, slots=True)
class Literal:
    value: Value
    at: int = field(default=0, compare=False)

    @property
    def kinds(self) -> tuple[tuple[str, ...], ...]:
        """Groups of types that it can be compared with."""
        match self.value:
            case bool():
                return (BOOLS,)
            case int() | float():
                return (NUMBERS,)
            case Ago():
                return (DATETIMES,)
            case text:
                return (STRINGS, DATETIMES) if moment(text) is not None else (STRINGS,)

    @property
    def types(self) -> tuple[str, ...]:
        return tuple(kind for kinds in self.kinds for kind in kinds)

    @property
    def is_nan(self) -> bool:
        return isinstance(self.value, float) and math.isnan(self.value)

    def micros(self, now: float) -> int | None:
        """The moment that it means, in microseconds since 1970; `now` in seconds. None if it
        means none."""
        if isinstance(self.value, Ago):
            return round((now - self.value.seconds) * 1e6)
        return moment(self.value) if isinstance(self.value, str) else None

    def __eq__(self, other: object) -> bool:
        # True is not 1 here, 1 not 1.0 and -0.0 not 0.0, and nan is itself.
        return isinstance(other, Literal) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        match self.value:
            case bool():
                return "true" if self.value else "false"
            case str():
                return '"' + self.value.replace("\\", "\\\\").replace('"', '\\"') + '"'
            case other:
                return str(other)


@dataclass(frozen=True, slots=True)
class Compare:
    """`op` is ==, !=, <, <=, >, >=, =~, !~, has or not has."""

    operand: Operand
    op: str
    literal: Literal
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.operand} {self.op} {self.literal}"


@dataclass(frozen=True, slots=True)
class In:
    operand: Operand
    literals: tuple[Literal, ...]
    negated: bool = False
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        values = ", ".join(map(str, self.literals))
        return f"{self.operand} {'not in' if self.negated else 'in'} ({values})"


@dataclass(frozen=True, slots=True)
class Exists:
    operand: Operand
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return f"{self.operand} exists"


Test = Compare | In | Exists


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter

    def __str__(self) -> str:
        return f"not {_within(self.part)}"


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return " and ".join(map(_within, self.parts))


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Filter, ...]

    def __str__(self) -> str:
        return " or ".join(map(_within, self.parts))


Filter = Compare | In | Exists | Not | And | Or


def _within(part: Filter) -> str:
    return f"({part})" if isinstance(part, And | Or) else str(part)


def every_test(tree: Filter) -> Iterator[Test]:
    """From left to right."""
    match tree:
        case Not():
            yield from every_test(tree.part)
        case And() | Or():
            for part in tree.parts:
                yield from every_test(part)
        case _:
            yield tree


def moment(text: str) -> int | None:
    """Microseconds since 1970 of an ISO 8601 time, in UTC unless it says otherwise; None for
    what is none."""
    # fromisoformat takes more: "20260101" and "2026-W01" are rather names.
    if not re.match(r"\d{4}-\d\d-\d\d([T ]|$)", text):
        return None
    try:
        found = datetime.fromisoformat(text)
        aware = found if found.tzinfo else found.replace(tzinfo=UTC)
        since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
