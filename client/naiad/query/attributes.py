"""How a question says which attributes it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from naiad.exceptions import NaiadTypeError, NaiadValueError
from naiad.query.client import Attributes, Runs

TYPES = (
    "int", "float", "string", "bool", "datetime", "string_set", "file",
    "float_series", "string_series", "histogram_series", "file_series",
)  # fmt: skip
# Of points that are no numbers.
OTHER_SERIES = ("string_series", "histogram_series", "file_series")


@dataclass(frozen=True)
class Attribute:
    """One attribute, with its type where a path has several. Raises NaiadValueError for a type
    that there is not."""

    name: str
    type: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise NaiadTypeError(f"name is {self.name!r}; give the attribute's path")
        _check_types("Attribute", [] if self.type is None else [self.type])


@dataclass(frozen=True)
class AttributeFilter:
    """Attributes by name and type: `name` is a regular expression or a list of exact names;
    `type` is one of `TYPES` or a list of them. Nothing given: any. Raises NaiadValueError,
    NaiadTypeError."""

    name: str | Sequence[str] | None = None
    type: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.name is not None and not isinstance(self.name, str):
            _strings("name", self.name)
        _check_types("AttributeFilter", self.types)

    @property
    def types(self) -> list[str]:
        return [self.type] if isinstance(self.type, str) else list(self.type or ())


AttributesArgument = str | Sequence[str] | AttributeFilter | None
RunsArgument = str | Sequence[str] | None


def chosen_attributes(name: str, given: AttributesArgument, *types: str) -> Attributes:
    """`types`: those that the question is about. Raises NaiadTypeError for what is no choice,
    NaiadValueError for other types."""
    if isinstance(given, AttributeFilter):
        if types and (others := [kind for kind in given.types if kind not in types]):
            raise NaiadValueError(
                f"{name} asks for type {', '.join(others)}; this function gives {', '.join(types)}"
            )
        found = chosen_attributes(name, given.name)
        return Attributes(found.pattern, found.paths, given.types or types)
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


def _check_types(owner: str, types: Sequence[str]) -> None:
    for kind in types:
        if kind not in TYPES:
            raise NaiadValueError(
                f"{owner}: there is no type {kind!r}; there are {', '.join(TYPES)}"
            )
