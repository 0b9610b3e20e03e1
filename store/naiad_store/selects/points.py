"""Points of series: all of them, or the four of each chart column that draw the same picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from naiad_store.selects.attributes import FILE, HISTOGRAM, TIME, What, files, histograms
from naiad_store.selects.lineage import Stretch, source
from naiad_store.store import Store

_POINT = {
    "value": "value",
    "completion": "completion",
    "preview": "bitShiftRight(version, 127) = 0",
}


@dataclass(frozen=True, slots=True)
class Range:
    """Micro-steps, both ends in; None is open."""

    begin: int | None = None
    end: int | None = None

    def condition(self, parameters: dict[str, object]) -> str:
        parts = []
        if self.begin is not None:
            parameters["begin"] = self.begin
            parts.append("x >= {begin:Int64}")
        if self.end is not None:
            parameters["end"] = self.end
            parts.append("x <= {end:Int64}")
        return " AND ".join(parts) or "1"


def metric_points(
    store: Store,
    project: str,
    runs: Sequence[int],
    chains: Sequence[Stretch] | None,
    what: What,
    *,
    steps: Range,
    tail_limit: int = 0,
    include_previews: bool = False,
) -> Iterator[pa.RecordBatch]:
    """Columns run (uint64), path, x (micro-steps), ts, value, preview, completion, ordered by
    run, path, x; in batches as they come."""
    parameters: dict[str, object] = {"project": project, "runs": list(runs)}
    inner = source("points", _POINT, chains, what.condition(parameters), parameters)
    keep = "1" if include_previews else "NOT preview"
    sql = f"SELECT * FROM ({inner}) WHERE {keep} AND {steps.condition(parameters)}"
    if tail_limit:
        parameters["tail"] = tail_limit
        sql += " ORDER BY run, path, x DESC LIMIT {tail:UInt64} BY run, path"
        sql = f"SELECT * FROM ({sql})"
    yield from store.stream(f"{sql} ORDER BY run, path, x", parameters)


# --- M4 --------------------------------------------------------------------------------------

# x of a point on each axis, as an integer, and how many of it make a unit of the answer.
_AXES = {"step": ("x", 1_000_000), "time": ("t", 1000), "relative_time": ("t - base", 1000)}


@dataclass(frozen=True, slots=True)
class Grid:
    """Columns of 2**k units on one absolute grid, so that those of all widths nest."""

    k: int
    first: int
    last: int

    @classmethod
    def over(cls, low: int, high: int, columns: int) -> Grid:
        """At least `columns` columns over [low, high] and at most about twice as many."""
        width = max(1, (high - low + 1) // columns)
        k = width.bit_length() - 1
        return cls(k, low >> k, high >> k)


def metric_buckets(
    store: Store,
    project: str,
    runs: Sequence[int],
    chains: Sequence[Stretch] | None,
    what: What,
    *,
    axis: str = "step",
    from_x: float | None = None,
    to_x: float | None = None,
    columns: int = 1000,
    include_previews: bool = False,
) -> pa.Table:
    """M4 (Jugel et al., VLDB 2014): of each column's finite points the first, last, least
    and greatest, with counts of the others and the sum. x in units of the axis. Of equal
    extremes the earliest; buckets without points are left out."""
    parameters: dict[str, object] = {"project": project, "runs": list(runs)}
    inner = source("points", _POINT, chains, what.condition(parameters), parameters)
    keep = "1" if include_previews else "NOT preview"
    position, unit = _AXES[axis]
    points = (
        f"SELECT run, path, x, toUnixTimestamp64Milli(ts) AS t, value FROM ({inner}) WHERE {keep}"
    )
    if axis == "relative_time":
        points = f"SELECT *, min(t) OVER (PARTITION BY run) AS base FROM ({points})"
    points = f"SELECT run, path, x AS tie, {position} AS at, value FROM ({points})"
    bounds = store.query(
        f"SELECT min(at) AS low, max(at) AS high, count() AS n FROM ({points})", parameters
    ).to_pylist()[0]
    if not bounds["n"]:
        return _no_buckets()
    low = bounds["low"] if from_x is None else _inside(math.floor(from_x * unit))
    high = bounds["high"] if to_x is None else _inside(math.ceil(to_x * unit))
    if high < low:
        return _no_buckets()
    grid = Grid.over(low, high, columns)
    parameters |= {"k": grid.k, "low": grid.first << grid.k, "high": (grid.last + 1) << grid.k}
    scale = f"/ {unit}"
    fin = "isFinite(value)"
    return store.query(
        f"""
        SELECT
            run, path,
            bitShiftLeft(bucket, {{k:UInt8}}) {scale} AS from_x,
            bitShiftLeft(bucket + 1, {{k:UInt8}}) {scale} AS to_x,
            if(finite_count = 0, nan, minIf(at, {fin}) {scale}) AS first_x,
            if(finite_count = 0, nan, argMinIf(value, (at, tie), {fin})) AS first_y,
            if(finite_count = 0, nan, maxIf(at, {fin}) {scale}) AS last_x,
            if(finite_count = 0, nan, argMaxIf(value, (at, tie), {fin})) AS last_y,
            if(finite_count = 0, nan, argMinIf(at, (value, at), {fin}) {scale}) AS min_x,
            if(finite_count = 0, nan, minIf(value, {fin})) AS min_y,
            if(finite_count = 0, nan, argMaxIf(at, (value, -at), {fin}) {scale}) AS max_x,
            if(finite_count = 0, nan, maxIf(value, {fin})) AS max_y,
            sumIf(value, {fin}) AS sum_y,
            countIf({fin}) AS finite_count,
            countIf(isNaN(value)) AS nan_count,
            countIf(value = inf) AS positive_infinity_count,
            countIf(value = -inf) AS negative_infinity_count
        FROM (
            SELECT *, bitShiftRight(at, {{k:UInt8}}) AS bucket FROM ({points})
            WHERE at >= {{low:Int64}} AND at < {{high:Int64}}
        )
        GROUP BY run, path, bucket ORDER BY run, path, bucket
        """,
        parameters,
    )


def _inside(x: int) -> int:
    """So that it and its neighbours fit 64 bits."""
    return max(-(2**61), min(2**61, x))


def _no_buckets() -> pa.Table:
    floats = (
        "from_x", "to_x", "first_x", "first_y", "last_x", "last_y", "min_x", "min_y", "max_x",
        "max_y", "sum_y",
    )  # fmt: skip
    counts = ("finite_count", "nan_count", "positive_infinity_count", "negative_infinity_count")
    return pa.schema(
        [("run", pa.uint64()), ("path", pa.string())]
        + [(name, pa.float64()) for name in floats]
        + [(name, pa.uint64()) for name in counts]
    ).empty_table()


# --- the other series ----------------------------------------------------------------------

SERIES = pa.schema(
    [
        ("run", pa.uint64()), ("path", pa.string()), ("type", pa.string()), ("x", pa.int64()),
        ("ts", TIME), ("string_value", pa.string()), ("histogram", HISTOGRAM), ("file", FILE),
    ]
)  # fmt: skip
_SERIES_TABLES = {
    "string_series": ("string_points", {"value": "value"}),
    "histogram_series": ("histogram_points", {"kind": "kind", "edges": "edges", "bins": "bins"}),
    "file_series": ("file_points", {field.name: f"file.{field.name}" for field in FILE}),
}


def series_points(
    store: Store,
    project: str,
    runs: Sequence[int],
    chains: Sequence[Stretch] | None,
    what: What,
    *,
    steps: Range,
    tail_limit: int = 0,
) -> pa.Table:
    """String, histogram and file series in columns as `SERIES`, ordered by type, run, path, x."""
    tables = [SERIES.empty_table()]
    for kind, (table, columns) in _SERIES_TABLES.items():
        if not what.wants(kind):
            continue
        parameters: dict[str, object] = {"project": project, "runs": list(runs)}
        inner = source(table, columns, chains, what.condition(parameters), parameters)
        sql = f"SELECT * FROM ({inner}) WHERE {steps.condition(parameters)}"
        if tail_limit:
            parameters["tail"] = tail_limit
            sql += " ORDER BY run, path, x DESC LIMIT {tail:UInt64} BY run, path"
            sql = f"SELECT * FROM ({sql})"
        found = store.query(f"{sql} ORDER BY run, path, x", parameters)
        if found.num_rows:
            tables.append(_as_series(found, kind))
    return pa.concat_tables(tables)


def _as_series(table: pa.Table, kind: str) -> pa.Table:
    n = table.num_rows
    columns = {
        "run": table.column("run"),
        "path": table.column("path"),
        "type": pa.array([kind] * n, pa.string()),
        "x": table.column("x"),
        "ts": table.column("ts"),
        "string_value": table.column("value") if kind == "string_series" else pa.nulls(n),
        "histogram": histograms(table) if kind == "histogram_series" else pa.nulls(n),
        "file": files(table) if kind == "file_series" else pa.nulls(n),
    }
    return pa.table(
        {field.name: _cast(columns[field.name], field.type) for field in SERIES}, schema=SERIES
    )


def _cast(column: pa.ChunkedArray | pa.Array, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    return column if column.type == kind else column.cast(kind)
