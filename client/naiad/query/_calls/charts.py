"""Calls about curves as a chart shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

from naiad.query._calls.calling import Calling
from naiad.query._calls.selectors import ALL_ATTRIBUTES, ALL_RUNS, Attributes, Runs
from naiad_proto import packed
from naiad_proto.steps import MICRO
from naiad_proto.v1.query_pb2 import (
    AttributeName,
    Band,
    ChartInfo,
    FetchChartRequest,
    FetchMetricBucketsRequest,
    PackedBuckets,
    Smoothing,
    XAxis,
)

Axis = Literal["step", "time", "relative_time"]
_AXES = {
    "step": XAxis.X_AXIS_STEP,
    "time": XAxis.X_AXIS_TIME,
    "relative_time": XAxis.X_AXIS_RELATIVE_TIME,
}
_SMOOTHING = {
    "ema": Smoothing.SMOOTHING_EMA,
    "mean": Smoothing.SMOOTHING_MEAN,
    "gaussian": Smoothing.SMOOTHING_GAUSSIAN,
}
_BANDS = {
    "min_max": Band.BAND_MIN_MAX,
    "std": Band.BAND_STD,
    "quantiles": Band.BAND_QUANTILES,
}


class ChartCalls(Calling):
    def metric_buckets(
        self,
        project: str,
        runs: Runs = ALL_RUNS,
        attributes: Attributes = ALL_ATTRIBUTES,
        *,
        x: Axis = "step",
        from_x: float | None = None,
        to_x: float | None = None,
        max_buckets: int = 1000,
        own_points_only: bool = False,
        include_previews: bool = False,
    ) -> pa.Table:
        """M4 buckets in the columns of `FetchMetricBuckets`; x in units of the axis."""
        first, table = self._answer(
            self._stub.FetchMetricBuckets,
            FetchMetricBucketsRequest(
                project=project,
                runs=runs.message(),
                attributes=attributes.message(),
                x_axis=_AXES[x],
                from_x=from_x,
                to_x=to_x,
                max_buckets=max_buckets,
                own_points_only=own_points_only,
                include_previews=include_previews,
                packed=True,
            ),
        )
        # Another axis, or an older server.
        return _buckets(table, first.packed) if first.HasField("packed") else table

    def chart(
        self,
        project: str,
        runs: Runs = ALL_RUNS,
        attributes: Attributes = ALL_ATTRIBUTES,
        *,
        x: Axis = "step",
        x_metric: str | None = None,
        from_x: float | None = None,
        to_x: float | None = None,
        width: int = 1000,
        smoothing: Literal["ema", "mean", "gaussian"] | None = None,
        smoothing_amount: float = 0.0,
        group_by: Sequence[str | tuple[str, str]] = (),
        group_all: bool = False,
        band: Literal["min_max", "std", "quantiles"] | None = None,
        quantiles: Sequence[float] = (),
        own_points_only: bool = False,
        include_previews: bool = False,
    ) -> tuple[pa.Table, ChartInfo]:
        """A chart's columns, of `FetchChart`, and what they stand for. With `x_metric` that
        metric's values are x. `group_by`: paths, or (path, type)."""
        names = [(name, "") if isinstance(name, str) else name for name in group_by]
        request = FetchChartRequest(
            project=project,
            runs=runs.message(),
            attributes=attributes.message(),
            x_axis=XAxis.X_AXIS_METRIC if x_metric is not None else _AXES[x],
            x_metric=x_metric or "",
            from_x=from_x,
            to_x=to_x,
            width=width,
            smoothing=_SMOOTHING[smoothing] if smoothing else Smoothing.SMOOTHING_UNSPECIFIED,
            smoothing_amount=smoothing_amount,
            group_by=[AttributeName(path=path, type=kind) for path, kind in names],
            group_all=group_all,
            band=_BANDS[band] if band else Band.BAND_UNSPECIFIED,
            quantiles=quantiles,
            own_points_only=own_points_only,
            include_previews=include_previews,
        )
        first, table = self._answer(self._stub.FetchChart, request)
        return table, first.info


def _buckets(table: pa.Table, about: PackedBuckets) -> pa.Table:
    """The table that an answer that isn't packed would have been."""
    turns = packed.turns_of(about.places, len(about.paths))
    made = packed.unpacked(table, packed.Grid(about.k, about.first, MICRO), turns)
    path, run = np.divmod(made.series, np.uint32(max(1, len(about.runs))))
    words = {
        name: pa.DictionaryArray.from_arrays(
            pa.array(numbers.astype(np.int32)), pa.array(list(names), pa.string())
        )
        for name, numbers, names in (("run", run, about.runs), ("path", path, about.paths))
    }
    return pa.table(words | dict(made.floats) | dict(made.counts)).select(
        ["run", "path", *packed.FLOATS, *packed.COUNTS]
    )
