"""Compare: the curves of several runs over each other, and what they were configured with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from naiad.query.client import Attributes, Runs
from naiad_dashboard import attributes, tables
from naiad_dashboard.address import bound, go, query
from naiad_dashboard.chrome import Site, choose_project, links, no_project
from naiad_dashboard.components import draw_charts
from naiad_dashboard.curves import charts
from naiad_dashboard.payload import pack
from naiad_dashboard.texts import plain
from naiad_dashboard.views import AXES, CompareView, RunsView, RunView

_METRICS = 4
# About one bucket per pixel of a chart's width.
_BUCKETS = 600
_REFRESH_SECONDS = 5
AXIS_NAMES = {"step": "Step", "time": "Time", "relative_time": "Since start"}


def show(site: Site) -> None:
    view = CompareView.read(query())
    projects = site.client.list_projects()
    if not projects:
        no_project(site)
        return
    view = view.with_(project=choose_project(view.project, projects))
    go(view)
    links(
        site,
        {
            "runs": RunsView(project=view.project, runs=view.runs).write(),
            "compare": view.write(),
        },
    )
    if not view.runs:
        st.subheader("Nothing to compare yet")
        st.write("Select some runs in the table of the Runs page, then press Compare.")
        return
    chosen = Runs(names=view.runs)
    known = site.client.list_attributes(view.project, chosen)
    found = tables.frame(
        site.client.runs_table(
            view.project,
            chosen,
            Attributes(paths=["sys/state", *attributes.configs(known)]),
        )
    )
    labels = dict(tables.labels(found))
    missing = [run for run in view.runs if run not in labels]
    if missing:
        st.warning(
            f"Not in project {plain(view.project)}: " + ", ".join(plain(run) for run in missing)
        )
    if not labels:
        return
    metrics = _head(view, known, labels)
    running = "sys/state" in found and bool((found["sys/state"] == "running").any())
    _curves(site, metrics, labels, running)
    _configs(view, found, attributes.configs(known))
    with st.container(horizontal=True):
        for run in list(labels)[:12]:
            opened = RunView(project=view.project, run=run).write()
            site.link("run", plain(labels[run]), opened, ":material/article:")


def _set(**changes: Any) -> None:
    go(CompareView.read(query()).with_(**changes))


def _head(
    view: CompareView, known: Sequence[tuple[str, str]], labels: Mapping[str, str]
) -> list[str]:
    """The controls; returns the metrics to draw."""
    users = attributes.metrics(known)
    every = [*users, *(p for p, kind in known if kind == attributes.METRIC and p not in set(users))]
    if view.metrics is None:
        metrics = attributes.main_metrics(users or every, _METRICS)
    else:
        metrics = list(view.metrics)
    st.multiselect(
        "Runs",
        list(view.runs),
        format_func=lambda run: labels.get(run, run),
        **bound("compare-runs", list(view.runs), lambda new: _set(runs=tuple(new))),
    )
    st.multiselect(
        "Metrics",
        list(dict.fromkeys([*every, *metrics])),
        **bound("compare-metrics", metrics, lambda new: _set(metrics=tuple(new))),
    )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.segmented_control(
            "X axis",
            AXES,
            format_func=lambda axis: AXIS_NAMES[axis],
            required=True,
            # A range means nothing on another axis.
            **bound("compare-x", view.x, lambda new: _set(x=new, from_x=None, to_x=None)),
        )
        st.slider(
            "Smoothing",
            0.0,
            0.99,
            step=0.01,
            width=260,
            help="Weight of the past in an exponential moving average; the raw curve stays faint.",
            **bound("compare-smoothing", view.smoothing, lambda new: _set(smoothing=new)),
        )
        st.toggle("Logarithmic y", **bound("compare-log", view.log_y, lambda new: _set(log_y=new)))
        st.toggle(
            "Range of values",
            help="Shade from the smallest to the largest value behind each point of a curve.",
            **bound("compare-envelope", view.envelope, lambda new: _set(envelope=new)),
        )
    return metrics


def _curves(site: Site, metrics: Sequence[str], labels: Mapping[str, str], running: bool) -> None:
    if not metrics:
        st.info("Choose metrics above.")
        return

    @st.fragment(run_every=_REFRESH_SECONDS if running else None)
    def drawn() -> None:
        # The URL, not what the page saw when it was drawn: a zoom runs only this part again.
        view = CompareView.read(query())
        buckets = site.client.metric_buckets(
            view.project,
            Runs(names=view.runs),
            Attributes(paths=metrics, types=[attributes.METRIC]),
            x=view.x,
            from_x=view.from_x,
            to_x=view.to_x,
            max_buckets=_BUCKETS,
        )
        found = charts(buckets, metrics, view.runs, smoothing=view.smoothing)
        empty = [path for path in metrics if path not in {chart.path for chart in found}]
        zoomed = view.from_x is not None and view.to_x is not None
        block = pack(
            found,
            view.runs,
            labels,
            settings={
                "axis": view.x,
                "log": view.log_y,
                "envelope": view.envelope,
                "range": [view.from_x, view.to_x] if zoomed else None,
                "height": 300,
                "legend": True,
                "grouped": False,
            },
        )
        draw_charts(block, key="compare-charts", on_range=_zoom)
        if empty:
            st.caption("No points here: " + ", ".join(plain(path) for path in empty))

    drawn()


def _zoom(chosen: tuple[float, float] | None) -> None:
    low, high = chosen or (None, None)
    _set(from_x=low, to_x=high)


def _configs(view: CompareView, found: pd.DataFrame, paths: Sequence[str]) -> None:
    st.subheader("Configs that differ")
    ordered = found.set_index(tables.RUN, drop=False)
    ordered = ordered.loc[[run for run in view.runs if run in ordered.index]]
    # A path of several types has a column for each: "path (type)".
    columns = [
        column
        for column in found.columns
        if column not in (tables.RUN, tables.EXPERIMENT)
        and (column in set(paths) or column.rpartition(" (")[0] in set(paths))
    ]
    different = tables.differing(ordered, columns)
    if not different:
        same = f"all {len(columns)} are the same" if columns else "there are none"
        st.caption(f"None: {same}.")
        return
    st.dataframe(tables.beside(ordered, different))
    if len(columns) > len(different):
        st.caption(f"{len(columns) - len(different)} more are the same in all of these runs.")
