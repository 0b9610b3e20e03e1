"""Which attributes runs have, and their values as columns, a row per run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from naiad_store.selects.runs import Lived, RunRow
from naiad_store.store import Store

TYPES = (
    "int", "float", "string", "bool", "datetime", "string_set", "file",
    "float_series", "string_series", "histogram_series", "file_series",
)  # fmt: skip
SERIES_TYPES = ("float_series", "string_series", "histogram_series", "file_series")

FILE = pa.struct(
    [
        ("key", pa.string()), ("name", pa.string()), ("size_bytes", pa.uint64()),
        ("mime_type", pa.string()), ("sha256", pa.string()),
    ]
)  # fmt: skip
HISTOGRAM = pa.struct(
    [("type", pa.string()), ("edges", pa.list_(pa.float64())), ("values", pa.list_(pa.float64()))]
)
TIME = pa.timestamp("ms", "UTC")
_ARROW: dict[str, pa.DataType] = {
    "int": pa.int64(), "float": pa.float64(), "string": pa.string(), "bool": pa.bool_(),
    "datetime": TIME, "string_set": pa.list_(pa.string()), "file": FILE,
    "float_series": pa.float64(), "string_series": pa.string(), "histogram_series": HISTOGRAM,
    "file_series": FILE,
}  # fmt: skip


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
            parameters["path_pattern"] = self.pattern
            return "match(path, {path_pattern:String})"
        return "1"

    def wants(self, kind: str) -> bool:
        return not self.types or kind in self.types


# --- what every run has without logging it -------------------------------------------------


def _seconds(run: RunRow, lived: Lived | None) -> float | None:
    if lived is None:
        return None
    end = lived.ended_at or lived.last_seen_at
    return max(0.0, (end - run.created_at).total_seconds())


DERIVED: dict[Attribute, Callable[[RunRow, Lived | None], Any]] = {
    Attribute("sys/creation_time", "datetime"): lambda run, _: run.created_at,
    Attribute("sys/custom_run_id", "string"): lambda run, _: run.run_id,
    Attribute("sys/experiment/name", "string"): lambda run, _: run.experiment or None,
    Attribute("sys/failed", "bool"): lambda _, lived: bool(lived and lived.state == "failed"),
    Attribute("sys/forked_from", "string"): lambda run, _: run.fork_run_id or None,
    Attribute("sys/id", "string"): lambda run, _: run.run_id,
    Attribute("sys/modification_time", "datetime"): lambda _, lived: lived and lived.last_seen_at,
    Attribute("sys/owner", "string"): lambda run, _: run.owner or None,
    Attribute("sys/ping_time", "datetime"): lambda _, lived: lived and lived.last_seen_at,
    Attribute("sys/state", "string"): lambda _, lived: lived.state if lived else "running",
    Attribute("sys/state_reason", "string"): lambda _, lived: (lived and lived.reason) or None,
    Attribute("sys/trained_time", "float"): _seconds,
}


def derived_column(
    attribute: Attribute, runs: Sequence[RunRow], lives: dict[int, Lived]
) -> pa.Array:
    """Values of a derived attribute for `runs`, in their order."""
    value = DERIVED[attribute]
    return pa.array([value(run, lives.get(run.run)) for run in runs], _ARROW[attribute.type])


def derived_names(store: Store, what: What) -> list[Attribute]:
    """Derived attributes that `what` asks for; matched by the store, which knows RE2."""
    wanted = [name for name in DERIVED if what.wants(name.type)]
    if what.paths is not None:
        paths = set(what.paths)
        return [name for name in wanted if name.path in paths]
    if what.pattern is None or not wanted:
        return wanted
    matches = store.query(
        "SELECT arrayMap(p -> match(p, {pattern:String}), {paths:Array(String)}) AS found",
        {"pattern": what.pattern, "paths": [name.path for name in wanted]},
    )
    found = matches.column(0).to_pylist()[0]
    return [name for name, yes in zip(wanted, found, strict=True) if yes]


# --- what was logged -------------------------------------------------------------------------


def names(store: Store, project: str, runs: Sequence[int], what: What) -> list[Attribute]:
    """Logged attributes of any of `runs`, in alphabetical order, each once."""
    parameters: dict[str, object] = {"project": project, "runs": list(runs)}
    condition = what.condition(parameters)
    where = f"WHERE project = {{project:String}} AND {condition} AND run IN {{runs:Array(UInt64)}}"
    rows = store.query(
        f"""
        SELECT DISTINCT path, type FROM (
            SELECT path, type FROM series {where}
            UNION ALL SELECT path, type FROM attributes {where}
            UNION ALL SELECT path, 'string_set' AS type FROM string_sets {where}
        ) ORDER BY path, type
        """,
        parameters,
    )
    found = zip(rows.column(0).to_pylist(), rows.column(1).to_pylist(), strict=True)
    return [Attribute(path, kind) for path, kind in found if what.wants(kind)]


def columns(
    store: Store, project: str, runs: Sequence[int], what: What
) -> dict[Attribute, pa.Array]:
    """A column for each logged attribute of `runs`, in their order: of a series its last
    value, null where a run doesn't have it."""
    parameters: dict[str, object] = {"project": project, "runs": list(runs)}
    condition = what.condition(parameters)
    where = f"WHERE project = {{project:String}} AND {condition} AND run IN {{runs:Array(UInt64)}}"
    place = _Places(runs)
    found: dict[Attribute, pa.Array] = {}

    def add(sql: str, values: Callable[[pa.Table, str], pa.Array]) -> None:
        table = store.query(sql, parameters)
        if not table.num_rows:
            return
        kinds = np.asarray(table.column("type").to_pylist(), object)
        paths = table.column("path").combine_chunks().dictionary_encode()
        codes = paths.indices.to_numpy(zero_copy_only=False)
        rows = place.of(table.column("run").to_numpy())
        for kind in dict.fromkeys(kinds.tolist()):
            if not what.wants(kind):
                continue
            of_kind = np.flatnonzero(kinds == kind)
            order = of_kind[np.argsort(codes[of_kind], kind="stable")]
            column = values(table, kind)
            edges = np.flatnonzero(np.diff(codes[order], prepend=-1))
            for begin, end in zip(edges, [*edges[1:], len(order)], strict=True):
                these = order[begin:end]
                # A row of `column` for each run; the ones without are null.
                take = np.full(len(runs), -1, np.int64)
                take[rows[these]] = these
                path = str(paths.dictionary[int(codes[these[0]])])
                indices = pa.array(take, mask=take < 0)
                found[Attribute(path, kind)] = column.take(indices)

    if any(what.wants(kind) for kind in ("int", "float", "string", "bool", "datetime", "file")):
        add(
            "SELECT path, type, run, number, integer, text, file.key AS key, file.name AS name,"
            " file.size_bytes AS size_bytes, file.mime_type AS mime_type, file.sha256 AS sha256"
            f" FROM attributes FINAL {where}",
            _single_values,
        )
    if what.wants("string_set"):
        add(
            "SELECT path, 'string_set' AS type, run, groupArray(element) AS elements FROM"
            f" (SELECT path, run, element FROM string_sets FINAL {where} AND present"
            "  ORDER BY path, run, element) GROUP BY path, run",
            lambda table, _: table.column("elements").combine_chunks(),
        )
    if what.wants("float_series") or what.wants("string_series"):
        add(
            f"SELECT path, type, run, number, text FROM series FINAL {where}"
            " AND type IN ('float_series', 'string_series')",
            lambda table, kind: table.column(
                "number" if kind == "float_series" else "text"
            ).combine_chunks(),
        )
    if what.wants("histogram_series"):
        add(
            "SELECT path, 'histogram_series' AS type, run, kind, edges, bins FROM"
            f" histogram_points FINAL {where} ORDER BY step DESC LIMIT 1 BY path, run",
            lambda table, _: histograms(table),
        )
    if what.wants("file_series"):
        add(
            "SELECT path, 'file_series' AS type, run, file.key AS key, file.name AS name,"
            " file.size_bytes AS size_bytes, file.mime_type AS mime_type, file.sha256 AS sha256"
            f" FROM file_points FINAL {where} ORDER BY step DESC LIMIT 1 BY path, run",
            lambda table, _: files(table),
        )
    return found


