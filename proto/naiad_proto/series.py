"""The columns of a `SeriesGroup` or `StringSeries` as numpy arrays, and back.

On the wire a column is `bytes` of little-endian fixed-width numbers. Reading makes views,
not copies; nothing here walks over points one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from naiad_proto.v1.records_pb2 import SeriesGroup, StringSeries

# Micro-steps, milliseconds since the Unix epoch.
INT64 = np.dtype("<i8")
FLOAT64 = np.dtype("<f8")
# Offsets from `first_record`.
UINT32 = np.dtype("<u4")

Int64Array: TypeAlias = npt.NDArray[np.int64]
UInt64Array: TypeAlias = npt.NDArray[np.uint64]
Float64Array: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GroupArrays:
    """One SeriesGroup of m paths and n rows. The arrays are read-only views."""

    # int64[n], micro-steps.
    steps: Int64Array
    # int64[n], milliseconds since the Unix epoch, UTC.
    timestamps: Int64Array
    # float64[m, n]: values[p, i] is the value of paths[p] in row i.
    values: Float64Array
    # uint64[n], record numbers in the writer's spool.
    records: UInt64Array
    # float64[n] in [0, 1]; None unless the group is a preview that states them. A preview
    # that states none is at 0.
    completions: Float64Array | None


@dataclass(frozen=True, slots=True)
class StringArrays:
    """The columns of one StringSeries of n rows, beside its strings."""

    steps: Int64Array
    timestamps: Int64Array
    records: UInt64Array


def group_arrays(group: SeriesGroup) -> GroupArrays:
    """The group's columns as views.

    Raises ValueError, with a sentence that names the column and both lengths, when the
    bytes don't have the lengths that the group's paths and steps ask for.
    """
    paths = len(group.paths)
    steps = _column("steps", group.steps, INT64)
    rows = len(steps)
    timestamps = _column("timestamps", group.timestamps, INT64, rows)
    values = _column("values", group.values, FLOAT64, paths * rows, f"{paths} paths x {rows}")
    completions = None
    if group.preview_completions:
        if not group.preview:
            raise ValueError("preview_completions are given, but preview is not set")
        completions = _column("preview_completions", group.preview_completions, FLOAT64, rows)
    return GroupArrays(
        steps,
        timestamps,
        values.reshape(paths, rows),
        _records(group.first_record, group.record_offsets, rows),
        completions,
    )


def string_arrays(series: StringSeries) -> StringArrays:
    """The series' columns as views; raises ValueError as `group_arrays` does."""
    rows = len(series.values)
    return StringArrays(
        _column("steps", series.steps, INT64, rows),
        _column("timestamps", series.timestamps, INT64, rows),
        _records(series.first_record, series.record_offsets, rows),
    )


def build_group(
    paths: Sequence[str],
    *,
    steps: npt.ArrayLike,
    timestamps: npt.ArrayLike,
    values: npt.ArrayLike,
    first_record: int,
    record_offsets: npt.ArrayLike | None = None,
    preview: bool = False,
    completions: npt.ArrayLike | None = None,
) -> SeriesGroup:
    """A group of m paths and n rows from arrays: `steps` (micro-steps), `timestamps`
    (milliseconds), `record_offsets` and `completions` are of length n, `values` is m x n.

    Raises ValueError when the lengths differ.
    """
    step_column = _flat("steps", steps, INT64)
    rows = len(step_column)
    matrix = np.ascontiguousarray(values, dtype=FLOAT64)
    if matrix.shape != (len(paths), rows):
        raise ValueError(f"values have shape {matrix.shape}, not ({len(paths)}, {rows})")
    group = SeriesGroup(
        paths=paths,
        steps=step_column.tobytes(),
        timestamps=_flat("timestamps", timestamps, INT64, rows).tobytes(),
        values=matrix.tobytes(),
        first_record=first_record,
        preview=preview,
    )
    if record_offsets is not None:
        group.record_offsets = _flat("record_offsets", record_offsets, UINT32, rows).tobytes()
    if completions is not None:
        group.preview_completions = _flat("completions", completions, FLOAT64, rows).tobytes()
    return group


def build_string_series(
    path: str,
    values: Sequence[str],
    *,
    steps: npt.ArrayLike,
    timestamps: npt.ArrayLike,
    first_record: int,
    record_offsets: npt.ArrayLike | None = None,
) -> StringSeries:
    """A string series of n values; the arrays are as for `build_group`."""
    rows = len(values)
    series = StringSeries(
        path=path,
        steps=_flat("steps", steps, INT64, rows).tobytes(),
        timestamps=_flat("timestamps", timestamps, INT64, rows).tobytes(),
        values=values,
        first_record=first_record,
    )
    if record_offsets is not None:
        series.record_offsets = _flat("record_offsets", record_offsets, UINT32, rows).tobytes()
    return series


def _column(
    name: str, data: bytes, dtype: np.dtype[Any], rows: int | None = None, asked: str = ""
) -> npt.NDArray[Any]:
    width = dtype.itemsize
    if rows is None:
        if len(data) % width:
            raise ValueError(f"{name} has {len(data)} bytes, which is no multiple of {width}")
    elif len(data) != rows * width:
        raise ValueError(
            f"{name} has {len(data)} bytes; {asked or rows} rows of {width} bytes ask for"
            f" {rows * width}"
        )
    return np.frombuffer(data, dtype)


def _records(first: int, offsets: bytes, rows: int) -> UInt64Array:
    # A sum past 64 bits would wrap around to a small number.
    if first + (1 << 32) >= 1 << 64:
        raise ValueError(f"first_record {first} is out of range")
    if not offsets:
        return np.arange(first, first + rows, dtype=np.uint64)
    return _column("record_offsets", offsets, UINT32, rows).astype(np.uint64) + np.uint64(first)


def _flat(
    name: str, data: npt.ArrayLike, dtype: np.dtype[Any], rows: int | None = None
) -> npt.NDArray[Any]:
    array = np.ascontiguousarray(data, dtype=dtype)
    if array.ndim != 1 or (rows is not None and len(array) != rows):
        raise ValueError(f"{name} has shape {array.shape}, not ({'n' if rows is None else rows},)")
    return array
