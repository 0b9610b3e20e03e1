"""Runs put together by the values of their attributes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from naiad_proto.limits import shorten
from naiad_proto.v1 import query_pb2 as pb
from naiad_query.errors import invalid
from naiad_store import Store
from naiad_store.selects import inheritance
from naiad_store.selects.attributes import TYPES, What
from naiad_store.selects.derived import derived_columns, derived_names
from naiad_store.selects.runs import RunRow

# What runs are told apart by.
KINDS = ("int", "float", "string", "bool", "datetime", "string_set")
MOST_GROUPS = 1000
ALL_RUNS = "all runs"
# Equal to itself, which the number is not.
_NAN = object()


@dataclass(frozen=True, slots=True)
class Groups:
    """Number of the group of each run, in the order of the question's runs; a label for each
    group; and its values, a column "path:type" for each attribute."""

    of: NDArray[np.int64]
    labels: Sequence[str]
    values: Mapping[str, pa.Array] = field(default_factory=dict)


def one_group(runs: Sequence[RunRow]) -> Groups:
    return Groups(np.zeros(len(runs), np.int64), [ALL_RUNS])


def grouped(
    store: Store, project: str, runs: Sequence[RunRow], by: Sequence[pb.AttributeName]
) -> Groups:
    """Runs with equal values make a group, those without a value one too; ordered by their
    values, those without last. Raises Refused."""
    columns: dict[str, list[Any]] = {}
    kinds: dict[str, pa.DataType] = {}
    for name in by:
        kind, column = _column(store, project, runs, name)
        columns[f"{name.path}:{kind}"] = [_key(value) for value in column.to_pylist()]
        kinds[f"{name.path}:{kind}"] = column.type
    keys = list(zip(*columns.values(), strict=True))
    groups = sorted(set(keys), key=lambda key: [_order(value) for value in key])
    if len(groups) > MOST_GROUPS:
        raise invalid(
            f"group_by makes {len(groups):,} groups of {len(runs):,} runs; at most"
            f" {MOST_GROUPS:,} are given: group by fewer attributes, or by others"
        )
    numbers = {key: number for number, key in enumerate(groups)}
    values = {
        name: pa.array([_value(key[place]) for key in groups], kinds[name])
        for place, name in enumerate(columns)
    }
    paths = [name.path for name in by]
    return Groups(
        np.array([numbers[key] for key in keys], np.int64),
        [_label(paths, key) for key in groups],
        values,
    )


def _column(
    store: Store, project: str, runs: Sequence[RunRow], name: pb.AttributeName
) -> tuple[str, pa.Array]:
    """Type and values, of numbers of all types as numbers where no type is asked for."""
    if not name.path:
        raise invalid("group_by has an attribute without a path; give one, as lr")
    if name.type and name.type not in KINDS:
        why = "is no value of a run" if name.type in TYPES else "is no type"
        raise invalid(
            f"group_by {shorten(name.path)!r}: {shorten(name.type)!r} {why}; there are"
            f" {', '.join(KINDS)}"
        )
    what = What(paths=[name.path], types=[name.type] if name.type else [])
    found = dict(inheritance.columns(store, project, runs, what))
    keys = [run.run for run in runs]
    found |= derived_columns(store, project, keys, derived_names(store, what))
    fitting = {one.type: column for one, column in found.items() if one.type in KINDS}
    numbers = [kind for kind in ("int", "float") if kind in fitting]
    if len(numbers) == 2:
        # Exact integers beyond a float's are told apart by type, where that is asked for.
        ints, floats = (fitting.pop(kind).cast(pa.float64(), safe=False) for kind in numbers)
        fitting["float"] = pc.coalesce(floats, ints)
    if len(fitting) > 1:
        raise invalid(
            f"group_by {shorten(name.path)!r} has values of several types; say which of"
            f" {', '.join(sorted(fitting))}"
        )
    if fitting:
        return fitting.popitem()
    if found:
        kind = next(iter(found)).type
        raise invalid(
            f"group_by {shorten(name.path)!r} is a {kind}; runs are grouped by their"
            f" {', '.join(KINDS)} values"
        )
    typed = f" of type {name.type}" if name.type else ""
    raise invalid(
        f"group_by {shorten(name.path)!r}: none of these {len(runs):,} runs has such an"
        f" attribute{typed}; list_attributes says which there are"
    )


def _key(value: Any) -> Any:
    """What can be compared for equality, NaN with NaN too."""
    if isinstance(value, list):
        return tuple(sorted(value))
    return _NAN if isinstance(value, float) and math.isnan(value) else value


def _value(key: Any) -> Any:
    return math.nan if key is _NAN else list(key) if isinstance(key, tuple) else key


def _order(value: Any) -> tuple[int, Any]:
    return (2, 0) if value is None else (1, 0) if value is _NAN else (0, value)


def _label(paths: Sequence[str], key: Sequence[Any]) -> str:
    return ", ".join(f"{path}={_text(value)}" for path, value in zip(paths, key, strict=True))


def _text(value: Any) -> str:
    match value:
        case None:
            return "none"
        case _ if value is _NAN:
            return "nan"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.12g}"
        case tuple():
            return "{" + ", ".join(value) + "}"
        case _:
            return str(value)
