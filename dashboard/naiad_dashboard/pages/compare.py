"""Compare: the curves of several runs over each other, and what they were configured with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from naiad.query.client import Attributes, Runs
from naiad_dashboard import attributes, tables
from naiad_dashboard.address import bound, go, query
from naiad_dashboard.chrome import Site, choose_project, links, no_project, no_such_project, part
from naiad_dashboard.components import draw_charts
from naiad_dashboard.controls import draw_controls
from naiad_dashboard.curves import charts, groups
from naiad_dashboard.drawing import Drawing
from naiad_dashboard.payload import pack
from naiad_dashboard.questions import chart_columns
from naiad_dashboard.texts import plain, shorten, some
from naiad_dashboard.views import SHADE_NAMES, SHADES, CompareView, RunsView, RunView, TrashView

_METRICS = 4
# More curves than this at once are neither told apart nor drawn quickly; in groups so many runs
# may be behind them as a question takes.
_RUNS, _GROUPED_RUNS = 1000, 10_000
_ALL = "all runs as one"
# To so many runs there are links, and their configs stand beside each other.
_LINKS = 12
# About one bucket per pixel of a chart's width.
_BUCKETS = 600
# Of all curves together more would take seconds; each keeps its fewest.
_MOST, _FEWEST = 500_000, 100
_REFRESH_SECONDS = 5
_REMOVED = "compare-removed"


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
            "trash": TrashView(project=view.project).write(),
        },
    )
    if view.project not in projects:
        no_such_project(site, view.project, projects)
        return
    if not view.runs:
        st.subheader("Nothing to compare yet")
        st.write("Select some runs in the table of the Runs page, then press Compare.")
        site.link("runs", "Choose runs", {"project": [view.project]}, ":material/table_rows:")
        return
    most = _GROUPED_RUNS if view.is_grouped else _RUNS
    if len(view.runs) > most:
        st.warning(
            f"Of {len(view.runs):,} runs the first {most:,} are compared. Choose fewer on the"
            " Runs page to see others, or group them."
        )
        view = view.with_(runs=view.runs[:most])
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
            f"Not in project {plain(view.project)}: {some(missing)}. Deleted, or mistyped in"
            " the address?"
        )
    if not labels:
        site.link("runs", "Choose others", {"project": [view.project]}, ":material/table_rows:")
        return
    metrics = _head(view, known)
    running = "sys/state" in found and bool(found["sys/state"].isin(attributes.LIVE_STATES).any())
    _curves(site, view.runs, metrics, labels, running)
    _configs(view, found, attributes.configs(known))
    with st.container(horizontal=True):
        for run in list(labels)[:_LINKS]:
            opened = RunView(project=view.project, run=run).write()
            site.link("run", f"Open {plain(shorten(labels[run]))}", opened, ":material/article:")


def _set(**changes: Any) -> None:
    go(CompareView.read(query()).with_(**changes))


def _draw(drawing: Drawing) -> None:
    before = CompareView.read(query()).drawing
    if (before.x, before.x_metric) == (drawing.x, drawing.x_metric):
        _set(drawing=drawing)
    else:
        # A range means nothing on another axis.
        _set(drawing=drawing, from_x=None, to_x=None)


def _group(chosen: Sequence[str]) -> None:
    """All runs as one, or by configs: what was chosen last."""
    together = _ALL in chosen and (chosen[-1] == _ALL or len(chosen) == 1)
    _set(together=together, groups=() if together else tuple(c for c in chosen if c != _ALL))


def _head(view: CompareView, known: Sequence[tuple[str, str]]) -> list[str]:
    """The controls; returns the metrics to draw."""
    users = attributes.metrics(known)
    every = [*users, *(p for p, kind in known if kind == attributes.METRIC and p not in set(users))]
    if view.metrics is None:
        metrics = attributes.main_metrics(users or every, _METRICS)
    else:
        metrics = list(view.metrics)
    st.multiselect(
        "Metrics",
        list(dict.fromkeys([*every, *metrics])),
        placeholder="Choose metrics",
        **bound("compare-metrics", metrics, lambda new: _set(metrics=tuple(new))),
    )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        draw_controls("compare", view.drawing, every, _draw)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        chosen = [_ALL] if view.together else list(view.groups)
        st.multiselect(
            "Group by",
            list(dict.fromkeys([_ALL, *attributes.configs(known), *chosen])),
            placeholder="Configs: a curve per group instead of per run",
            width=420,
            **bound("compare-groups", chosen, _group),
        )
        if view.is_grouped:
            st.selectbox(
                "Band",
                SHADES,
                format_func=lambda shade: SHADE_NAMES[shade],
                width=200,
                help="Shaded about the mean over the runs of a group.",
                **bound("compare-band", view.shade, lambda new: _set(shade=new)),
            )
        else:
            st.toggle(
                "Range of values",
                help="Shade from the smallest to the largest value behind each point of a curve.",
                **bound("compare-envelope", view.envelope, lambda new: _set(envelope=new)),
            )
    return metrics


def _curves(
    site: Site,
    runs: Sequence[str],
    metrics: Sequence[str],
    labels: Mapping[str, str],
    running: bool,
) -> None:
    if not metrics:
        st.info("Choose metrics above.")
        return

    def drawn() -> None:
        if st.session_state.pop(_REMOVED, False):
            # The rest of the page shows the run too.
            st.rerun()
        # The URL, not what the page saw when it was drawn: a zoom runs only this part again.
        view = CompareView.read(query())
        curves = 10 if view.is_grouped else len(runs)
        grouping: dict[str, Any] = {}
        if view.is_grouped:
            band = None if view.shade == "none" else view.shade
            grouping = {"group_by": view.groups, "group_all": view.together, "band": band}
        columns, notes = chart_columns(
            site.client,
            view.project,
            runs,
            metrics,
            zoomed=view.zoomed,
            columns=max(_FEWEST, min(_BUCKETS, _MOST // (curves * len(metrics)))),
            **view.drawing.asked(),
            **grouping,
        )
        shown: dict[str, str] = dict(labels)
        names: Sequence[str] = runs
        if view.is_grouped:
            shown = {
                name: f"{name} · {n:,} run{'' if n == 1 else 's'}"
                for name, n in groups(columns).items()
            }
            names = list(shown)
        found = charts(columns, metrics, names)
        empty = [path for path in metrics if path not in {chart.path for chart in found}]
        block = pack(
            found,
            names,
            shown,
            settings={
                **view.drawing.settings(),
                "envelope": view.envelope or view.is_grouped,
                "bands": view.is_grouped,
                "range": view.zoomed,
                "height": 300,
                "legend": True,
                "removable": not view.is_grouped,
                "grouped": False,
            },
        )
        draw_charts(block, key="compare-charts", on_range=_zoom, on_remove=_remove)
        for note in notes:
            st.caption(f":material/info: {plain(note)}")
        if empty:
            where = "in this range" if view.zoomed else "of these runs"
            st.caption(f"No points {where}: {some(empty)}")

    part("compare-charts", drawn, every=_REFRESH_SECONDS if running else None)


def _remove(run: str) -> None:
    view = CompareView.read(query())
    _set(runs=tuple(kept for kept in view.runs if kept != run))
    st.session_state[_REMOVED] = True


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
    side_by_side = tables.beside(ordered, different)
    # Many runs read better below each other.
    st.dataframe(side_by_side if len(ordered) <= _LINKS else side_by_side.T, placeholder="")
    if len(columns) > len(different):
        st.caption(f"{len(columns) - len(different)} more are the same in all of these runs.")
