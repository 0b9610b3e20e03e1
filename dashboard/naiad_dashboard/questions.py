"""Asks for the columns of several charts, each on columns that suit its own range.

The service cuts all series of one question on one grid. A metric logged once an epoch
beside one that was logged each batch would then get a handful of columns, so charts that
span much less than the question does are asked for again, those of like range together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from naiad.query.client import Attributes, QueryClient, Runs
from naiad_dashboard.attributes import METRIC
from naiad_dashboard.curves import coded, floats

_COUNTS = ("finite_count", "nan_count", "positive_infinity_count", "negative_infinity_count")
# Charts that span more than this share of the question have columns enough.
_SHARE = 0.5


class Columns(NamedTuple):
    """Rows as FetchChart gives them, and what the server says of limits that it met."""

    table: pa.Table
    notes: Sequence[str]


def chart_columns(
    client: QueryClient,
    project: str,
    runs: Sequence[str],
    paths: Sequence[str],
    *,
    zoomed: tuple[float, float] | None,
    columns: int,
    **asked: Any,
) -> Columns:
    """Each of `paths` has about `columns` columns over its own range, or over `zoomed`, or one
    for each point where there are fewer. `asked`: of `QueryClient.chart`, what x is and more."""
    notes: list[str] = []

    def ask(wanted: Sequence[str], low: float | None, high: float | None) -> pa.Table:
        table, info = client.chart(
            project,
            Runs(names=runs),
            Attributes(paths=wanted, types=[METRIC]),
            from_x=low,
            to_x=high,
            width=columns,
            **asked,
        )
        notes.extend(info.notes)
        return table

    first = ask(paths, *(zoomed or (None, None)))
    # Time since the start counts from the first point in the question: no question of less.
    again = [] if asked.get("x") == "relative_time" else coarse(first)
    if not again:
        return Columns(first, notes)
    redone = {path for group, _, _ in again for path in group}
    names, places = coded(first["path"])
    kept = np.asarray([name not in redone for name in names], dtype=np.bool_)[places]
    parts = [first.filter(pa.array(kept)), *(ask(group, low, high) for group, low, high in again)]
    # Each answer has words of its own for paths and runs.
    return Columns(pa.concat_tables(parts).unify_dictionaries(), list(dict.fromkeys(notes)))


def coarse(buckets: pa.Table) -> list[tuple[list[str], float, float]]:
    """Paths whose range is too small a part of what `buckets` span, together with the range
    to ask for: (paths, from_x, to_x). A path whose buckets hold one point each is exact
    already and not among them."""
    if not buckets.num_rows:
        return []
    names, places = coded(buckets["path"])
    finite, *others = (buckets[name].to_numpy().astype(np.float64) for name in _COUNTS)
    odd = np.sum(others, axis=0) > 0
    # Of a group of runs, points of each at one step are as exact as one point is.
    runs = np.maximum(1, floats(buckets, "run_count")) if "run_count" in buckets.schema.names else 1
    # Where points are that no line shows is known to the bucket only.
    begin = np.where(odd, floats(buckets, "from_x"), floats(buckets, "first_x"))
    end = np.where(odd, floats(buckets, "to_x"), floats(buckets, "last_x"))
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    np.minimum.at(low, places, begin)
    np.maximum.at(high, places, end)
    fullest = np.zeros(len(names))
    np.maximum.at(fullest, places, (finite + np.sum(others, axis=0)) / runs)
    span = high - low
    whole = float(high.max() - low.min())
    alike: dict[tuple[int, int], list[int]] = {}
    for place in np.flatnonzero((fullest > 1) & (span > 0) & (span < _SHARE * whole)).tolist():
        level = math.frexp(span[place])[1]
        alike.setdefault((level, int(low[place] // 2.0**level)), []).append(place)
    return [
        ([names[i] for i in group], float(low[group].min()), float(high[group].max()))
        for _, group in sorted(alike.items())
    ]
