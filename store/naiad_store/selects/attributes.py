"""Which attributes runs have, and their values as columns, a row per run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from naiad_proto.filters.kinds import SERIES_TYPES as SERIES_TYPES
from naiad_proto.filters.kinds import TYPES as TYPES
from naiad_store.selects import trash
from naiad_store.selects.patterns import matching
from naiad_store.selects.points import FILE, HISTOGRAM, TIME, files, histograms
from naiad_store.store import Store

ARROW: dict[str, pa.DataType] = {
    "int": pa.int64(), "float": pa.float64(), "string": pa.string(), "bool": pa.bool_(),
    "datetime": TIME, "string_set": pa.list_(pa.string()), "file": FILE,
    "float_series": pa.float64(), "string_series": pa.string(), "histogram_series": HISTOGRAM,
    "file_series": FILE,
}  # fmt: skip
# Of which a run has one value.
_SINGLE = ("int", "float", "string", "bool", "datetime", "file")


class Attribute(NamedTuple):
    path: str
    type: str


@dataclass(frozen=True, slots=True)
class What:
    """The wire's `AttributeSelector`: neither pattern nor paths means all; no types, any."""

    pattern: str | None = None
    paths: Sequence[str] | None = None
    types: Sequence[str] = ()

    def condition(self, parameters: dict[str, object]) -> str:
        """A condition on `path`, whose values go into `parameters`."""
        if self.paths is not None:
            parameters["paths"] = list(self.paths)
            return "path IN {paths:Array(String)}"
        if self.pattern is not None:
            return matching("path", self.pattern, parameters)
        return "1"

    def wants(self, kind: str) -> bool:
        return not self.types or kind in self.types


def names(store: Store, project: str, runs: Sequence[int], what: What) -> list[Attribute]:
    """Logged attributes of any of `runs`, in alphabetical order, each once."""
    parameters: dict[str, object] = {"types": list(what.types)}
    where = _where(project, runs, what, parameters)
    tables = (
        (SERIES_TYPES, "path, type FROM series"),
        (_SINGLE, "path, type FROM attributes"),
        (("string_set",), "path, 'string_set' AS type FROM string_sets"),
    )
    some = [f"SELECT {rows} {where}" for kinds, rows in tables if any(map(what.wants, kinds))]
    if not some:
        return []
    rows = store.query(
        f"""
        SELECT DISTINCT path, type FROM ({" UNION ALL ".join(some)})
        WHERE empty({{types:Array(String)}}) OR has({{types:Array(String)}}, type)
        ORDER BY path, type
        """,
        parameters,
    )
    found = zip(rows.column(0).to_pylist(), rows.column(1).to_pylist(), strict=True)
    return [Attribute(path, kind) for path, kind in found]


def columns(
    store: Store, project: str, runs: Sequence[int], what: What
) -> dict[Attribute, pa.Array]:
    """A column for each logged attribute of `runs`, in their order: of a series its last
    value, null where a run doesn't have it."""
    parameters: dict[str, object] = {}
    where = _where(project, runs, what, parameters)
    gathered = _Columns(runs, what)

    def add(sql: str, values: Callable[[pa.Table, str], pa.Array]) -> None:
        gathered.add(store.query(sql, parameters), values)

    if any(map(what.wants, _SINGLE)):
        add(
            f"SELECT path, type, run, number, integer, text, {_FILE} FROM attributes FINAL {where}",
            _single_values,
        )
    if what.wants("string_set"):
        add(
            "SELECT path, 'string_set' AS type, run, arraySort(groupArray(element)) AS elements"
            f" FROM string_sets FINAL {where} AND present GROUP BY path, run",
            lambda table, _: table.column("elements").combine_chunks(),
        )
    kinds = [kind for kind in SERIES_TYPES if what.wants(kind)]
    if not kinds:
        return gathered.found
    types = ", ".join(f"'{kind}'" for kind in kinds)
    series = store.query(
        f"SELECT path, type, run, number, text FROM series FINAL {where} AND type IN ({types})",
        parameters,
    )
    there = set(pc.unique(series.column("type")).to_pylist())
    last = pc.is_in(series.column("type"), pa.array(["float_series", "string_series"]))
    gathered.add(
        series.filter(last),
        lambda table, kind: table.column(
            "number" if kind == "float_series" else "text"
        ).combine_chunks(),
    )
    # Their last points stand in tables of their own, which are asked if there are any.
    if "histogram_series" in there:
        add(
            "SELECT path, 'histogram_series' AS type, run, kind, edges, bins"
            f" FROM histogram_points FINAL {where} ORDER BY step DESC LIMIT 1 BY path, run",
            lambda table, _: histograms(table),
        )
    if "file_series" in there:
        add(
            f"SELECT path, 'file_series' AS type, run, {_FILE}"
            f" FROM file_points FINAL {where} ORDER BY step DESC LIMIT 1 BY path, run",
            lambda table, _: files(table),
        )
    return gathered.found


