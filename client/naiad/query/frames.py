"""Arrow tables of the query service as pandas frames."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from naiad.query.files import File
from naiad.types import Histogram
from naiad_proto.steps import MICRO


def runs_frame(
    table: pa.Table, project: str, index: str, *, by_experiment: bool, type_suffix: bool
) -> pd.DataFrame:
    """A row per run, a column per attribute. Of paths with several types each column has its
    type in its name, and all have with `type_suffix`."""
    names = table.column("experiment" if by_experiment else "run_id").to_pylist()
    columns = table.column_names[2:]
    paths = [column.rpartition(":")[0] for column in columns]
    several = {path for path, count in Counter(paths).items() if count > 1}
    data: dict[str, Any] = {}
    for column, path in zip(columns, paths, strict=True):
        kind = column.rpartition(":")[2]
        shown = column if type_suffix or path in several else path
        data[shown] = _column(table.column(column), kind, project, index, names, path)
    frame = pd.DataFrame(data, index=pd.Index(names, name=index, dtype=object))
    frame.columns = pd.Index(frame.columns, name="attribute", dtype=object)
    return frame


def _column(
    column: pa.ChunkedArray, kind: str, project: str, index: str, runs: list[str], path: str
) -> Any:
    match kind:
        case "int" if not column.null_count:
            return column.to_numpy()
        case "int":
            # Exact also beyond 2**53, which float64 with NaN for the missing would not be.
            return pd.array(column.to_pylist(), dtype="Int64")
        case "float" | "float_series" | "datetime":
            # Without the index that pandas would align by.
            return column.to_pandas().array
        case "file" | "file_series":
            return [
                value and _file(value, project, index, run, path, None)
                for run, value in zip(runs, column.to_pylist(), strict=True)
            ]
        case "histogram_series":
            return [value and _histogram(value) for value in column.to_pylist()]
        case "string_set":
            return [None if value is None else set(value) for value in column.to_pylist()]
        case _:
            return np.array(column.to_pylist(), object)


def metrics_frame(
    table: pa.Table,
    index: str,
    *,
    type_suffix: bool,
    include_time: bool,
    include_previews: bool,
) -> pd.DataFrame:
    """Rows by (run, step), a column per path; with time or previews a second level of columns:
    value, absolute_time, is_preview, preview_completion."""
    grid = _Grid(table)
    suffix = ":float_series" if type_suffix else ""
    columns: dict[Any, Any] = {}
    wide = include_time or include_previews
    for number, path in enumerate(grid.paths):
        rows, where = grid.rows_of(number)
        name = path + suffix
        value = np.full(grid.height, np.nan)
        value[where] = table.column("value").to_numpy()[rows]
        if not wide:
            columns[name] = value
            continue
        columns[name, "value"] = value
        if include_time:
            at = np.full(grid.height, np.datetime64("NaT"), "datetime64[ms]")
            at[where] = table.column("timestamp").to_numpy()[rows].astype("datetime64[ms]")
            columns[name, "absolute_time"] = pd.DatetimeIndex(at).tz_localize("UTC")
        if include_previews:
            for column, shown, missing in (
                ("preview", "is_preview", False),
                ("preview_completion", "preview_completion", np.nan),
            ):
                filled = np.full(grid.height, missing)
                filled[where] = table.column(column).to_numpy()[rows]
                columns[name, shown] = filled
    return grid.frame(columns, index, wide=wide)


def series_frame(table: pa.Table, project: str, index: str, *, include_time: bool) -> pd.DataFrame:
    """The same for string, histogram and file series."""
    grid = _Grid(table)
    kinds = table.column("type").to_pylist()
    texts = table.column("string_value").to_pylist()
    histograms = table.column("histogram").to_pylist()
    files = table.column("file").to_pylist()
    runs = table.column("run").to_pylist()
    steps = table.column("step").to_pylist()
    columns: dict[Any, Any] = {}
    for number, path in enumerate(grid.paths):
        rows, where = grid.rows_of(number)
        value: npt.NDArray[Any] = np.full(grid.height, None, object)
        for row, place in zip(rows.tolist(), where.tolist(), strict=True):
            match kinds[row]:
                case "string_series":
                    value[place] = texts[row]
                case "histogram_series":
                    value[place] = _histogram(histograms[row])
                case _:
                    value[place] = _file(
                        files[row], project, index, runs[row], path, steps[row] / MICRO
                    )
        if not include_time:
            columns[path] = value
            continue
        columns[path, "value"] = value
        at = np.full(grid.height, np.datetime64("NaT"), "datetime64[ms]")
        at[where] = table.column("timestamp").to_numpy()[rows].astype("datetime64[ms]")
        columns[path, "absolute_time"] = pd.DatetimeIndex(at).tz_localize("UTC")
    return grid.frame(columns, index, wide=include_time)


def buckets_frame(table: pa.Table, index: str) -> pd.DataFrame:
    """Rows by (run, path, from_x), in that order; columns as `FetchMetricBuckets` has them."""
    frame = table.to_pandas()
    for name in ("run", "path"):
        frame[name] = frame[name].astype(object)
    frame = frame.rename(columns={"run": index, "path": "attribute"})
    indexed: pd.DataFrame = frame.set_index([index, "attribute", "from_x"])
    return indexed.sort_index()


class _Grid:
    """Long rows (run, path, step) as a wide grid: a row per run and step, a column per path."""

    def __init__(self, table: pa.Table) -> None:
        run_names, run_codes = _codes(table.column("run"))
        self.paths, self._path_codes = _codes(table.column("path"))
        steps = table.column("step").to_numpy()
        order = np.lexsort((steps, run_codes))
        sorted_runs, sorted_steps = run_codes[order], steps[order]
        fresh = np.ones(len(order), bool)
        fresh[1:] = (np.diff(sorted_runs) != 0) | (np.diff(sorted_steps) != 0)
        places = np.cumsum(fresh) - 1
        self._place = np.empty(len(order), np.int64)
        self._place[order] = places
        self.height = int(places[-1]) + 1 if len(order) else 0
        self._runs = np.asarray(run_names, object)[sorted_runs[fresh]]
        self._steps = sorted_steps[fresh] / MICRO

    def rows_of(self, path: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Long rows of a path, and the grid's row of each, ascending."""
        rows = np.flatnonzero(self._path_codes == path)
        places = self._place[rows]
        order = np.argsort(places, kind="stable")
        return rows[order], places[order]

    def frame(self, columns: dict[Any, Any], index: str, *, wide: bool) -> pd.DataFrame:
        rows = pd.MultiIndex.from_arrays([self._runs, self._steps], names=[index, "step"])
        frame = pd.DataFrame(columns, index=rows)
        if wide:
            levels = [list(level) for level in zip(*columns, strict=True)] or [[], []]
            frame.columns = pd.MultiIndex.from_arrays(levels, names=[None, None])
        else:
            frame.columns = pd.Index(list(columns), dtype=object)
        return frame


