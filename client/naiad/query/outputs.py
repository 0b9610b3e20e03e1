"""Answers in another form than pandas: Arrow and polars tables, which have no index.

Of points they have a row each, which needs less memory than a grid with its gaps; of runs, as in
pandas, a row each and a column per attribute.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from naiad.exceptions import NaiadValueError
from naiad.query.client import ChartInfo
from naiad.query.frames import shown_columns
from naiad_proto.steps import MICRO

Output = Literal["pandas", "polars", "arrow"]


def check_output(output: str) -> None:
    """Before anything is asked. Raises NaiadValueError, ImportError."""
    if output not in ("pandas", "polars", "arrow"):
        raise NaiadValueError(f"output is {output!r}; it is 'pandas', 'polars' or 'arrow'")
    if output == "polars":
        _polars()


def given_out(table: pa.Table, output: Output) -> Any:
    return table if output == "arrow" else _polars().from_arrow(table)


def runs_table(table: pa.Table, noun: str, *, by_experiment: bool, type_suffix: bool) -> pa.Table:
    """Columns `noun`, then the attributes'. Raises ConflictingAttributeTypes."""
    shown = shown_columns(table, type_suffix=type_suffix)
    columns = [table.column("experiment" if by_experiment else "run_id")]
    columns += [table.column(shown[name]) for name in sorted(shown)]
    # Two may have one name, as where an attribute is called "run".
    return pa.Table.from_arrays(columns, [noun, *sorted(shown)])


def metrics_table(
    table: pa.Table, noun: str, *, type_suffix: bool, include_time: bool, include_previews: bool
) -> pa.Table:
    """Columns `noun`, step, path, value, and with time and previews theirs."""
    columns = {**_places(table, noun, ":float_series" if type_suffix else "")}
    columns["value"] = table.column("value")
    if include_time:
        columns["absolute_time"] = table.column("timestamp")
    if include_previews:
        columns["is_preview"] = table.column("preview")
        columns["preview_completion"] = table.column("preview_completion")
    return pa.table(columns)


def series_table(table: pa.Table, noun: str, *, include_time: bool) -> pa.Table:
    """Columns `noun`, step, path, type, and of string_value, histogram and file the one that is
    the row's."""
    columns = _places(table, noun)
    if include_time:
        columns["absolute_time"] = table.column("timestamp")
    for name in ("type", "string_value", "histogram", "file"):
        columns[name] = table.column(name)
    return pa.table(columns)


def buckets_table(table: pa.Table, noun: str) -> pa.Table:
    """A row per series and bucket, in the columns of `FetchMetricBuckets`."""
    names = {"run": noun, "path": "metric"}
    return table.rename_columns([names.get(name, name) for name in table.column_names])


def chart_table(table: pa.Table, noun: str, info: ChartInfo) -> pa.Table:
    """As it came, with words instead of numbers for them; what it stands for is in the schema's
    metadata under "chart", as JSON."""
    names = {"run": noun, "path": "metric"}
    columns = {
        names.get(name, name): column.cast(pa.string())
        if pa.types.is_dictionary(column.type)
        else column
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    return pa.table(columns).replace_schema_metadata({"chart": json.dumps(chart_facts(info))})


def chart_facts(info: ChartInfo) -> dict[str, Any]:
    return {
        "from_x": info.from_x,
        "to_x": info.to_x,
        "column_width": info.column_width,
        "points": info.points,
        "runs": info.runs,
        "notes": list(info.notes),
    }


def _places(table: pa.Table, noun: str, suffix: str = "") -> dict[str, Any]:
    paths = table.column("path").cast(pa.string())
    if suffix:
        paths = pa.compute.binary_join_element_wise(paths, suffix, "")
    return {
        noun: table.column("run").cast(pa.string()),
        "step": pa.array(table.column("step").to_numpy() / np.float64(MICRO)),
        "path": paths,
    }


def _polars() -> Any:
    try:
        import polars
    except ImportError as error:
        raise ImportError(
            "output='polars' needs polars: pip install polars; or ask for output='arrow'"
        ) from error
    return polars
