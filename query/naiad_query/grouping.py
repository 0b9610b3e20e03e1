"""Runs put together by the values of their attributes: for tables and for charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from naiad_proto.limits import shorten
from naiad_query.errors import invalid
from naiad_query.order import NUMBERS
from naiad_store import Store
from naiad_store.selects import attributes, inheritance
from naiad_store.selects.attributes import ARROW, TYPES, Attribute, What
from naiad_store.selects.derived import DERIVED, derived_columns
from naiad_store.selects.runs import RunRow

GROUPABLE = (*NUMBERS, "datetime", "bool", "string", "string_series", "string_set")
MAX_GROUP_BY = 20


@dataclass(frozen=True, slots=True)
class Grouping:
    """Runs by the values of some attributes."""

    # "path:type" → the value of each group; null for runs without it.
    columns: Mapping[str, pa.Array]
    # Of each run its group; groups are numbered in the order of their values, null last.
    group: npt.NDArray[np.int64]
    # Of each group and column where its value stands among the column's.
    ranks: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        return len(self.ranks)


def group_runs(
    store: Store,
    project: str,
    keys: Sequence[int],
    forks: Sequence[RunRow],
    by: Sequence[Attribute],
) -> Grouping:
    """Groups of the runs with these keys, of which `forks` are those that are forks. An empty type
    stands for numbers of all types, or else the one type that the path has; runs without a value
    are a group too, if that is all of them. Raises Refused."""
    _check(by)
    found: dict[Attribute, pa.Array] = {}
    if by and keys:
        what = What(paths=[name.path for name in by], types=GROUPABLE)
        found = inheritance.columns_of(store, project, keys, forks, what)
        derived = [name for name in DERIVED if any(name.path == one.path for one in by)]
        found |= derived_columns(store, project, keys, derived)
        _check_others(store, project, keys, by, found)
    columns, ranks = {}, [np.zeros(len(keys), np.int64)]
    for name in by:
        kind, column = _values(name, found, len(keys))
        columns[f"{name.path}:{kind}"] = column
        ranks.append(_ranked(column))
    rows, first, group = np.unique(
        np.stack(ranks, axis=1), axis=0, return_index=True, return_inverse=True
    )
    take = pa.array(first)
    return Grouping(
        {name: column.take(take) for name, column in columns.items()},
        group.reshape(-1),
        rows[:, 1:],
    )


def _check(by: Sequence[Attribute]) -> None:
    if len(by) > MAX_GROUP_BY:
        raise invalid(f"group_by names {len(by)} attributes; at most {MAX_GROUP_BY} are allowed")
    for name in by:
        if not name.path:
            raise invalid("group_by has an empty path; name an attribute")
        if name.type and name.type not in TYPES:
            raise invalid(f"there is no type {shorten(name.type)!r}; there are {', '.join(TYPES)}")
        if name.type and name.type not in GROUPABLE:
            raise invalid(
                f"runs can't be grouped by a {name.type}; it takes {', '.join(GROUPABLE)}"
            )
    if len({name.path for name in by}) < len(by):
        raise invalid("group_by names a path twice; name each once")


def _check_others(
    store: Store,
    project: str,
    keys: Sequence[int],
    by: Sequence[Attribute],
    found: Mapping[Attribute, pa.Array],
) -> None:
    """A path that no run has makes one group; one that has other values is a mistake."""
    there = {name.path for name in found}
    missing = [name.path for name in by if not name.type and name.path not in there]
    if not missing:
        return
    for name in attributes.names(store, project, keys, What(paths=missing)):
        if name.type not in GROUPABLE:
            raise invalid(
                f"runs can't be grouped by {shorten(name.path)!r}, a {name.type}; it takes"
                f" {', '.join(GROUPABLE)}"
            )


def _values(
    name: Attribute, found: Mapping[Attribute, pa.Array], rows: int
) -> tuple[str, pa.Array]:
    """The type and the column that `name` means."""
    if name.type:
        return name.type, found.get(name, pa.nulls(rows, ARROW[name.type]))
    kinds = [
        kind
        for kind in GROUPABLE
        if (column := found.get(Attribute(name.path, kind))) is not None
        and column.null_count < rows
    ]
    if not kinds:
        return "string", pa.nulls(rows, pa.string())
    numbers = [kind for kind in kinds if kind in NUMBERS]
    if len(kinds) > max(1, len(numbers)):
        raise invalid(
            f"group_by: {shorten(name.path)!r} is {' and '.join(kinds)} in these runs; give one"
            " of these types"
        )
    columns = [found[Attribute(name.path, kind)] for kind in kinds]
    if len(columns) == 1:
        return kinds[0], columns[0]
    return "float", pc.coalesce(*(column.cast(pa.float64(), safe=False) for column in columns))


def _ranked(column: pa.Array) -> npt.NDArray[np.int64]:
    """Equal numbers for equal values, in the order of the values; null last."""
    missing = column.is_null().to_numpy(zero_copy_only=False)
    values: npt.NDArray[Any]
    if pa.types.is_list(column.type):
        sets = [tuple(value or ()) for value in column.to_pylist()]
        place = {value: number for number, value in enumerate(sorted(set(sets)))}
        rank = np.array([place[value] for value in sets], np.int64)
    else:
        if pa.types.is_string(column.type):
            values = np.array(column.fill_null("").to_pylist(), dtype=object)
        elif pa.types.is_floating(column.type):
            values = column.fill_null(0).to_numpy(zero_copy_only=False)
        else:
            values = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        _, rank = np.unique(values, return_inverse=True)
    return np.where(missing, np.iinfo(np.int64).max, rank)