def _codes(column: pa.ChunkedArray) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Names in alphabetical order, and the place of each row's."""
    # Chunks of a stream may have dictionaries of their own.
    one = pa.chunked_array(column.chunks, column.type).unify_dictionaries().combine_chunks()
    if not len(one):
        return [], np.empty(0, np.int64)
    names = np.asarray(one.dictionary.to_pylist(), object)
    indices = one.indices.to_numpy()
    used = np.unique(indices)
    used = used[np.argsort(names[used].astype(str), kind="stable")]
    place = np.empty(len(names), np.int64)
    place[used] = np.arange(len(used))
    return names[used].tolist(), place[indices]


def _file(
    value: dict[str, Any], project: str, index: str, run: str, path: str, step: float | None
) -> File:
    return File(
        project_identifier=project,
        experiment_name=run if index == "experiment" else None,
        run_id=None if index == "experiment" else run,
        attribute_path=path,
        step=step,
        name=value["name"],
        size_bytes=value["size_bytes"],
        mime_type=value["mime_type"],
        sha256=value["sha256"],
        key=value["key"],
    )


def _histogram(value: dict[str, Any]) -> Histogram:
    bins = {"counts" if value["type"] == "COUNTING" else "densities": value["values"]}
    return Histogram(value["edges"], **bins)
