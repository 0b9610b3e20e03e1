"""Rows of the tables that get few rows a record: one Python dict each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from naiad_consumers.writer import columns
from naiad_proto.v1 import records_pb2 as pb

_WORD = pa.dictionary(pa.int32(), pa.string())
_KEY = [("project", _WORD), ("path", _WORD), ("run", pa.uint64())]
_POINT = [("step", columns.STEP), ("ts", columns.TIME)]

SCHEMAS = {
    "runs": pa.schema(
        [("project", _WORD), ("run_id", pa.string()), ("incarnation", pa.uint32()),
         ("run", pa.uint64()), ("created_at", columns.TIME), ("version", columns.VERSION),
         ("owner", _WORD), ("fork_run_id", pa.string()), ("fork_step", columns.STEP),
         ("inherit_configs", pa.uint8()), ("priority", columns.VERSION)]
    ),
    "attributes": pa.schema(
        [("project", _WORD), ("path", _WORD), ("type", _WORD), ("run", pa.uint64()),
         ("number", pa.float64()), ("integer", pa.int64()), ("text", pa.string()),
         ("file", columns.FILE), ("ts", columns.TIME), ("version", columns.VERSION)]
    ),
    "string_sets": pa.schema(
        [*_KEY, ("element", pa.string()), ("present", pa.uint8()), ("ts", columns.TIME),
         ("version", columns.VERSION)]
    ),
    "string_points": pa.schema(
        [*_KEY, *_POINT, ("value", pa.string()), ("version", columns.VERSION)]
    ),
    "histogram_points": pa.schema(
        [*_KEY, *_POINT, ("kind", _WORD), ("edges", pa.list_(pa.float64())),
         ("bins", pa.list_(pa.float64())), ("version", columns.VERSION)]
    ),
    "file_points": pa.schema(
        [*_KEY, *_POINT, ("file", columns.FILE), ("version", columns.VERSION)]
    ),
}  # fmt: skip


class ItemRows:
    """Rows of several tables, by table."""

    def __init__(self) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {table: [] for table in SCHEMAS}
        self.count = 0

    def add(self, table: str, **row: Any) -> None:
        self._rows[table].append(row)
        self.count += 1

    def tables(self) -> dict[str, pa.Table]:
        """The tables that got rows."""
        found = {}
        for table, rows in self._rows.items():
            if rows:
                schema = SCHEMAS[table]
                found[table] = pa.table(
                    {
                        field.name: _column([row[field.name] for row in rows], field.type)
                        for field in schema
                    },
                    schema=schema,
                )
        return found


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if kind == columns.STEP:
        # Micro-steps, which are the decimal's own integer.
        return columns.steps(np.array(values, np.int64))
    return pa.array(values, kind)


NO_FILE = {"key": "", "name": "", "size_bytes": 0, "mime_type": "", "sha256": ""}


def file_row(file: pb.FileReference) -> dict[str, object]:
    return {
        "key": file.key,
        "name": file.name,
        "size_bytes": file.size_bytes,
        "mime_type": file.mime_type,
        "sha256": file.sha256,
    }


def value_row(value: pb.Value) -> dict[str, object] | None:
    """Columns `type`, `number`, `integer`, `text` and `file` of an attribute; None for a
    kind that this release doesn't know."""
    row: dict[str, object] = {"number": 0.0, "integer": 0, "text": "", "file": NO_FILE}
    match value.WhichOneof("kind"):
        case "int_value":
            row |= {"type": "int", "number": float(value.int_value), "integer": value.int_value}
        case "float_value":
            row |= {"type": "float", "number": value.float_value}
        case "string_value":
            row |= {"type": "string", "text": value.string_value}
        case "bool_value":
            row |= {
                "type": "bool",
                "number": float(value.bool_value),
                "integer": int(value.bool_value),
            }
        case "datetime_value":
            row |= {
                "type": "datetime",
                "number": value.datetime_value / 1000,
                "integer": value.datetime_value,
            }
        case "file_value":
            row |= {
                "type": "file",
                "text": value.file_value.name,
                "file": file_row(value.file_value),
            }
        case _:
            return None
    return row
