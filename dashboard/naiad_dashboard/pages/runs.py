"""Runs: a table of a project's runs, to find, sort, and choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from naiad.exceptions import NaiadQueryError
from naiad.query.client import Attributes, QueryClient, Runs, RunsPage
from naiad_dashboard import attributes, tables
from naiad_dashboard.address import bound, go, query
from naiad_dashboard.changing import ask, ask_to_delete, is_asked, tell_what_became
from naiad_dashboard.chrome import Site, choose_project, links, no_project, no_such_project
from naiad_dashboard.colours import look, swatch
from naiad_dashboard.filtering import HELP, combined, is_understood, tell_refusal
from naiad_dashboard.sections.groups import show_groups
from naiad_dashboard.selecting import draw_table, time_column
from naiad_dashboard.texts import kept_text, plain, shorten
from naiad_dashboard.views import LIMITS, CompareView, RunsView, RunView, TrashView

# Columns that everyone starts with, beside run and experiment.
STATE = "sys/state"
_FIRST = (STATE, "sys/creation_time", "sys/tags")
_SHORT = {STATE: "state", "sys/creation_time": "created", "sys/tags": "tags"}
# Of the configs at most so many are looked at for differences, and shown.
_CONFIGS_ASKED, _CONFIGS_SHOWN, _METRICS_SHOWN = 300, 8, 4
# Beside state and configs what runs are grouped by.
_GROUPED_BY = ("sys/owner", "sys/name", "sys/tags")
_MOST_GROUPED_BY = 4
_REFRESH_SECONDS = 10
# No attribute has this path: a path is not empty between its slashes.
_COLOUR = "//colour"


def show(site: Site) -> None:
    view = RunsView.read(query())
    projects = site.client.list_projects()
    if not projects:
        tell_what_became()
        no_project(site)
        return
    view = view.with_(project=choose_project(view.project, projects))
    go(view)
    links(
        site,
        {
            "runs": RunsView(project=view.project).write(),
            "compare": CompareView(project=view.project, runs=view.runs).write(),
            "trash": TrashView(project=view.project).write(),
        },
    )
    tell_what_became()
    if view.project not in projects:
        no_such_project(site, view.project, projects)
        view_projects: Sequence[str] = [view.project, *projects]
    else:
        view_projects = projects
    head = _head(view, view_projects)
    if view.project in projects:
        _body(site, view, head)


def _set(**changes: Any) -> None:
    go(RunsView.read(query()).with_(**changes))


def _head(view: RunsView, projects: Sequence[str]) -> DeltaGenerator:
    """The filters; returns their row, for what depends on the answer."""
    head = st.container(horizontal=True, vertical_alignment="bottom")
    with head:
        st.selectbox(
            "Project",
            projects,
            width=280,
            **bound("runs-project", view.project, lambda new: go(RunsView(project=new))),
        )
        st.text_input(
            "Filter",
            placeholder='val/acc > 0.9 and tags has "prod"',
            help=HELP,
            width=440,
            **bound("runs-filter", view.filter, lambda new: _set(filter=new)),
        )
        st.text_input(
            "Find",
            placeholder="in ids and names (RE2)",
            width=200,
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
    return head


def _body(site: Site, view: RunsView, head: DeltaGenerator) -> None:
    client = site.client
    # Below the filter, before anything that would wait for an answer.
    if not is_understood(view):
        return
    known = client.list_attributes(view.project)
    with head:
        _columns_chooser(view, [path for path, _ in known])
        _group_chooser(view, [*attributes.configs(known), STATE, *_GROUPED_BY])
    metrics = attributes.main_metrics(attributes.metrics(known), _METRICS_SHOWN)
    candidates = attributes.configs(known)[:_CONFIGS_ASKED]
    usual = [*_FIRST, *candidates, *metrics]
    wanted = usual if view.columns is None else list(view.columns)
    try:
        if view.group:
            of_groups = metrics if view.columns is None else view.columns
            show_groups(client, view, of_groups, _set)
            return
        page = _page(client, view, wanted)
    except NaiadQueryError as error:
        tell_refusal(client, view, error)
        if view.after:
            st.button("First page", on_click=lambda: _set(after=""))
        return
    if not page.total_runs:
        if view.find or view.experiment or view.filter:
            st.info("No run matches. Change or clear the filter above.")
        else:
            st.info("This project has no runs yet.")
        return
    found = tables.frame(page.table)
    if view.columns is None:
        different = tables.differing(found, [c for c in found.columns if c in set(candidates)])
        kept = [*_FIRST, *metrics, *different[:_CONFIGS_SHOWN]]
        found = found[[tables.RUN, tables.EXPERIMENT, *(c for c in kept if c in found)]]
    # Above the table, where it is in sight however long that is, but it needs its answer.
    choice = st.container()
    chosen = _table(view, found)
    with choice:
        _choice(site, view, chosen, tables.labels(found), _which(view, page))
    if is_asked("delete", view.project, chosen):
        ask_to_delete(site, view.project, chosen, _deleted)
    _turning(view, page)
    for project in client.describe_projects([view.project]):
        if project.HasField("retention"):
            st.caption(f":material/auto_delete: {kept_text(project)}")
    if STATE in found and found[STATE].isin(attributes.LIVE_STATES).any():
        _watch()


def _deleted(runs: set[str]) -> None:
    view = RunsView.read(query())
    go(view.with_(runs=tuple(run for run in view.runs if run not in runs)))


def _which(view: RunsView, page: RunsPage) -> str:
    """What part of the runs the table is."""
    total = "1 run" if page.total_runs == 1 else f"{page.total_runs:,} runs"
    rows = page.table.num_rows
    if rows == page.total_runs:
        return total
    if view.after:
        return f"{rows:,} of {total}, those after the page before"
    return f"The {'first' if view.sort or view.ascending else 'newest'} {rows:,} of {total}"


def _turning(view: RunsView, page: RunsPage) -> None:
    """To other pages of the table. The one before is the browser's way back."""
    if not view.after and not page.next_cursor:
        return
    with st.container(horizontal=True):
        if view.after:
            st.button("First page", icon=":material/first_page:", on_click=lambda: _set(after=""))
        if page.next_cursor:
            st.button(
                f"Next {view.limit:,}",
                icon=":material/chevron_right:",
                on_click=lambda: _set(after=page.next_cursor),
            )


