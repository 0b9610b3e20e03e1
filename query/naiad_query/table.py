"""The runs table: a row per run, a column per attribute."""

from __future__ import annotations

import pyarrow as pa

from naiad_proto.v1 import query_pb2 as pb
from naiad_query import asking
from naiad_query.errors import invalid
from naiad_store import Store
from naiad_store.selects import attributes
from naiad_store.selects.attributes import DERIVED, TYPES, Attribute, What
from naiad_store.selects.runs import RunRow, lives_of, select_runs

DEFAULT_SORT = "sys/creation_time"


def runs_table(store: Store, request: pb.FetchRunsTableRequest) -> pa.Table:
    """The answer to FetchRunsTable. Raises Refused, StoreError."""
    what = asking.what(request.attributes)
    if request.sort_by_type and request.sort_by_type not in TYPES:
        raise invalid(f"there is no type {request.sort_by_type!r}; there are {', '.join(TYPES)}")
    runs = select_runs(store, request.project, asking.which(request.runs))
    runs = _sorted(store, request, runs)
    if request.limit:
        runs = runs[: request.limit]
    keys = [run.run for run in runs]
    found = attributes.columns(store, request.project, keys, what) if runs else {}
    derived = attributes.derived_names(store, what)
    if derived:
        lives = lives_of(store, request.project, keys) if runs else {}
        for name in derived:
            found[name] = attributes.derived_column(name, runs, lives)
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
    values: dict[int, object] = {}
    derived = [name for name in DERIVED if name.path == path and kind in ("", name.type)]
    keys = [run.run for run in runs]
    if derived:
        lives = lives_of(store, request.project, keys) if runs else {}
        column = attributes.derived_column(derived[0], runs, lives).to_pylist()
        values = {
            run.run: value for run, value in zip(runs, column, strict=True) if value is not None
        }
    elif runs:
        values = dict(attributes.sort_values(store, request.project, keys, path, kind))
    having = [run for run in runs if _sortable(values.get(run.run))]
    without = [run for run in runs if not _sortable(values.get(run.run))]
    having.sort(key=lambda run: values[run.run], reverse=not request.ascending)  # type: ignore[arg-type, return-value]
    return [*having, *without]


def _sortable(value: object) -> bool:
    """NaN stands with the missing ones: it is neither first nor last."""
    return value is not None and value == value
