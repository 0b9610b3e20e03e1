"""Configs: any nesting of what a training has as settings, flat and typed."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any, TypeAlias

from naiad._validation import _shown, check_timestamp
from naiad_proto.limits import check_path, check_string, check_tag, shorten

ConfigValue: TypeAlias = int | float | str | bool | datetime | set[str]

_INT64 = range(-(2**63), 2**63)


def plan_configs(
    data: Any, *, flatten: bool, cast_unsupported: bool
) -> tuple[dict[str, ConfigValue], list[str]]:
    """What to set, by path, and a sentence for each item that can't be.

    flatten: mappings, lists, tuples, dataclasses and namespaces within become paths, with
        the keys as strings. A list of strings is a set of strings only without it.
    cast_unsupported: other types become strings; None becomes "".
    """
    found = _mapping(data)
    if found is None:
        return {}, [f"configs are given as a dict of paths and values, not as {_shown(data)}"]
    pairs: list[tuple[Any, Any]] = list(found.items())
    problems: list[str] = []
    if flatten:
        pairs = []
        _flatten(found, "", pairs, problems, [])
    good: dict[str, ConfigValue] = {}
    for path, value in pairs:
        if not isinstance(path, str):
            problems.append(
                f"attribute path {_shown(path)} is not a string; flatten=True makes it one"
            )
            continue
        if problem := check_path(path):
            problems.append(problem)
            continue
        try:
            good[path] = _value(path, value, cast_unsupported, flatten)
        except ValueError as error:
            problems.append(str(error))
        except Exception as error:
            problems.append(f"{shorten(path)!r} is {_shown(value)}: {error}")
    return good, problems


def _mapping(value: Any) -> Mapping[Any, Any] | None:
    """`value` as a mapping if it holds named things."""
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, SimpleNamespace) or type(value).__name__ == "Namespace":
        names: dict[str, Any] = vars(value)
        return names
    return None


def _flatten(
    value: Any,
    prefix: str,
    pairs: list[tuple[Any, Any]],
    problems: list[str],
    inside: list[int],
) -> None:
    named = _mapping(value)
    if named is None and isinstance(value, list | tuple):
        named = dict(enumerate(value))
    if named is None or (not named and prefix):
        pairs.append((prefix, value))
        return
    if id(value) in inside:
        problems.append(f"{shorten(prefix)!r} contains itself; it is left out")
        return
    inside.append(id(value))
    for key, one in named.items():
        name = key if isinstance(key, str) else str(key)
        _flatten(one, f"{prefix}/{name}" if prefix else name, pairs, problems, inside)
    inside.pop()


def _value(path: str, value: Any, cast: bool, flat: bool) -> ConfigValue:
    """Raises ValueError, with a sentence."""
    if isinstance(value, enum.Enum) and not isinstance(value, str | int | float):
        value = value.name if cast else value
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        if value in _INT64:
            return int(value)
        if cast:
            return _string(path, str(value))
        raise ValueError(
            f"{shorten(path)!r} is {_shown(value)}, which is no 64-bit integer; log it as a float"
            " or a string"
        )
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return _string(path, str(value))
    if isinstance(value, datetime):
        check_timestamp(value)
        return value
    if isinstance(value, set | frozenset | list | tuple) and all(
        isinstance(element, str) for element in value
    ):
        for element in value:
            if problem := check_tag(path, element):
                raise ValueError(problem)
        if value or not flat:
            return set(value)
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        single = item()
        if isinstance(single, bool | int | float | str):
            return _value(path, single, cast, flat)
    if cast:
        return _string(path, "" if value is None else str(value))
    hint = "flatten=True or " if _mapping(value) is not None or isinstance(value, list) else ""
    raise ValueError(
        f"{shorten(path)!r} is of type {type(value).__name__}, which can't be stored; use"
        f" {hint}cast_unsupported=True, or log it as one of int, float, str, bool, datetime and"
        " list of str"
    )


def _string(path: str, text: str) -> str:
    if problem := check_string(path, text):
        raise ValueError(problem)
    return text
