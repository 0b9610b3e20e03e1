"""The page's URL as the one place where its view stands: widgets read it and write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import streamlit as st


class View(Protocol):
    def write(self) -> dict[str, list[str]]: ...


def query() -> dict[str, list[str]]:
    """The query string of this page."""
    return {name: st.query_params.get_all(name) for name in st.query_params}


def go(view: View) -> None:
    """Makes the URL say `view`."""
    wanted = view.write()
    if wanted != query():
        st.query_params.from_dict(wanted)


def bound(key: str, value: Any, write: Callable[[Any], None]) -> Mapping[str, Any]:
    """Arguments for a widget that shows `value`, which came from the URL, and calls `write`
    with what the reader makes of it. The back button changes the URL, so the widget."""
    missing = object()
    # Only what differs: setting a value sends it to the browser, over what is typed there.
    if st.session_state.get(key, missing) != value:
        st.session_state[key] = value

    def changed() -> None:
        write(st.session_state[key])

    return {"key": key, "on_change": changed}
