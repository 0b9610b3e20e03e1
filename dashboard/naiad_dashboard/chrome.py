"""What all pages have in common: the links on top, the project, messages for hard times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from naiad.editing import Editor
from naiad.exceptions import NaiadAuthError, NaiadConnectionError, NaiadQueryError
from naiad.query.client import QueryClient
from naiad_dashboard import session
from naiad_dashboard.texts import plain, some
from naiad_dashboard.views import TrashView

_PROJECT = "naiad last project"


@dataclass(frozen=True)
class Site:
    """What a page needs to know of where it stands."""

    client: QueryClient
    editor: Editor
    server_url: str
    login: bool
    pages: Mapping[str, StreamlitPage]

    def link(self, page: str, label: str, query: Mapping[str, Sequence[str]], icon: str) -> None:
        st.page_link(self.pages[page], label=label, icon=icon, query_params=query)


def links(site: Site, queries: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """The row on top: to each page in `queries`, with what goes along."""
    with st.container(horizontal=True, vertical_alignment="center", key="naiad-top"):
        st.markdown("**Naiad**", width="content")
        icons = {
            "runs": ":material/table_rows:",
            "compare": ":material/show_chart:",
            "run": ":material/article:",
            "trash": ":material/delete:",
        }
        for page, query in queries.items():
            site.link(page, page.capitalize(), query, icons[page])
        if site.login:
            st.button("Sign out", on_click=session.sign_out, type="tertiary")


def choose_project(wanted: str, projects: Sequence[str]) -> str:
    """The project that the URL names, or the last one of this session, or the first."""
    last = st.session_state.get(_PROJECT, "")
    chosen = wanted or (last if last in projects else projects[0])
    st.session_state[_PROJECT] = chosen
    return chosen


@contextmanager
def told(place: str = "page") -> Iterator[None]:
    """Turns what the server says of a question into a message in place of an answer.
    `place` tells one part of a page from another that may fail too."""
    try:
        yield
    except NaiadConnectionError as error:
        st.error(
            f"**The server does not answer.** {plain(str(error))}", icon=":material/cloud_off:"
        )
        st.write(
            "Is `naiad up` still running? What trainings log meanwhile is kept in their spools"
            " and arrives when the server is back."
        )
        st.button("Try again", icon=":material/refresh:", key=f"naiad-retry {place}")
    except NaiadAuthError as error:
        st.error(plain(str(error)), icon=":material/lock:")
        st.write("The token was withdrawn or does not reach this project.")
        st.button(
            "Sign in again",
            on_click=session.sign_out,
            args=(str(error),),
            key=f"naiad-sign-in {place}",
        )
    except NaiadQueryError as error:
        st.error(plain(str(error)))


def part(place: str, draw: Callable[[], None], *, every: float | None) -> None:
    """Draws a part of a page that is drawn again by itself: each `every` seconds, unless
    that is None, and when a widget in it changes."""

    @st.fragment(run_every=every)
    def drawn() -> None:
        # The page's own `told` is not around it when it is drawn again.
        with told(place):
            draw()

    drawn()


def no_project(site: Site) -> None:
    """For the first day: how to log something."""
    if trashed := [one.name for one in site.client.describe_projects() if one.runs_in_trash]:
        st.info(f"All runs are in the trash: those of {some(trashed)}.")
        site.link("trash", "Trash", TrashView(project=trashed[0]).write(), ":material/delete:")
        return
    st.subheader("No runs yet")
    st.write("Log a first one. In a terminal or notebook on this machine:")
    lines = [
        "import naiad",
        "",
        'with naiad.Run(project="my-team/first-steps", experiment_name="hello") as run:',
        '    run.log_configs({"learning_rate": 0.1})',
        "    for step in range(100):",
        '        run.log_metrics({"loss": 1 / (step + 1)}, step=step)',
    ]
    st.code("\n".join(lines), language="python")
    settings = []
    if not site.server_url.endswith(":7420"):
        settings.append("export NAIAD_URL=...        # the grpc:// address that naiad up printed")
    if site.login:
        settings.append("export NAIAD_API_TOKEN=...  # your token")
    if settings:
        st.write("with, in the shell that runs it:")
        st.code("\n".join(settings), language="bash")
    st.button("Look again", icon=":material/refresh:")


def no_such_project(site: Site, project: str, projects: Sequence[str]) -> None:
    try:
        found = site.client.describe_projects([project])
    except (NaiadAuthError, NaiadQueryError):
        # A name of another reader's, or of nobody's: they are told alike.
        found = []
    if found:
        st.info(f"All runs of {plain(project)} are in the trash.")
        site.link("trash", "Trash", TrashView(project=project).write(), ":material/delete:")
        return
    st.error(f"There is no project {plain(project)} here, or not for your token.")
    st.write(f"There is: {some(projects, 20)}. A project comes into being with its first run.")