def has_file(store: Store, project: str, key: str) -> bool:
    """Does any attribute or series of the project's runs refer to it? Deleted ones don't count."""
    sql = f"""
        SELECT 1 AS one FROM (
            SELECT file.key AS key, run FROM attributes
            WHERE project = {{project:String}} AND type = 'file'
            UNION ALL SELECT file.key AS key, run FROM file_points
            WHERE project = {{project:String}}
        ) WHERE key = {{key:String}} AND {trash.condition()} LIMIT 1
    """
    return bool(store.query(sql, {"project": project, "key": key}).num_rows > 0)


_FILE = ", ".join(f"file.{field.name} AS {field.name}" for field in FILE)


def _where(project: str, runs: Sequence[int], what: What, parameters: dict[str, object]) -> str:
    parameters |= {"project": project, "runs": list(runs)}
    condition = what.condition(parameters)
    return f"WHERE project = {{project:String}} AND {condition} AND run IN {{runs:Array(UInt64)}}"


def _single_values(table: pa.Table, kind: str) -> pa.Array:
    match kind:
        case "int":
            return table.column("integer").combine_chunks()
        case "float":
            return table.column("number").combine_chunks()
        case "string":
            return table.column("text").combine_chunks()
        case "bool":
            return table.column("integer").combine_chunks().cast(pa.bool_())
        case "datetime":
            return table.column("integer").combine_chunks().cast(TIME)
        case _:
            return files(table)


class _Columns:
    """Long rows (path, type, run) made into columns, a row per run."""

    def __init__(self, runs: Sequence[int], what: What) -> None:
        self.found: dict[Attribute, pa.Array] = {}
        self._what = what
        keys = np.array(runs, np.uint64)
        self._order = np.argsort(keys)
        self._sorted = keys[self._order]

    def add(self, table: pa.Table, values: Callable[[pa.Table, str], pa.Array]) -> None:
        """`values` gives the rows' values as those of one type."""
        if not table.num_rows:
            return
        kinds, kind_codes = _codes(table.column("type"))
        paths, path_codes = _codes(table.column("path"))
        runs = table.column("run").to_numpy()
        places = self._order[np.searchsorted(self._sorted, runs)]
        for number, kind in enumerate(kinds):
            if not self._what.wants(kind):
                continue
            of_kind = np.flatnonzero(kind_codes == number)
            order = of_kind[np.argsort(path_codes[of_kind], kind="stable")]
            column = values(table, kind)
            edges = np.flatnonzero(np.diff(path_codes[order], prepend=-1)).tolist()
            for begin, end in zip(edges, [*edges[1:], len(order)], strict=True):
                these = order[begin:end]
                # A row of `column` for each run; the ones without are null.
                take = np.full(len(self._order), -1, np.int64)
                take[places[these]] = these
                path = paths[path_codes[these[0]]]
                self.found[Attribute(path, kind)] = column.take(pa.array(take, mask=take < 0))


def _codes(column: pa.ChunkedArray) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The distinct strings of a column, and for each row the place of its own."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)
