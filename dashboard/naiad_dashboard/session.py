"""Who reads, and through which client: one per browser session."""

from __future__ import annotations

import os

import streamlit as st

from naiad.exceptions import NaiadAuthError, NaiadError
from naiad.query.client import QueryClient
from naiad_dashboard.texts import plain

_CLIENT = "naiad client"
_REFUSED = "naiad refused"


def client(server_url: str, *, login: bool) -> QueryClient:
    """This session's client. With `login` and nobody signed in it shows the form and ends
    the page, so what follows only runs for someone whose token the server took."""
    # The operator's own token must not serve readers who have none.
    os.environ.pop("NAIAD_API_TOKEN", None)
    found = st.session_state.get(_CLIENT)
    if isinstance(found, QueryClient):
        return found
    if login:
        _ask(server_url)
        st.stop()
    st.session_state[_CLIENT] = opened = QueryClient(server_url)
    return opened


def sign_out(because: str = "") -> None:
    """Forgets the token; `because` is shown above the form."""
    found = st.session_state.pop(_CLIENT, None)
    if isinstance(found, QueryClient):
        found.close()
    st.session_state[_REFUSED] = because


def _ask(server_url: str) -> None:
    _, middle, _ = st.columns([1, 2, 1])
    with middle, st.form("naiad sign in", clear_on_submit=True):
        st.subheader("Sign in to Naiad")
        st.write(
            "This server asks for an API token. `naiad up` printed one when it first started;"
            " more are made with `naiad token create`."
        )
        token = st.text_input("API token", type="password", autocomplete="current-password")
        if because := st.session_state.pop(_REFUSED, ""):
            st.error(plain(because))
        if st.form_submit_button("Sign in", type="primary"):
            _try(server_url, token.strip())


def _try(server_url: str, token: str) -> None:
    if not token:
        st.error("Put an API token into the field first.")
        return
    if not token.isascii() or not token.isprintable():
        st.error("This can't be a token: tokens are plain letters, digits and signs.")
        return
    candidate = QueryClient(server_url, token)
    try:
        candidate.list_projects()
    except NaiadAuthError as error:
        candidate.close()
        st.error(plain(f"The server does not take this token: {error}"))
    except NaiadError as error:
        candidate.close()
        st.error(plain(str(error)))
    else:
        st.session_state[_CLIENT] = candidate
        st.rerun()
