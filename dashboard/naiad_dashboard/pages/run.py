"""Run: everything that one run logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from naiad.query.client import Attributes, Runs
from naiad_dashboard import attributes, texts
from naiad_dashboard.address import bound, go, query
from naiad_dashboard.changing import ask, ask_to_delete, is_asked, tell_what_became
from naiad_dashboard.chrome import Site, choose_project, links, no_project, no_such_project, part
from naiad_dashboard.sections import Attribute, Opened, set_view
from naiad_dashboard.sections.files import show_files
from naiad_dashboard.sections.metrics import show_hardware, show_metrics
from naiad_dashboard.sections.output import show_console
from naiad_dashboard.sections.values import show_configs, show_source
from naiad_dashboard.texts import plain, shorten
from naiad_dashboard.views import TABS, CompareView, RunsView, RunView, TrashView

_REFRESH_SECONDS = 5
_LONGEST_TITLE = 120
_STATES = {
    "running": ":blue-badge[running]",
    "unreachable": ":orange-badge[unreachable]",
    "finished": ":green-badge[finished]",
    "failed": ":red-badge[failed]",
    "killed": ":red-badge[killed]",
    "stopped": ":orange-badge[stopped]",
}
_SYSTEM = (
    "sys/state",
    "sys/name",
    "sys/creation_time",
    "sys/modification_time",
    "sys/trained_time",
    "sys/owner",
    "sys/tags",
    "sys/group_tags",
    "sys/description",
)
_SECTIONS: Mapping[str, Callable[[Opened, Sequence[Attribute]], None]] = {
    "metrics": show_metrics,
    "configs": show_configs,
    "hardware": show_hardware,
    "console": show_console,
    "files": show_files,
    "source": show_source,
}


def show(site: Site) -> None:
    view = RunView.read(query())
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
            "compare": CompareView(
                project=view.project, runs=(view.run,) if view.run else ()
            ).write(),
            "trash": TrashView(project=view.project).write(),
        },
    )
    tell_what_became()
    if view.project not in projects:
        no_such_project(site, view.project, projects)
        return
    if not view.run:
        st.subheader("No run chosen")
        st.write("Open one from the table of the Runs page.")
        _to_runs(site, view)
        return
    first = _facts(site, view)
    if first is None and site.client.list_runs(view.project, Runs(names=[view.run], in_trash=True)):
        st.info(f"Run {plain(view.run)} is in the trash.")
        trash = TrashView(project=view.project, runs=(view.run,)).write()
        site.link("trash", "Trash", trash, ":material/delete:")
        _to_runs(site, view)
        return
    if first is None:
        st.error(f"There is no run {plain(view.run)} in project {plain(view.project)}.")
        st.write(
            "It may be in another project, or deleted. A run that has just begun is here as"
            " soon as its training's first records have arrived."
        )
        _to_runs(site, view)
        return
    running = first.get("sys/state") in attributes.LIVE_STATES
    opened = Opened(site, view, _REFRESH_SECONDS if running else None)
    known = site.client.list_attributes(view.project, opened.runs)
    _head(opened, first, known)
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        st.segmented_control(
            "Section",
            TABS,
            format_func=str.capitalize,
            required=True,
            label_visibility="collapsed",
            **bound("run-tab", view.tab, lambda new: set_view(tab=new)),
        )
        st.button(
            "Delete",
            icon=":material/delete:",
            type="tertiary",
            help="To the trash, from where it can be restored",
            on_click=ask,
            args=("delete", view.project, (view.run,)),
        )
    if is_asked("delete", view.project, (view.run,)):
        ask_to_delete(site, view.project, (view.run,), lambda _: None)
    _SECTIONS[view.tab](opened, known)


def _to_runs(site: Site, view: RunView) -> None:
    target = RunsView(project=view.project).write()
    site.link("runs", "Runs of this project", target, ":material/table_rows:")


def _facts(site: Site, view: RunView) -> dict[str, Any] | None:
    """What the head says; None if there is no such run."""
    table = site.client.runs_table(view.project, Runs(names=[view.run]), Attributes(paths=_SYSTEM))
    if not table.num_rows:
        return None
    row = table.to_pylist()[0]
    return {name.rpartition(":")[0] or name: value for name, value in row.items()}


def _head(opened: Opened, first: dict[str, Any], known: Sequence[Attribute]) -> None:
    site, view = opened.site, opened.view
    name = first.get("sys/name") or first.get("experiment") or ""
    label = texts.run_label(view.run, name)
    short = shorten(label, _LONGEST_TITLE)
    st.subheader(plain(short), anchor=False, help=plain(label) if short != label else None)

    def facts() -> None:
        now = _facts(site, view) or first
        state = now.get("sys/state") or ""
        parts = [
            _STATES.get(state, plain(state)),
            plain(view.project),
            f"created {plain(texts.time_text(now.get('sys/creation_time'), st.context.timezone))}",
        ]
        if (trained := now.get("sys/trained_time")) is not None:
            parts.append(f"ran {texts.duration_text(trained)}")
        if owner := now.get("sys/owner"):
            parts.append(f"by {plain(owner)}")
        tags = [*(now.get("sys/tags") or ()), *(now.get("sys/group_tags") or ())]
        parts.extend(f":gray-badge[{plain(shorten(tag))}]" for tag in sorted(tags))
        st.markdown(" · ".join(part for part in parts if part))
        if opened.every and (
            # Ended since the page was drawn: draw it once more, without the clock.
            state not in attributes.LIVE_STATES
            # Something new was logged: it gets its chart or line.
            or site.client.list_attributes(view.project, opened.runs) != known
        ):
            st.rerun()

    part("run-facts", facts, every=opened.every)
