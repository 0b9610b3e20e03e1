"""Points of series: metrics, strings, histograms, files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from naiad_store.selects.scope import ALL, PREVIEW, Range, Scope
from naiad_store.store import Store

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
SERIES = pa.schema(
    [
        ("place", pa.uint32()), ("path", pa.string()), ("type", pa.string()), ("x", pa.int64()),
        ("ts", TIME), ("string_value", pa.string()), ("histogram", HISTOGRAM), ("file", FILE),
    ]
)  # fmt: skip
_TABLES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "string_series": ("string_points", {"value": "value"}),
    "histogram_series": ("histogram_points", {"kind": "kind", "edges": "edges", "bins": "bins"}),
    "file_series": ("file_points", {field.name: f"file.{field.name}" for field in FILE}),
}


def metric_points(
    store: Store,
    scope: Scope,
    paths: Sequence[str],
    *,
    steps: Range = ALL,
    tail_limit: int = 0,
    include_previews: bool = False,
    settings: Mapping[str, object] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Columns place, path, x (micro-steps), ts, value, preview, completion, ordered by place,
    path, x; in batches as they come."""
    parameters: dict[str, object] = {}
    columns = {"value": "value", "preview": PREVIEW, "completion": "completion"}
    keep = "1" if include_previews else f"NOT ({PREVIEW})"
    sql = scope.points("points", columns, paths, parameters, steps=steps, keep=keep)
    yield from store.stream(_ordered(sql, tail_limit, parameters), parameters, settings)


def series_points(
    store: Store,
    scope: Scope,
    paths: Mapping[str, Sequence[str]],
    *,
    steps: Range = ALL,
    tail_limit: int = 0,
    containing: str = "",
    settings: Mapping[str, object] | None = None,
) -> Iterator[pa.RecordBatch]:
    """`paths` of each type of series. Batches as `SERIES`, ordered by type, place, path, x.
    `containing` (RE2) leaves strings in which it is found, and nothing else; `tail_limit` counts
    those."""
    for kind, (table, columns) in _TABLES.items():
        if paths.get(kind) and (kind == "string_series" or not containing):
            parameters: dict[str, object] = {}
            sql = scope.points(table, columns, paths[kind], parameters, steps=steps)
            if containing:
                # Of what counts only: a string that was overwritten, or that a fork has anew,
                # is not found.
                parameters["containing"] = containing
                sql = f"SELECT * FROM ({sql}) WHERE match(value, {{containing:String}})"
            for batch in store.stream(_ordered(sql, tail_limit, parameters), parameters, settings):
                yield _as_series(batch, kind)


def histograms(table: pa.RecordBatch | pa.Table) -> pa.Array:
    """Structs of the columns kind, edges and bins."""
    return _structs(table, {"type": "kind", "edges": "edges", "values": "bins"}, HISTOGRAM)


def files(table: pa.RecordBatch | pa.Table) -> pa.Array:
    """Structs of the columns of a file."""
    return _structs(table, {field.name: field.name for field in FILE}, FILE)


def _ordered(sql: str, tail_limit: int, parameters: dict[str, object]) -> str:
    if tail_limit:
        parameters["tail"] = tail_limit
        sql = (
            f"SELECT * FROM ({sql}) ORDER BY place, path, x DESC"
            " LIMIT {tail:UInt64} BY place, path"
        )
    return f"SELECT * FROM ({sql}) ORDER BY place, path, x"


def _structs(
    table: pa.RecordBatch | pa.Table, columns: Mapping[str, str], kind: pa.StructType
) -> pa.Array:
    arrays = []
    for field in kind:
        column = table.column(columns[field.name])
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        arrays.append(column.cast(field.type))
    return pa.StructArray.from_arrays(arrays, fields=list(kind))


def _as_series(batch: pa.RecordBatch, kind: str) -> pa.RecordBatch:
    n = batch.num_rows
    columns = {
        "place": batch.column("place"),
        "path": batch.column("path"),
        "type": pa.repeat(kind, n),
        "x": batch.column("x"),
        "ts": batch.column("ts"),
        "string_value": batch.column("value") if kind == "string_series" else pa.nulls(n),
        "histogram": histograms(batch) if kind == "histogram_series" else pa.nulls(n),
        "file": files(batch) if kind == "file_series" else pa.nulls(n),
    }
    arrays = [columns[field.name].cast(field.type) for field in SERIES]
    return pa.record_batch(arrays, schema=SERIES)
