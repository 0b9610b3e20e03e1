"""Arrow tables of the query service as pandas frames."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from naiad.query.exceptions import ConflictingAttributeTypes
from naiad.query.files import File
from naiad.types import Histogram
from naiad_proto.steps import MICRO

_Rows = npt.NDArray[np.int64] | slice


def runs_frame(
    table: pa.Table, project: str, index: str, *, by_experiment: bool, type_suffix: bool
) -> pd.DataFrame:
    """A row per run, a column per attribute, in alphabetical order, with the type in its name if
    `type_suffix`. Raises ConflictingAttributeTypes for paths with several types without it."""
    names = table.column("experiment" if by_experiment else "run_id").to_pylist()
    data: dict[str, Any] = {}
    for shown, column in sorted(shown_columns(table, type_suffix=type_suffix).items()):
        path, _, kind = column.rpartition(":")
        data[shown] = _column(table.column(column), kind, project, index, names, path)
    frame = pd.DataFrame(data, index=pd.Index(names, name=index, dtype=object))
    frame.columns = pd.Index(frame.columns, name="attribute", dtype=object)
    return frame


def shown_columns(table: pa.Table, *, type_suffix: bool) -> dict[str, str]:
    """Columns "path:type" of a runs table by the names that they are shown with. Raises
    ConflictingAttributeTypes."""
    columns = table.column_names[2:]
    if type_suffix:
        return {column: column for column in columns}
    types: dict[str, list[str]] = {}
    for column in columns:
        path, _, kind = column.rpartition(":")
        types.setdefault(path, []).append(kind)
    if several := {path: kinds for path, kinds in types.items() if len(kinds) > 1}:
        raise ConflictingAttributeTypes(several)
    return {path: f"{path}:{kind}" for path, (kind,) in types.items()}


def _column(
    column: pa.ChunkedArray, kind: str, project: str, index: str, runs: list[str], path: str
) -> Any:
    """Where a run has no value stands NaN, or what its type has for that."""
    match kind:
        case "int" | "bool" if not column.null_count:
            return column.to_numpy()
        case "int":
            # Exact also beyond 2**53, which float64 with NaN for the missing would not be.
            return pd.array(column.to_pylist(), dtype="Int64")
        case "float" | "float_series" | "datetime":
            # Without the index that pandas would align by.
            return column.to_pandas().array
        case "file" | "file_series":
            values = [
                value and _file(value, project, index, run, path, None)
                for run, value in zip(runs, column.to_pylist(), strict=True)
            ]
        case "histogram_series":
            values = [value and _histogram(value) for value in column.to_pylist()]
        case "string_set":
            values = [None if value is None else set(value) for value in column.to_pylist()]
        case _:
            values = column.to_pylist()
    cells = np.empty(len(values), object)
    cells[:] = [math.nan if value is None else value for value in values]
    return cells


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
        value: npt.NDArray[Any] = np.full(grid.height, math.nan, object)
        numbered = np.arange(table.num_rows)
        for row, place in zip(numbered[rows].tolist(), numbered[where].tolist(), strict=True):
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
    """A row per bucket, an interval of x; columns (run, path, figure). The point (x, y) of a
    bucket is its last one, and of a series' first bucket its first; the other figures are those
    of `FetchMetricBuckets`, counts 0 where a series has no points in a bucket."""
    run_names, run_codes = _codes(table.column("run"))
    paths, path_codes = _codes(table.column("path"))
    begins, ends = table.column("from_x").to_numpy(), table.column("to_x").to_numpy()
    edges, first_rows, places = np.unique(begins, return_index=True, return_inverse=True)
    series, columns = np.unique(run_codes * len(paths) + path_codes, return_inverse=True)
    figures = table.column_names[table.column_names.index("to_x") + 1 :]
    shown = ["x", "y", *figures]
    # x and y of the last point, but of the first one in a series' first bucket.
    first_place = np.full(len(series), len(edges))
    np.minimum.at(first_place, columns, places)
    is_first = places == first_place[columns] if len(series) else np.empty(0, bool)
    values = np.full((len(edges), len(series), len(shown)), np.nan)
    for number, figure in enumerate(shown):
        if figure in ("x", "y"):
            cells = np.where(
                is_first,
                table.column(f"first_{figure}").to_numpy(),
                table.column(f"last_{figure}").to_numpy(),
            )
        else:
            cells = table.column(figure).to_numpy()
            if figure.endswith("_count"):
                values[:, :, number] = 0
        values[places, columns, number] = cells
    return pd.DataFrame(
        values.reshape(len(edges), len(series) * len(shown)),
        index=pd.IntervalIndex.from_arrays(edges, ends[first_rows], closed="left"),
        columns=pd.MultiIndex.from_tuples(
            [
                (run_names[one // len(paths)], paths[one % len(paths)], figure)
                for one in series.tolist()
                for figure in shown
            ]
            or pd.MultiIndex.from_arrays([[], [], []]),
            names=[index, "metric", "bucket"],
        ),
    )


class _Grid:
    """Long rows (run, path, step) as a wide grid: a row per run and step, a column per path."""

    def __init__(self, table: pa.Table) -> None:
        self._run_names, run_codes = _codes(table.column("run"))
        self.paths, self._path_codes = _codes(table.column("path"))
        steps = table.column("step").to_numpy()
        self._order: npt.NDArray[np.int64] | None = None
        rises = np.diff(run_codes)
        if len(self.paths) > 1 or not ((rises > 0) | ((rises == 0) & (np.diff(steps) > 0))).all():
            self._order = np.lexsort((steps, run_codes))
            run_codes, steps = run_codes[self._order], steps[self._order]
        fresh = np.ones(len(steps), bool)
        fresh[1:] = (np.diff(run_codes) != 0) | (np.diff(steps) != 0)
        self._runs, self._steps = run_codes[fresh], steps[fresh] / MICRO
        self.height = len(self._steps)
        if self._order is not None:
            self._place = np.empty(len(steps), np.int64)
            self._place[self._order] = np.cumsum(fresh) - 1

    def rows_of(self, path: int) -> tuple[_Rows, _Rows]:
        """Long rows of a path, and the grid's row of each, ascending."""
        if self._order is None:
            # One series after the other, each in order: the rows are the grid's.
            return slice(None), slice(None)
        rows = np.flatnonzero(self._path_codes == path)
        places = self._place[rows]
        order = np.argsort(places, kind="stable")
        return rows[order], places[order]

    def frame(self, columns: dict[Any, Any], index: str, *, wide: bool) -> pd.DataFrame:
        # From codes: pandas would hash every step to find them.
        steps, codes = np.unique(self._steps, return_inverse=True)
        # pandas' stubs want lists.
        levels: Any = [pd.Index(self._run_names, dtype=object), pd.Index(steps, dtype=np.float64)]
        numbers: Any = [self._runs, codes]
        rows = pd.MultiIndex(
            levels=levels,
            codes=numbers,
            names=[index, "step"],
            verify_integrity=False,
        )
        frame = pd.DataFrame(columns, index=rows)
        if wide:
            names = [list(level) for level in zip(*columns, strict=True)] or [[], []]
            frame.columns = pd.MultiIndex.from_arrays(names, names=[None, None])
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
