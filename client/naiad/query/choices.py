"""From the arguments of a question to the wire's selectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from naiad.exceptions import NaiadValueError
from naiad.query.attributes import AnyAttributeFilter, AttributeFilter, strings
from naiad.query.client import Attributes, Runs
from naiad.query.filter import Filter

AttributesArgument = str | Sequence[str] | AttributeFilter | AnyAttributeFilter | None
RunsArgument = str | Sequence[str] | Filter | None


def chosen_attributes(name: str, given: Any, *types: str) -> list[Attributes]:
    """What is asked for, in one or several parts. `types`: those that the question is about.
    Raises NaiadTypeError for what is no choice, NaiadValueError where none of its types is
    among them."""
    if isinstance(given, AnyAttributeFilter):
        # A part that asks for other types only has nothing to say here, as long as one has.
        parts = []
        for one in given.filters:
            if not types or not one.types or set(one.types) & set(types):
                parts += chosen_attributes(name, one, *types)
        if not parts:
            raise _other_types(name, [kind for one in given.filters for kind in one.types], types)
        return parts
    if isinstance(given, AttributeFilter):
        (found,) = chosen_attributes(name, given.name)
        common = [kind for kind in given.types if not types or kind in types]
        if given.types and not common:
            raise _other_types(name, given.types, types)
        return [replace(found, types=common or types)]
    if given is None:
        return [Attributes(types=types)]
    if isinstance(given, str):
        return [Attributes(pattern=given, types=types)]
    return [Attributes(paths=strings(name, given), types=types)]


def chosen_runs(name: str, given: Any, *, by_experiment: bool) -> Runs:
    """Raises NaiadTypeError for what is no choice, NaiadValueError for an empty list."""
    if given is None:
        return Runs(by_experiment=by_experiment)
    if isinstance(given, Filter):
        return Runs(filter=str(given), by_experiment=by_experiment)
    if isinstance(given, str):
        return Runs(pattern=given, by_experiment=by_experiment)
    names = strings(name, given, " or a Filter")
    if not names:
        raise NaiadValueError(f"{name} is an empty list; name some, or give None for all")
    return Runs(names=names, by_experiment=by_experiment)


def _other_types(name: str, asked: Sequence[str], given: Sequence[str]) -> NaiadValueError:
    return NaiadValueError(
        f"{name} asks for type {', '.join(asked)}; this function gives {', '.join(given)}"
    )
