"""Runs: a table of a project's runs, to find, sort, and choose from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import streamlit as st

from naiad.query.client import Attributes, QueryClient, Runs
from naiad_dashboard import attributes, tables
from naiad_dashboard.address import bound, go, query
from naiad_dashboard.chrome import Site, choose_project, links, no_project, no_such_project
from naiad_dashboard.texts import plain
from naiad_dashboard.views import LIMITS, CompareView, RunsView, RunView

# Columns that everyone starts with, beside run and experiment.
_FIRST = ("sys/state", "sys/creation_time", "sys/tags")
# Of the configs at most so many are looked at for differences, and shown.
_CONFIGS_ASKED, _CONFIGS_SHOWN, _METRICS_SHOWN = 300, 8, 4
# More names than this are not put into one question.
_NAMES = 10_000


def show(site: Site) -> None:
    view = RunsView.read(query())
    projects = site.client.list_projects()
    if not projects:
        no_project(site)
        return
    view = view.with_(project=choose_project(view.project, projects))
    go(view)
    links(
        site,
        {
            "runs": RunsView(project=view.project).write(),
            "compare": CompareView(project=view.project, runs=view.runs).write(),
        },
    )
    if view.project not in projects:
        no_such_project(view.project, projects)
        view_projects: Sequence[str] = [view.project, *projects]
    else:
        view_projects = projects
    _head(view, view_projects)
    if view.project in projects:
        _body(site, view)


def _set(**changes: Any) -> None:
    go(RunsView.read(query()).with_(**changes))


def _head(view: RunsView, projects: Sequence[str]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Project",
            projects,
            width=280,
            **bound("runs-project", view.project, lambda new: go(RunsView(project=new))),
        )
        st.text_input(
            "Find",
            placeholder="in run ids and experiment names (regular expression)",
            width=380,
            **bound("runs-find", view.find, lambda new: _set(find=new)),
        )
        st.selectbox(
            "Show",
            LIMITS,
            width=140,
            format_func=lambda limit: f"{limit:,} runs" if limit else "all runs",
            **bound("runs-limit", view.limit, lambda new: _set(limit=new)),
        )
        st.button("Refresh", icon=":material/refresh:")
        if view.experiment:
            st.button(
                f"Experiment {plain(view.experiment)}",
                icon=":material/close:",
                help="Show the runs of all experiments again",
                on_click=lambda: _set(experiment=""),
            )


def _body(site: Site, view: RunsView) -> None:
    client = site.client
    known = client.list_attributes(view.project)
    index = _index(client, view)
    total = len(index)
    names = index[: view.limit or None]
    _columns_chooser(view, [path for path, _ in known])
    if not total:
        if view.find or view.experiment:
            st.info("No run matches. Change or clear the filter above.")
        else:
            st.info("This project has no runs yet.")
        return
    if view.columns is not None:
        wanted = list(view.columns)
    else:
        candidates = attributes.configs(known)[:_CONFIGS_ASKED]
        metrics = attributes.main_metrics(attributes.metrics(known), _METRICS_SHOWN)
        wanted = [*_FIRST, *candidates, *metrics]
    found = tables.frame(_rows(client, view, names, wanted))
    if view.columns is None:
        different = tables.differing(found, [c for c in found.columns if c in set(candidates)])
        kept = [*_FIRST, *metrics, *different[:_CONFIGS_SHOWN]]
        found = found[[tables.RUN, tables.EXPERIMENT, *(c for c in kept if c in found)]]
    chosen = _table(view, found)
    _choice(site, view, chosen, tables.labels(found))
    text = (
        f"{total:,} runs" if len(names) == total else f"the first {len(names):,} of {total:,} runs"
    )
    st.caption(f"Showing {text}, {len(chosen)} selected.")


def _index(client: QueryClient, view: RunsView) -> list[str]:
    """Run ids that the filters leave, in the order asked for."""
    table = client.runs_table(
        view.project, Runs(), Attributes(paths=()), sort_by=view.sort, ascending=view.ascending
    )
    rows = zip(table["run_id"].to_pylist(), table["experiment"].to_pylist(), strict=True)
    pairs = [pair for pair in rows if not view.experiment or pair[1] == view.experiment]
    if view.find:
        # The server's own regular expressions: they can't be made to run for ever.
        by_id = set(client.list_runs(view.project, Runs(pattern=view.find)))
        by_name = set(client.list_runs(view.project, Runs(pattern=view.find, by_experiment=True)))
        pairs = [(run, name) for run, name in pairs if run in by_id or (name and name in by_name)]
    return [run for run, _ in pairs]


def _rows(client: QueryClient, view: RunsView, names: Sequence[str], paths: list[str]) -> pa.Table:
    """The rows of `names`, in that order of sorting."""
    chosen = Runs(names=names) if len(names) <= _NAMES else Runs()
    return client.runs_table(
        view.project,
        chosen,
        Attributes(paths=list(dict.fromkeys(paths))),
        sort_by=view.sort,
        ascending=view.ascending,
        limit=view.limit,
    )


def _columns_chooser(view: RunsView, paths: Sequence[str]) -> None:
    with st.popover("Columns and order", icon=":material/view_column:"):
        options = list(dict.fromkeys([*paths, *(view.columns or ())]))
        st.multiselect(
            "Columns",
            options,
            placeholder="chosen from the data",
            **bound(
                "runs-columns",
                list(view.columns or ()),
                lambda new: _set(columns=tuple(new) or None),
            ),
        )
        st.selectbox(
            "Sort by",
            ["", *options],
            format_func=lambda path: path or "creation time",
            **bound("runs-sort", view.sort, lambda new: _set(sort=new)),
        )
        st.toggle(
            "Smallest first",
            **bound("runs-ascending", view.ascending, lambda new: _set(ascending=new)),
        )


def _table(view: RunsView, found: pd.DataFrame) -> tuple[str, ...]:
    """Draws it; returns the runs selected, which may lie outside of what it shows."""
    shown = [str(run) for run in found[tables.RUN]]
    places = {run: place for place, run in enumerate(shown)}
    rows = sorted(places[run] for run in view.runs if run in places)
    # Positions mean something only for these rows: other rows are another widget. So are
    # rows selected in another way (the back button), since only its first value is ours.
    base = _key(shown)
    turn = f"turn {base}"
    key = f"{base} {st.session_state.setdefault(turn, 0)}"
    if key in st.session_state and sorted(st.session_state[key]["selection"]["rows"]) != rows:
        st.session_state[turn] += 1
        key = f"{base} {st.session_state[turn]}"

    def changed() -> None:
        taken = [shown[row] for row in st.session_state[key]["selection"]["rows"]]
        current = RunsView.read(query())
        # The order in which they were chosen decides their colours.
        kept = [run for run in current.runs if run not in places or run in taken]
        _set(runs=tuple(dict.fromkeys([*kept, *taken])))

    st.dataframe(
        found,
        hide_index=True,
        height=min(38 + 35 * len(found), 640),
        key=key,
        on_select=changed,
        selection_mode="multi-row",
        selection_default={"selection": {"rows": rows, "columns": [], "cells": []}},
        column_config={
            tables.RUN: st.column_config.TextColumn("run", pinned=True),
            tables.EXPERIMENT: st.column_config.TextColumn("experiment", pinned=True),
            **{
                column: st.column_config.DatetimeColumn(column, format="YYYY-MM-DD HH:mm:ss")
                for column in found.select_dtypes(include=["datetimetz"]).columns
            },
        },
    )
    return RunsView.read(query()).runs


def _key(shown: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join(shown).encode()).hexdigest()
    return f"runs-table {digest[:16]}"


def _choice(
    site: Site, view: RunsView, chosen: tuple[str, ...], labels: dict[str, str] | Any
) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="naiad-choice"):
        if not chosen:
            st.caption("Select runs by the boxes on the left to open or compare them.")
            return
        compare = CompareView(project=view.project, runs=chosen).write()
        many = f"Compare {len(chosen)} runs" if len(chosen) > 1 else "Chart this run"
        site.link("compare", many, compare, ":material/show_chart:")
        for run in chosen[:3]:
            opened = RunView(project=view.project, run=run).write()
            label = f"Open {plain(labels.get(run, run))}"
            site.link("run", label, opened, ":material/article:")
        st.button("Clear selection", type="tertiary", on_click=lambda: _set(runs=()))
