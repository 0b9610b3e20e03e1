"""The runs table: a row per run, a column per attribute."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from naiad_proto.v1 import query_pb2 as pb
from naiad_query import asking
from naiad_query.errors import invalid
from naiad_store import Store
from naiad_store.selects import inheritance
from naiad_store.selects.attributes import TYPES, Attribute, What
from naiad_store.selects.derived import DERIVED, derived_column, derived_names
from naiad_store.selects.runs import RunRow, lives_of, select_runs

DEFAULT_SORT = "sys/creation_time"


def runs_table(store: Store, request: pb.FetchRunsTableRequest) -> pa.Table:
    """The answer to FetchRunsTable. Raises Refused, StoreError."""
    what = asking.what(request.attributes)
    if request.sort_by_type and request.sort_by_type not in TYPES:
        raise invalid(f"there is no type {request.sort_by_type!r}; there are {', '.join(TYPES)}")
    if request.sort_by_type and request.sort_by_type not in SORTABLE:
        raise invalid(
            f"runs can't be sorted by a {request.sort_by_type}; it takes {', '.join(SORTABLE)}"
        )
    runs = select_runs(store, request.project, asking.which(request.runs))
    runs = _sorted(store, request, runs)
    if request.limit:
        runs = runs[: request.limit]
    found = inheritance.columns(store, request.project, runs, what) if runs else {}
    derived = derived_names(store, what) if runs else []
    if derived:
        lives = lives_of(store, request.project, [run.run for run in runs])
        for name in derived:
            found[name] = derived_column(name, runs, lives)
    columns = {
        "run_id": pa.array([run.run_id for run in runs], pa.string()),
        "experiment": pa.array([run.experiment for run in runs], pa.string()),
    }
    for name in _order(what, list(found)):
        columns[f"{name.path}:{name.type}"] = found[name]
    return pa.table(columns)


def _order(what: What, names: list[Attribute]) -> list[Attribute]:
    """As asked for, else in alphabetical order."""
    if what.paths is None:
        return sorted(names)
    place = {path: number for number, path in enumerate(what.paths)}
    return sorted(names, key=lambda name: (place[name.path], name.type))


def _sorted(store: Store, request: pb.FetchRunsTableRequest, runs: list[RunRow]) -> list[RunRow]:
    """By the attribute asked for; those without it last, newest first among themselves."""
    path, kind = request.sort_by or DEFAULT_SORT, request.sort_by_type
    if not runs:
        return runs
    columns: dict[Attribute, pa.Array] = {}
    for name in DERIVED:
        if name.path == path and kind in ("", name.type):
            lives = lives_of(store, request.project, [run.run for run in runs])
            columns[name] = derived_column(name, runs, lives)
    if not columns:
        what = What(paths=[path], types=[kind] if kind else SORTABLE)
        columns = inheritance.columns(store, request.project, runs, what)
    values: dict[int, Any] = {}
    for name in sorted(columns, key=lambda name: SORTABLE.index(name.type)):
        if values and name.type not in _NUMBERS:
            # Numbers compare with each other; with these values they don't.
            break
        for run, value in zip(runs, columns[name].to_pylist(), strict=True):
            if value is not None and value == value:
                values.setdefault(run.run, value)
    # NaN stands with the missing ones: it is neither first nor last.
    having = [run for run in runs if run.run in values]
    having.sort(key=lambda run: values[run.run], reverse=not request.ascending)
    return [*having, *(run for run in runs if run.run not in values)]


# Where runs have a path with several types the first of these counts.
_NUMBERS = ("float_series", "float", "int")
SORTABLE = (*_NUMBERS, "datetime", "bool", "string", "string_series")
