"""The pages and who may see them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from naiad_dashboard import session
from naiad_dashboard.address import query
from naiad_dashboard.chrome import Site, told
from naiad_dashboard.pages import compare, run, runs, trash

_ICON = Path(__file__).with_name("assets") / "naiad.svg"

# Streamlit leaves a page's top empty for a bar that this one doesn't show, and fades what
# is about to change, which makes charts that refresh each few seconds flicker.
_STYLE = """
<style>
.stMainBlockContainer { padding-top: 1.2rem; padding-bottom: 2rem; max-width: 100%; }
.stAppHeader { background: transparent; pointer-events: none; height: 2rem; min-height: 2rem; }
.stAppHeader > * { pointer-events: auto; }
.st-key-naiad-choice > :first-child a { border: 1px solid rgba(128, 128, 128, 0.5); }
[class*="st-key-naiad-keep-"] { position: absolute; }
[data-stale="true"] { opacity: 1 !important; transition: none !important; }
</style>
"""


def show(server_url: str, *, login: bool) -> None:
    """Draws the page that the URL asks for."""
    st.set_page_config(page_title="Naiad", page_icon=str(_ICON), layout="wide")
    st.html(_STYLE)
    site: list[Site] = []

    def page(name: str, draw: Callable[[Site], None], title: str) -> None:
        def drawn() -> None:
            with told():
                draw(site[0])

        pages[name] = st.Page(drawn, title=title, url_path=name)

    def home() -> None:
        st.switch_page(pages["runs"], query_params=query())

    pages = {"home": st.Page(home, title="Naiad", url_path="home", default=True)}
    page("runs", runs.show, "Runs · Naiad")
    page("compare", compare.show, "Compare · Naiad")
    page("run", run.show, "Run · Naiad")
    page("trash", trash.show, "Trash · Naiad")
    chosen = st.navigation(list(pages.values()), position="hidden")
    client = session.client(server_url, login=login)
    site.append(Site(client, session.editor(), server_url, login, pages))
    chosen.run()
