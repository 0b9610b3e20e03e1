"""The query service's runs table as a frame to show: a row per run, a column per path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd
import pyarrow as pa

from naiad_dashboard.texts import run_label, value_text

_NUMBERS = frozenset({"int", "float", "float_series"})
RUN, EXPERIMENT = "run", "experiment"


def frame(table: pa.Table) -> pd.DataFrame:
    """Columns: run, experiment, then the table's attributes by path.

    Numbers under one path are one column whatever their types (an int in one run, a float
    in the next); a path with types that don't compare gets "path (type)" for each. What
    is neither a number, a time, a truth value nor a text becomes text.
    """
    columns: dict[str, pd.Series] = {
        RUN: pd.Series(table["run_id"].to_pylist(), dtype=object),
        EXPERIMENT: pd.Series(table["experiment"].to_pylist(), dtype=object),
    }
    by_path: dict[str, list[tuple[str, pa.ChunkedArray]]] = {}
    for name in table.column_names[2:]:
        path, _, kind = name.rpartition(":")
        by_path.setdefault(path, []).append((kind, table[name]))
    for path, typed in by_path.items():
        numbers = [values for kind, values in typed if kind in _NUMBERS]
        others = [(kind, values) for kind, values in typed if kind not in _NUMBERS]
        alone = not others or (not numbers and len(others) == 1)
        # A path may be called as our own columns are.
        name = path if path not in (RUN, EXPERIMENT) else f"{path} (attribute)"
        if numbers:
            columns[name if alone else f"{name} (number)"] = _merged(numbers)
        for kind, values in others:
            columns[name if alone else f"{name} ({kind})"] = _shown(kind, values)
    return pd.DataFrame(columns)


def _merged(columns: Sequence[pa.ChunkedArray]) -> pd.Series:
    """One column of numbers. Whole ones stay whole if all are."""
    if len(columns) == 1 and pa.types.is_integer(columns[0].type):
        return pd.Series(columns[0].to_pylist(), dtype="Int64")
    found = pd.Series(float("nan"), index=range(len(columns[0])), dtype="float64")
    for column in columns:
        found = found.where(found.notna(), _floats(column))
    return found


def _floats(column: pa.ChunkedArray) -> pd.Series:
    return pd.Series(column.cast(pa.float64(), safe=False).to_pylist(), dtype="float64")


def _shown(kind: str, column: pa.ChunkedArray) -> pd.Series:
    values = column.to_pylist()
    if kind == "datetime":
        return pd.Series(pd.to_datetime(values, utc=True), dtype="datetime64[ms, UTC]")
    if kind == "bool":
        return pd.Series(values, dtype="boolean")
    return pd.Series([value_text(value) or None for value in values], dtype=object)


def differing(found: pd.DataFrame, paths: Sequence[str]) -> list[str]:
    """Those columns among `paths` in which at least two rows differ; one that is missing
    differs from any value."""
    return [
        path
        for path in paths
        if path in found and found[path].astype(object).map(_comparable).nunique(dropna=False) > 1
    ]


def _comparable(value: object) -> object:
    return None if value is None or value is pd.NA or value != value else value


def labels(found: pd.DataFrame) -> Mapping[str, str]:
    """What each run is called, by run id: by its experiment, with the id where that name
    does not tell it from the others."""
    pairs = [
        (str(run), str(experiment or ""))
        for run, experiment in zip(found[RUN], found[EXPERIMENT], strict=True)
    ]
    shared = Counter(experiment for _, experiment in pairs)
    # An experiment may be called as another run's id is.
    ids = {run for run, _ in pairs}
    return {
        run: experiment
        if experiment and shared[experiment] == 1 and experiment not in ids - {run}
        else run_label(run, experiment)
        for run, experiment in pairs
    }


def beside(found: pd.DataFrame, paths: Sequence[str]) -> pd.DataFrame:
    """Configs beside each other as text: a row per path, a column per run label."""
    names = labels(found)
    return pd.DataFrame(
        {names[str(row[RUN])]: [_text(row[path]) for path in paths] for _, row in found.iterrows()},
        index=pd.Index(list(paths), name="config"),
        dtype=object,
    )


def _text(value: object) -> str:
    return "" if _comparable(value) is None else value_text(_native(value))


def _native(value: object) -> object:
    """numpy's and pandas' scalars as Python's."""
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    item = getattr(value, "item", None)
    return item() if callable(item) else value
