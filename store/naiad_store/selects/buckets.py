"""M4: of each column of a chart the four points that draw what all of its points would."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa

from naiad_proto import packed
from naiad_store.selects.grid import BUCKETS, Grid
from naiad_store.selects.scope import Scope
from naiad_store.selects.stepbuckets import PackedBuckets, packed_buckets, places_by_key
from naiad_store.selects.timebuckets import time_buckets
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
        return time_buckets(
            store, scope, paths, begin, end, columns, relative=axis == "relative_time",
            previews=include_previews, settings=settings,
        )  # fmt: skip
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


def _units(x: float | None, unit: int, rounded: Callable[[float], int]) -> int | None:
    if x is None:
        return None
    return rounded(max(-float(_FAR), min(float(_FAR), x * unit)))