def _watch() -> None:
    """While a run is running the page is drawn again every few seconds."""
    first = [True]

    @st.fragment(run_every=_REFRESH_SECONDS)
    def tick() -> None:
        # Its first run is part of the page's own.
        if first:
            first.clear()
        else:
            st.rerun()

    tick()


def _page(client: QueryClient, view: RunsView, paths: Sequence[str]) -> RunsPage:
    return client.runs_page(
        view.project,
        Runs(filter=combined(view)),
        Attributes(paths=list(dict.fromkeys(paths))),
        sort_by=view.sort,
        ascending=view.ascending,
        limit=view.limit,
        cursor=view.after,
    )


def _group_chooser(view: RunsView, paths: Sequence[str]) -> None:
    options = list(dict.fromkeys([*paths, *view.group]))
    st.multiselect(
        "Group by",
        options,
        placeholder="no groups",
        width=240,
        max_selections=_MOST_GROUPED_BY,
        **bound("runs-group", list(view.group), lambda new: _set(group=tuple(new))),
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
    there = set(shown)

    def write(taken: list[str]) -> None:
        # The order in which they were chosen decides their colours.
        kept = [run for run in RunsView.read(query()).runs if run not in there or run in taken]
        _set(runs=tuple(dict.fromkeys([*kept, *taken])))

    drawn = {run: swatch(look(place)) for place, run in enumerate(view.runs)}
    colours = pd.Series([drawn.get(run) for run in shown], dtype=object, index=found.index)
    columns = [_COLOUR, tables.EXPERIMENT, tables.RUN, *found.columns[2:]]
    draw_table(
        "runs-table",
        found.assign(**{_COLOUR: colours})[columns],
        shown,
        view.runs,
        _columns(found),
        write,
    )
    return RunsView.read(query()).runs


def _columns(found: pd.DataFrame) -> dict[str, Any]:
    """How each column is shown."""
    config: dict[str, Any] = {
        _COLOUR: st.column_config.ImageColumn(
            "", width=30, pinned=True, help="The run's colour on the Compare page"
        ),
        tables.RUN: st.column_config.TextColumn("run", help="The run's id"),
        tables.EXPERIMENT: st.column_config.TextColumn("experiment", pinned=True),
    }
    for column in found.columns[2:]:
        label = _SHORT.get(column, column)
        if isinstance(found[column].dtype, pd.DatetimeTZDtype):
            config[column] = time_column(label, column)
        elif pd.api.types.is_float_dtype(found[column].dtype):
            # A fixed number of decimals would make a learning rate of 0.00001 a zero.
            config[column] = st.column_config.NumberColumn(label, format="%.6g", help=column)
        elif label != column:
            config[column] = st.column_config.Column(label, help=column)
    return config


def _choice(
    site: Site, view: RunsView, chosen: tuple[str, ...], labels: Mapping[str, str], shown: str
) -> None:
    """The row of what can be done with the runs that are selected."""
    with st.container(horizontal=True, vertical_alignment="center", key="naiad-choice"):
        if not chosen:
            st.caption(f"{shown}. Select some by the boxes on the left to open or compare them.")
            return
        compare = CompareView(project=view.project, runs=chosen).write()
        many = f"Compare {len(chosen):,} runs" if len(chosen) > 1 else "Chart this run"
        site.link("compare", many, compare, ":material/show_chart:")
        for run in chosen[:3]:
            opened = RunView(project=view.project, run=run).write()
            label = f"Open {plain(shorten(labels.get(run, run)))}"
            site.link("run", label, opened, ":material/article:")
        st.button(
            "Delete",
            icon=":material/delete:",
            type="tertiary",
            help="To the trash, from where they can be restored",
            on_click=ask,
            args=("delete", view.project, chosen),
        )
        st.button("Clear selection", type="tertiary", on_click=lambda: _set(runs=()))
        st.caption(f"{len(chosen):,} selected. {shown}.")
