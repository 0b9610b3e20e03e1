"""How a question says which attributes it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from naiad.exceptions import NaiadValueError
from naiad.query.exceptions import WrongArgumentType

TYPES = (
    "int", "float", "string", "bool", "datetime", "string_set", "file",
    "float_series", "string_series", "histogram_series", "file_series",
)  # fmt: skip
# Of points that are no numbers.
OTHER_SERIES = ("string_series", "histogram_series", "file_series")
# What a filter may ask of a series.
AGGREGATIONS = ("last", "min", "max", "first", "mean", "count")


@dataclass(frozen=True)
class Attribute:
    """One attribute, with its type where a path has several. In a filter `aggregation` says what
    of a series is meant: last (default), min, max, first, mean or count. Raises NaiadValueError
    for a type or aggregation that there is not."""

    name: str
    type: str | None = None
    aggregation: Literal["last", "min", "max", "first", "mean", "count"] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise WrongArgumentType(f"name is {self.name!r}; give the attribute's path")
        _check_types("Attribute", [] if self.type is None else [self.type])
        if self.aggregation is not None and self.aggregation not in AGGREGATIONS:
            raise NaiadValueError(
                f"Attribute: there is no aggregation {self.aggregation!r};"
                f" there are {', '.join(AGGREGATIONS)}"
            )


class AnyAttributeFilter:
    """Attributes that one of several filters means: `one | other`."""

    def __init__(self, *filters: AttributeFilter) -> None:
        self.filters = filters

    def __or__(self, other: AttributeFilter | AnyAttributeFilter) -> AnyAttributeFilter:
        if isinstance(other, AnyAttributeFilter):
            return AnyAttributeFilter(*self.filters, *other.filters)
        if isinstance(other, AttributeFilter):
            return AnyAttributeFilter(*self.filters, other)
        return NotImplemented

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.filters))


@dataclass(frozen=True)
class AttributeFilter:
    """Attributes by name and type: `name` is a regular expression or a list of exact names;
    `type` is one of `TYPES` or a list of them. Nothing given: any. Several combine by `|`. Raises
    NaiadValueError, NaiadTypeError."""

    name: str | Sequence[str] | None = None
    type: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.name is not None and not isinstance(self.name, str):
            strings("name", self.name)
        _check_types("AttributeFilter", self.types)

    @property
    def types(self) -> list[str]:
        return [self.type] if isinstance(self.type, str) else list(self.type or ())

    def __or__(self, other: AttributeFilter | AnyAttributeFilter) -> AnyAttributeFilter:
        return AnyAttributeFilter(self) | other


def strings(name: str, given: Sequence[str], more: str = "") -> list[str]:
    """The names in a list. Raises NaiadTypeError for what is none."""
    try:
        values = list(given)
    except TypeError:
        values = [None]  # type: ignore[list-item]
    if not all(isinstance(value, str) for value in values):
        raise WrongArgumentType(
            f"{name} is {given!r}; give a regular expression as a string, or a list of names{more}"
        )
    return values


def _check_types(owner: str, types: Sequence[str]) -> None:
    for kind in types:
        if kind not in TYPES:
            raise NaiadValueError(
                f"{owner}: there is no type {kind!r}; there are {', '.join(TYPES)}"
            )
