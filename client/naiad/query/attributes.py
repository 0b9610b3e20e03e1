"""How a question says which attributes it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from naiad.exceptions import NaiadTypeError
from naiad.query.client import Attributes, Runs

TYPES = (
    "int", "float", "string", "bool", "datetime", "string_set", "file",
    "float_series", "string_series", "histogram_series", "file_series",
)  # fmt: skip


@dataclass(frozen=True)
class Attribute:
    """One attribute, with its type where a path has several."""

    name: str
    type: str | None = None


@dataclass(frozen=True)
class AttributeFilter:
    """Attributes by name and type: `name` is a regular expression (RE2, found anywhere) or a
    list of exact names; `type` is one of `TYPES` or a list of them. Nothing given: any."""

    name: str | Sequence[str] | None = None
    type: str | Sequence[str] = field(default_factory=list)


AttributesArgument = str | Sequence[str] | AttributeFilter | None
RunsArgument = str | Sequence[str] | None


def chosen_attributes(name: str, given: AttributesArgument, *types: str) -> Attributes:
    """Raises NaiadTypeError for what is none of them."""
    if isinstance(given, AttributeFilter):
        wanted = [given.type] if isinstance(given.type, str) else list(given.type)
        found = chosen_attributes(name, given.name)
        return Attributes(found.pattern, found.paths, wanted or types)
    if given is None:
        return Attributes(types=types)
    if isinstance(given, str):
        return Attributes(pattern=given, types=types)
    return Attributes(paths=_strings(name, given), types=types)


def chosen_runs(name: str, given: RunsArgument, *, by_experiment: bool) -> Runs:
    """Raises NaiadTypeError for what is none of them."""
    if given is None:
        return Runs(by_experiment=by_experiment)
    if isinstance(given, str):
        return Runs(pattern=given, by_experiment=by_experiment)
    return Runs(names=_strings(name, given), by_experiment=by_experiment)


def _strings(name: str, given: Sequence[str]) -> list[str]:
    try:
        values = list(given)
    except TypeError:
        values = [None]  # type: ignore[list-item]
    if not all(isinstance(value, str) for value in values):
        raise NaiadTypeError(
            f"{name} is {given!r}; give a regular expression as a string, or a list of names"
        )
    return values
