"""Trash: a project's deleted runs, to take back or to end for good."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pandas as pd
import streamlit as st

from naiad.query.client import Attributes, Project, Runs, RunsPage
from naiad_dashboard import tables
from naiad_dashboard.address import bound, go, query
from naiad_dashboard.changing import (
    Trashed,
    ask,
    ask_to_purge,
    is_asked,
    restore,
    tell_what_became,
)
from naiad_dashboard.chrome import Site, choose_project, links, no_project, no_such_project
from naiad_dashboard.selecting import draw_table, time_column
from naiad_dashboard.texts import kept_text, plain
from naiad_dashboard.views import CompareView, RunsView, TrashView

_LIMIT = 100
_DELETED, _BY, _INCARNATION = "sys/trashed_time", "sys/trashed_by", "sys/incarnation"
_STATE, _CREATED = "sys/state", "sys/creation_time"
_PATHS = (_DELETED, _BY, _STATE, _CREATED, _INCARNATION)
# No attribute has this path.
_PURGED = "//purged"


def show(site: Site) -> None:
    view = TrashView.read(query())
    projects = {one.name: one for one in site.client.describe_projects()}
    if not projects:
        tell_what_became()
        no_project(site)
        return
    view = view.with_(project=choose_project(view.project, list(projects)))
    go(view)
    links(
        site,
        {
            "runs": RunsView(project=view.project).write(),
            "compare": CompareView(project=view.project).write(),
            "trash": TrashView(project=view.project).write(),
        },
    )
    tell_what_became()
    _head(view, projects)
    if view.project not in projects:
        no_such_project(site, view.project, list(projects))
        return
    project = projects[view.project]
    if project.runs_in_trash:
        _body(site, view, project)
    else:
        st.info(f"The trash of {plain(view.project)} is empty.")
    st.caption(f":material/auto_delete: {kept_text(project)}")


def _set(**changes: Any) -> None:
    go(TrashView.read(query()).with_(**changes))


def _head(view: TrashView, projects: dict[str, Project]) -> None:
    def named(project: str) -> str:
        count = projects[project].runs_in_trash if project in projects else 0
        return f"{project} ({count:,})" if count else project

    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Project, with its deleted runs",
            list(dict.fromkeys([*projects, view.project])),
            width=320,
            format_func=named,
            **bound("trash-project", view.project, lambda new: go(TrashView(project=new))),
        )
        st.button("Refresh", icon=":material/refresh:")


def _body(site: Site, view: TrashView, project: Project) -> None:
    page = site.client.runs_page(
        view.project,
        Runs(in_trash=True),
        Attributes(paths=_PATHS),
        sort_by=_DELETED,
        limit=_LIMIT,
        cursor=view.after,
    )
    found = tables.frame(page.table)
    runs = [
        Trashed(str(run), int(incarnation), str(experiment or ""))
        for run, incarnation, experiment in zip(
            found[tables.RUN], found[_INCARNATION], found[tables.EXPERIMENT], strict=True
        )
    ]
    keys = [f"{run.run_id}@{run.incarnation}" if run.incarnation else run.run_id for run in runs]
    # What a button acts on is in sight, and not gone.
    view = view.with_(runs=tuple(key for key in view.runs if key in keys))
    go(view)
    # Above the table, but of what is selected in it.
    choice = st.container()
    _table(view, project, found, keys)
    selected = TrashView.read(query()).runs
    chosen = [run for run, key in zip(runs, keys, strict=True) if key in selected]
    with choice:
        _choice(site, view, project, chosen, len(runs))
    if chosen and is_asked("purge", view.project, chosen):
        ask_to_purge(site, view.project, chosen)
    _turning(view, page)


def _table(view: TrashView, project: Project, found: pd.DataFrame, keys: Sequence[str]) -> None:
    shown = found[[tables.EXPERIMENT, tables.RUN, _DELETED, _BY, _STATE, _CREATED]]
    config = {
        tables.RUN: st.column_config.TextColumn("run", help="The run's id"),
        tables.EXPERIMENT: st.column_config.TextColumn("experiment", pinned=True),
        _DELETED: time_column("deleted", "When it came to the trash"),
        _BY: st.column_config.TextColumn("by", help="The token it was deleted with"),
        _STATE: st.column_config.TextColumn("state"),
        _CREATED: time_column("created", _CREATED),
    }
    if days := project.retention.trash_days:
        shown = shown.assign(**{_PURGED: found[_DELETED] + timedelta(days=days)})
        config[_PURGED] = time_column("purged after", "From then on it is gone for good")
    draw_table("trash-table", shown, keys, view.runs, config, lambda new: _set(runs=tuple(new)))


def _choice(
    site: Site, view: TrashView, project: Project, chosen: Sequence[Trashed], shown: int
) -> None:
    total = project.runs_in_trash
    which = f"{total:,} deleted run{'' if total == 1 else 's'}"
    if shown < total:
        which = f"{shown:,} of {which}, the last deleted first"
    with st.container(horizontal=True, vertical_alignment="center"):
        if not chosen:
            st.caption(f"{which}. Select some by the boxes on the left to restore or purge them.")
            return
        many = "this run" if len(chosen) == 1 else f"{len(chosen):,} runs"
        restoring = st.button(
            f"Restore {many}", type="primary", icon=":material/restore_from_trash:"
        )
        st.button(
            f"Purge {many}",
            icon=":material/delete_forever:",
            help="For good; naiad runs purge does the same for as many as a filter chooses",
            on_click=ask,
            args=("purge", view.project, chosen),
        )
        st.button("Clear selection", type="tertiary", on_click=lambda: _set(runs=()))
        st.caption(f"{len(chosen):,} selected. {which}.")
    if restoring:
        restore(site, view.project, chosen)


def _turning(view: TrashView, page: RunsPage) -> None:
    with st.container(horizontal=True):
        if view.after:
            st.button("First page", icon=":material/first_page:", on_click=lambda: _set(after=""))
        if page.next_cursor:
            st.button(
                f"Next {_LIMIT}",
                icon=":material/chevron_right:",
                on_click=lambda: _set(after=page.next_cursor),
            )
