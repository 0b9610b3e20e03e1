"""What a FetchChart asks for, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from naiad_proto.limits import shorten
from naiad_proto.v1 import query_pb2 as pb
from naiad_query import asking
from naiad_query.charts.bands import Band
from naiad_query.charts.smoothing import Smoothing
from naiad_query.errors import invalid

DEFAULT_WIDTH = 1000
MAX_WIDTH = 10_000
MOST_GROUP_BY = 10
_AXES = {
    pb.X_AXIS_UNSPECIFIED: "step",
    pb.X_AXIS_STEP: "step",
    pb.X_AXIS_TIME: "time",
    pb.X_AXIS_RELATIVE_TIME: "relative_time",
    pb.X_AXIS_METRIC: "metric",
}
_SMOOTHING = {
    pb.SMOOTHING_EMA: "ema",
    pb.SMOOTHING_MEAN: "mean",
    pb.SMOOTHING_GAUSSIAN: "gaussian",
}
_BANDS = {
    pb.BAND_UNSPECIFIED: "none",
    pb.BAND_MIN_MAX: "min_max",
    pb.BAND_STD: "std",
    pb.BAND_QUANTILES: "quantiles",
}


@dataclass(frozen=True, slots=True)
class Plan:
    axis: str
    # Empty unless the axis is metric.
    x_metric: str
    from_x: float | None
    to_x: float | None
    width: int
    smoothing: Smoothing | None
    band: Band
    include_previews: bool

    @classmethod
    def of(cls, request: pb.FetchChartRequest) -> Plan:
        """Raises Refused."""
        if request.x_axis not in _AXES:
            raise invalid(
                f"there is no x_axis {request.x_axis}; there are step, time, relative_time, metric"
            )
        axis = _AXES[request.x_axis]
        if axis == "metric" and not request.x_metric:
            raise invalid("x_axis is another metric, and x_metric is empty: give its path")
        if axis != "metric" and request.x_metric:
            raise invalid(
                f"x_metric is {shorten(request.x_metric)!r}, and x_axis is {axis}: set it to"
                " X_AXIS_METRIC, or leave x_metric out"
            )
        width = request.width or DEFAULT_WIDTH
        if width > MAX_WIDTH:
            raise invalid(f"width is {width:,}; at most {MAX_WIDTH:,} columns are given")
        from_x = asking.finite("from_x", request.from_x) if request.HasField("from_x") else None
        to_x = asking.finite("to_x", request.to_x) if request.HasField("to_x") else None
        if from_x is not None and to_x is not None and from_x > to_x:
            raise invalid(f"from_x is {from_x:g}, beyond to_x, {to_x:g}; swap them")
        if request.group_all and request.group_by:
            raise invalid("group_all and group_by are both given; one of them makes the groups")
        if len(request.group_by) > MOST_GROUP_BY:
            raise invalid(
                f"group_by has {len(request.group_by)} attributes; at most {MOST_GROUP_BY} are"
                " taken"
            )
        paths = [name.path for name in request.group_by]
        twice = sorted({path for path in paths if paths.count(path) > 1})
        if twice:
            raise invalid(f"group_by names {shorten(twice[0])!r} twice; once is enough")
        return cls(
            axis,
            request.x_metric,
            from_x,
            to_x,
            width,
            _smoothing(request),
            _band(request),
            request.include_previews,
        )


def _smoothing(request: pb.FetchChartRequest) -> Smoothing | None:
    amount = request.smoothing_amount
    if request.smoothing == pb.SMOOTHING_UNSPECIFIED:
        if amount:
            raise invalid(
                f"smoothing_amount is {amount:g} without a smoothing; say which: ema, mean or"
                " gaussian"
            )
        return None
    kind = _SMOOTHING.get(request.smoothing)
    if kind is None:
        raise invalid(
            f"there is no smoothing {request.smoothing}; there are ema, mean and gaussian"
        )
    if kind == "ema" and not 0 < amount < 1:
        raise invalid(
            f"smoothing_amount is {amount:g}; for ema it is between 0 and 1, without them"
        )
    if not (amount > 0 and math.isfinite(amount)):
        raise invalid(
            f"smoothing_amount is {amount:g}; for {kind} it is a width in units of x, above 0"
        )
    return Smoothing(kind, amount)


def _band(request: pb.FetchChartRequest) -> Band:
    if request.band not in _BANDS:
        raise invalid(
            f"there is no band {request.band}; there are min_max, std and quantiles, or none"
        )
    kind = _BANDS[request.band]
    if kind != "none" and not (request.group_all or request.group_by):
        raise invalid(
            f"band is {kind} without groups: give group_by, or group_all for all runs as one"
        )
    given = list(request.quantiles)
    if kind != "quantiles":
        if given:
            raise invalid(f"quantiles are given, and band is {kind}: set it to BAND_QUANTILES")
        return Band(kind)
    if not given:
        return Band(kind)
    said = ", ".join(f"{share:g}" for share in given[:5])
    if len(given) != 2:
        raise invalid(f"quantiles are {said}; give two, the lower and the upper edge")
    low, high = given
    if not (0 <= low <= 1 and 0 <= high <= 1):
        raise invalid(f"quantiles are {said}; they lie between 0 and 1")
    if low > high:
        raise invalid(f"quantiles are {said}; the lower one comes first")
    return Band(kind, (low, high))
