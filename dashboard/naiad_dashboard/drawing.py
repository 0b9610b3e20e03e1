"""How curves are drawn: what x is, how they are smoothed, how y is spaced."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, cast

Query = Mapping[str, Sequence[str]]
Axis = Literal["step", "time", "relative_time", "metric"]
AXES: tuple[Axis, ...] = ("step", "time", "relative_time", "metric")
AXIS_NAMES: Mapping[Axis, str] = {
    "step": "Step",
    "time": "Time",
    "relative_time": "Since start",
    "metric": "Metric",
}
Method = Literal["ema", "mean", "gaussian"]
METHODS: tuple[Method, ...] = ("ema", "mean", "gaussian")
METHOD_NAMES: Mapping[Method, str] = {
    "ema": "Moving average",
    "mean": "Mean of a window",
    "gaussian": "Gaussian",
}


def last(query: Query, name: str) -> str:
    values = query.get(name) or ("",)
    return values[-1]


def number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


@dataclass(frozen=True)
class Drawing:
    """Part of a view, and of its URL. `amount` 0: not smoothed; else what `method` needs."""

    x: Axis = "step"
    # Path of the metric that is x; empty for other axes.
    x_metric: str = ""
    log_y: bool = False
    method: Method = "ema"
    amount: float = 0.0

    @classmethod
    def read(cls, query: Query) -> Self:
        axis, x_metric = last(query, "x"), last(query, "x-metric")
        if axis not in AXES or (axis == "metric" and not x_metric):
            axis = "step"
        method = last(query, "smooth")
        if method not in METHODS:
            method = "ema"
        amount = number(last(query, "smoothing")) or 0.0
        if amount < 0 or (method == "ema" and amount >= 1):
            amount = 0.0
        return cls(
            cast(Axis, axis),
            x_metric if axis == "metric" else "",
            last(query, "y") == "log",
            cast(Method, method),
            amount,
        )

    def write(self) -> dict[str, str]:
        return {
            "x": "" if self.x == "step" else self.x,
            "x-metric": self.x_metric,
            "y": "log" if self.log_y else "",
            "smooth": "" if self.method == "ema" else self.method,
            "smoothing": repr(self.amount) if self.amount else "",
        }

    def with_(self, **changes: Any) -> Self:
        return replace(self, **changes)

    def asked(self) -> dict[str, Any]:
        """Arguments of `QueryClient.chart`."""
        question: dict[str, Any] = (
            {"x_metric": self.x_metric} if self.x == "metric" else {"x": self.x}
        )
        if self.amount:
            question |= {"smoothing": self.method, "smoothing_amount": self.amount}
        return question

    def settings(self) -> dict[str, Any]:
        """Of a block of charts."""
        return {"axis": self.x, "axis_name": self.x_metric, "log": self.log_y}


PLAIN = Drawing()
