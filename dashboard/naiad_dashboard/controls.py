"""Widgets that choose how curves are drawn, the same on every page that has some."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from naiad_dashboard.address import bound
from naiad_dashboard.drawing import AXES, AXIS_NAMES, METHOD_NAMES, METHODS, Axis, Drawing, Method

_UNITS = {"step": "steps", "time": "seconds", "relative_time": "seconds", "metric": "units of x"}


def draw_controls(
    key: str, drawing: Drawing, metrics: Sequence[str], write: Callable[[Drawing], None]
) -> None:
    """`metrics` may be x. Goes into a horizontal container."""

    def axis(new: Axis) -> None:
        # A width means nothing on another axis.
        amount = drawing.amount if drawing.method == "ema" else 0.0
        x_metric = metrics[0] if new == "metric" and metrics else ""
        if new == "metric" and not metrics:
            return
        write(drawing.with_(x=new, x_metric=x_metric, amount=amount))

    def method(new: Method) -> None:
        write(drawing.with_(method=new, amount=0.0))

    st.segmented_control(
        "X axis",
        AXES,
        format_func=lambda one: AXIS_NAMES[one],
        required=True,
        **bound(f"{key}-x", drawing.x, axis),
    )
    if drawing.x == "metric":
        st.selectbox(
            "Metric as x",
            list(dict.fromkeys([*metrics, drawing.x_metric])),
            width=240,
            help="Points stand at the value of this metric at the same step of the same run.",
            **bound(
                f"{key}-x-metric",
                drawing.x_metric,
                lambda new: write(drawing.with_(x_metric=new)),
            ),
        )
    st.selectbox(
        "Smoothing",
        METHODS,
        format_func=lambda one: METHOD_NAMES[one],
        width=180,
        **bound(f"{key}-smooth", drawing.method, method),
    )
    if drawing.method == "ema":
        st.slider(
            "Weight of the past",
            0.0,
            0.99,
            step=0.01,
            width=220,
            help="Of an exponential moving average over all points, weighted by their distance;"
            " the raw curve stays faint. 0: not smoothed.",
            **bound(
                f"{key}-smoothing", drawing.amount, lambda new: write(drawing.with_(amount=new))
            ),
        )
    else:
        st.number_input(
            f"Width in {_UNITS[drawing.x]}",
            min_value=0.0,
            width=180,
            format="%g",
            help="Of the window, or the Gaussian's standard deviation. 0: not smoothed.",
            **bound(f"{key}-width", drawing.amount, lambda new: write(drawing.with_(amount=new))),
        )
    st.toggle(
        "Logarithmic y",
        **bound(f"{key}-log", drawing.log_y, lambda new: write(drawing.with_(log_y=new))),
    )