def sort_values(
    store: Store, project: str, runs: Sequence[int], path: str, kind: str
) -> dict[int, float | str]:
    """What to sort `runs` by: a number or a text for each that has the attribute. Without a
    `kind`, of several types the numbers count before the texts."""
    rows = store.query(
        """
        SELECT run, type, number, text FROM (
            SELECT run, type, number, text FROM attributes FINAL
            WHERE project = {project:String} AND path = {path:String}
                AND run IN {runs:Array(UInt64)}
            UNION ALL
            SELECT run, type, number, text FROM series FINAL
            WHERE project = {project:String} AND path = {path:String}
                AND run IN {runs:Array(UInt64)}
        ) WHERE {kind:String} = '' OR type = {kind:String}
        """,
        {"project": project, "path": path, "runs": list(runs), "kind": kind},
    ).to_pylist()
    texts = {"string", "string_series", "file"}
    numbers = {row["run"]: float(row["number"]) for row in rows if row["type"] not in texts}
    if numbers:
        return dict(numbers)
    return {row["run"]: str(row["text"]) for row in rows}


def histograms(table: pa.Table) -> pa.Array:
    """Structs of columns kind, edges and bins."""
    return pa.StructArray.from_arrays(
        [
            table.column("kind").combine_chunks().cast(pa.string()),
            table.column("edges").combine_chunks().cast(pa.list_(pa.float64())),
            table.column("bins").combine_chunks().cast(pa.list_(pa.float64())),
        ],
        fields=list(HISTOGRAM),
    )


def files(table: pa.Table) -> pa.Array:
    """Structs of the columns of a file."""
    return pa.StructArray.from_arrays(
        [table.column(field.name).combine_chunks().cast(field.type) for field in FILE],
        fields=list(FILE),
    )


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


class _Places:
    """Where each run stands in the answer."""

    def __init__(self, runs: Sequence[int]) -> None:
        keys = np.array(runs, np.uint64)
        self._order = np.argsort(keys)
        self._sorted = keys[self._order]

    def of(self, runs: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        return self._order[np.searchsorted(self._sorted, runs)]


def has_file(store: Store, project: str, key: str) -> bool:
    """Does any attribute or series of the project refer to this file?"""
    sql = """
        SELECT 1 FROM attributes WHERE project = {project:String} AND type = 'file'
            AND file.key = {key:String} LIMIT 1
        UNION ALL
        SELECT 1 FROM file_points WHERE project = {project:String}
            AND file.key = {key:String} LIMIT 1
    """
    return bool(store.query(sql, {"project": project, "key": key}).num_rows)
