"""M4: of each column of a chart the four points that draw what all of its points would."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from naiad_proto import packed
from naiad_store.selects.grid import BUCKETS, Grid
from naiad_store.selects.m4 import ordered
from naiad_store.selects.scope import PREVIEW, Scope
from naiad_store.selects.stepbuckets import PackedBuckets, packed_buckets, places_by_key
from naiad_store.store import Store

__all__ = ["BUCKETS", "Grid", "metric_buckets", "packed_metric_buckets", "places_by_key"]

# Units of an axis in one of the answer's: micro-steps, milliseconds.
_UNITS = {"step": 1_000_000, "time": 1000, "relative_time": 1000}
# Nothing lies beyond, and shifts stay within 64 bits.
_FAR = 1 << 61


def metric_buckets(
    store: Store,
    scope: Scope,
    paths: Sequence[str],
    *,
    axis: str = "step",
    from_x: float | None = None,
    to_x: float | None = None,
    columns: int = 1000,
    include_previews: bool = False,
    settings: Mapping[str, object] | None = None,
) -> pa.Table:
    """Rows as `BUCKETS`, ordered by place, path, from_x; buckets without points are left out.

    M4 (Jugel et al., VLDB 2014): first, last, least and greatest of the finite points, of
    equal ones the earliest, NaN where there are none; counts of the others. x is in units of
    the axis: steps, seconds since 1970, or seconds since the run's first point in the question.
    By steps long series come from rollups where these are right, and all else from the points.
    """
    unit = _UNITS[axis]
    begin, end = _units(from_x, unit, math.floor), _units(to_x, unit, math.ceil)
    if axis != "step":
        return _by_time(store, scope, paths, axis, begin, end, columns, include_previews, settings)
    found = packed_buckets(store, scope, paths, begin, end, columns, include_previews, settings)
    return BUCKETS.empty_table() if found is None else _unpacked(found)


def packed_metric_buckets(
    store: Store,
    scope: Scope,
    paths: Sequence[str],
    *,
    from_x: float | None = None,
    to_x: float | None = None,
    columns: int = 1000,
    include_previews: bool = False,
) -> PackedBuckets | None:
    """The same by steps, packed, in batches as they come."""
    unit = _UNITS["step"]
    begin, end = _units(from_x, unit, math.floor), _units(to_x, unit, math.ceil)
    return packed_buckets(store, scope, paths, begin, end, columns, include_previews, None)


def _unpacked(found: PackedBuckets) -> pa.Table:
    """Rows as `BUCKETS`, in order."""
    table = pa.Table.from_batches(found.batches, found.schema)
    turns = packed.turns_of(found.places, len(found.paths))
    made = packed.unpacked(table, found.grid, turns)
    path, number = np.divmod(made.series, np.uint32(len(found.places)))
    place = np.asarray(found.places, np.uint32)[number]
    names = pa.array(found.paths, pa.string())
    of_path = pa.DictionaryArray.from_arrays(path.astype(np.int32), names)
    arrays = [place, of_path, *(made.floats[name] for name in packed.FLOATS),
              *(made.counts[name] for name in packed.COUNTS)]  # fmt: skip
    return pa.table(arrays, schema=BUCKETS)


def _by_time(
    store: Store,
    scope: Scope,
    paths: Sequence[str],
    axis: str,
    begin: int | None,
    end: int | None,
    columns: int,
    include_previews: bool,
    settings: Mapping[str, object] | None,
) -> pa.Table:
    """From the points."""
    keep = "1" if include_previews else f"NOT ({PREVIEW})"
    unit = _UNITS[axis]
    given: dict[str, object] = {}
    sql = scope.points("points", {"value": "value"}, paths, given, keep=keep)
    sql = f"SELECT place, path, x, toUnixTimestamp64Milli(ts) AS at, value FROM ({sql})"
    bases: dict[int, int] = {}
    if axis == "relative_time" or begin is None or end is None:
        ends = store.query(
            f"SELECT place, min(at) AS low, max(at) AS high FROM ({sql}) GROUP BY place",
            given, settings,
        ).to_pylist()  # fmt: skip
        if not ends:
            return BUCKETS.empty_table()
        if axis == "relative_time":
            bases = {row["place"]: row["low"] for row in ends}
        if begin is None:
            begin = 0 if bases else min(row["low"] for row in ends)
        if end is None:
            end = max(row["high"] - bases.get(row["place"], 0) for row in ends)
    if end < begin:
        return BUCKETS.empty_table()
    grid = Grid.over(begin, end, columns)
    at = "at"
    if bases:
        given |= {"based": list(bases), "bases": list(bases.values())}
        at = "at - transform(place, {based:Array(UInt32)}, {bases:Array(Int64)}, toInt64(0))"
    given |= {"k": grid.k, "low": grid.low, "high": grid.high}
    found = store.query(
        f"""
        SELECT
            place, path,
            bitShiftLeft(bucket, {{k:UInt8}}) / {unit} AS from_x,
            bitShiftLeft(bucket + 1, {{k:UInt8}}) / {unit} AS to_x,
            {_M4.format(unit=unit)}
        FROM (
            SELECT place, path, x, at, value, isFinite(value) AS fine,
                bitShiftRight(at, {{k:UInt8}}) AS bucket
            FROM (SELECT place, path, x, {at} AS at, value FROM ({sql}))
            WHERE at >= {{low:Int64}} AND at <= {{high:Int64}}
        )
        GROUP BY place, path, bucket ORDER BY place, path, bucket
        """,
        given,
        settings,
    )
    found = found.set_column(1, "path", found.column("path").cast(pa.string()).dictionary_encode())
    return found.select(BUCKETS.names).cast(BUCKETS)


# Points at one time are ordered by their steps. Numbers of 128 bits stand for pairs, of which an
# argMin takes many times as long.
_POSITIVE = "toUInt64(at + 4611686018427387904)"
_AT = f"toUInt128({_POSITIVE})"
_WHEN = f"bitOr(bitShiftLeft({_AT}, 64), toUInt128(x))"
_LEAST = f"bitOr(bitShiftLeft(toUInt128({ordered('value')}), 64), {_AT})"
_MOST = (
    f"bitOr(bitShiftLeft(toUInt128({ordered('value')}), 64),"
    f" toUInt128(toUInt64(9223372036854775807) - {_POSITIVE}))"
)
_M4 = f"""
    if(finite_count = 0, nan, minIf(at, fine) / {{unit}}) AS first_x,
    if(finite_count = 0, nan, argMinIf(value, {_WHEN}, fine)) AS first_y,
    if(finite_count = 0, nan, maxIf(at, fine) / {{unit}}) AS last_x,
    if(finite_count = 0, nan, argMaxIf(value, {_WHEN}, fine)) AS last_y,
    if(finite_count = 0, nan, argMinIf(at, {_LEAST}, fine) / {{unit}}) AS min_x,
    if(finite_count = 0, nan, minIf(value, fine)) AS min_y,
    if(finite_count = 0, nan, argMaxIf(at, {_MOST}, fine) / {{unit}}) AS max_x,
    if(finite_count = 0, nan, maxIf(value, fine)) AS max_y,
    sumIf(value, fine) AS sum_y,
    countIf(fine) AS finite_count,
    countIf(isNaN(value)) AS nan_count,
    countIf(value = inf) AS positive_infinity_count,
    countIf(value = -inf) AS negative_infinity_count
"""


def _units(x: float | None, unit: int, rounded: Callable[[float], int]) -> int | None:
    if x is None:
        return None
    return rounded(max(-float(_FAR), min(float(_FAR), x * unit)))
