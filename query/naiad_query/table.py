"""The runs table: a row per run, a column per attribute."""

from __future__ import annotations

import pyarrow as pa

from naiad_proto.v1 import query_pb2 as pb
from naiad_query import asking
from naiad_query.order import Cursor, ordered, question_of, values_to_sort_by
from naiad_store import Store
from naiad_store.selects import inheritance
from naiad_store.selects.attributes import Attribute, What
from naiad_store.selects.derived import derived_columns, derived_names
from naiad_store.selects.runs import choose, fork_rows

_TOTAL, _NEXT = b"total_runs", b"next_cursor"


def runs_table(store: Store, request: pb.FetchRunsTableRequest) -> pa.Table:
    """The page that FetchRunsTable asks for; `page_facts` has the rest of the answer. Raises
    Refused, FilterError, StoreError.

    All runs that are chosen are looked at as columns, and only those of the page become rows.
    """
    what = asking.what(request.attributes)
    question = question_of(request)
    cursor = Cursor.read(request.cursor, question) if request.cursor else None
    runs = choose(store, request.project, asking.which(request.runs))
    by = values_to_sort_by(store, request, runs, fork_rows(runs))
    order = ordered(by, ascending=request.ascending)
    begin = cursor.place(by, runs, order, ascending=request.ascending) if cursor else 0
    end = min(len(order), begin + request.limit) if request.limit else len(order)
    last = Cursor.at(question, by, runs, int(order[end - 1])) if begin < end < len(order) else None
    page = runs.take(pa.array(order[begin:end]))
    names = derived_names(store, what, in_trash=request.runs.in_trash)
    found = _cells(store, request.project, page, what, names) if page.num_rows else {}
    columns = {"run_id": page.column("run_id"), "experiment": page.column("experiment")}
    for name in _order(what, list(found)):
        columns[f"{name.path}:{name.type}"] = found[name]
    return pa.table(columns).replace_schema_metadata(
        {_TOTAL: str(runs.num_rows), _NEXT: last.written() if last else ""}
    )


def page_facts(table: pa.Table) -> tuple[pa.Table, int, str]:
    """(table, total_runs, next_cursor) of what `runs_table` gave."""
    facts = table.schema.metadata
    return table.replace_schema_metadata(None), int(facts[_TOTAL]), facts[_NEXT].decode()


def _cells(
    store: Store, project: str, page: pa.Table, what: What, derived: list[Attribute]
) -> dict[Attribute, pa.Array]:
    keys = page.column("run").to_pylist()
    found = inheritance.columns_of(store, project, keys, fork_rows(page), what)
    return found | derived_columns(store, project, keys, derived)


def _order(what: What, names: list[Attribute]) -> list[Attribute]:
    """As asked for, else in alphabetical order."""
    if what.paths is None:
        return sorted(names)
    place: dict[str, int] = {}
    for number, path in enumerate(what.paths):
        place.setdefault(path, number)
    return sorted(names, key=lambda name: (place[name.path], name.type))
