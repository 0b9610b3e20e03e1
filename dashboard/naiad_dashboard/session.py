"""Who reads, and through which client: one per browser session."""

from __future__ import annotations

import os

import streamlit as st

from naiad.editing import Editor
from naiad.exceptions import NaiadAuthError, NaiadError
from naiad.query.client import QueryClient
from naiad_dashboard.components import ask_token, forget_token, keep_token
from naiad_dashboard.texts import plain

_CLIENT = "naiad client"
_EDITOR = "naiad editor"
_REFUSED = "naiad refused"
_KEEP = "naiad keep"


def client(server_url: str, *, login: bool) -> QueryClient:
    """This session's client. With `login` and nobody signed in it shows the form and ends
    the page, so what follows only runs for someone whose token the server took."""
    # The operator's own token must not serve readers who have none.
    os.environ.pop("NAIAD_API_TOKEN", None)
    found = st.session_state.get(_CLIENT)
    if isinstance(found, QueryClient):
        if kept := st.session_state.get(_KEEP):
            keep_token(kept[0], long=kept[1])
        return found
    if login:
        _sign_in(server_url)
        st.stop()
    st.session_state[_EDITOR] = Editor(server_url)
    st.session_state[_CLIENT] = opened = QueryClient(server_url)
    return opened


def editor() -> Editor:
    """What changes runs in the name of who reads; of a session that has a client."""
    found = st.session_state[_EDITOR]
    assert isinstance(found, Editor)
    return found


def sign_out(because: str = "") -> None:
    """Forgets the token; `because` is shown above the form."""
    for key in (_CLIENT, _EDITOR):
        found = st.session_state.pop(key, None)
        if isinstance(found, QueryClient | Editor):
            found.close()
    st.session_state.pop(_KEEP, None)
    st.session_state[_REFUSED] = because


def _sign_in(server_url: str) -> None:
    """With the token that the browser keeps, or else by the form."""
    if _REFUSED in st.session_state:
        forget_token()
        _ask(server_url, st.session_state[_REFUSED])
        return
    kept = ask_token()
    if kept is None:
        return
    refused = _try(server_url, kept) if kept else ""
    if kept and not refused:
        st.rerun()
    _ask(server_url, refused)


def _ask(server_url: str, because: str) -> None:
    _, middle, _ = st.columns([1, 2, 1])
    with middle, st.form("naiad sign in", clear_on_submit=True):
        st.subheader("Sign in to Naiad")
        st.write(
            "This server asks for an API token. `naiad up` printed one when it first started;"
            " more are made with `naiad token create`."
        )
        token = st.text_input("API token", type="password", autocomplete="current-password")
        long = st.checkbox("Stay signed in on this browser")
        if st.form_submit_button("Sign in", type="primary"):
            because = _try(server_url, token.strip(), long=long)
            if not because:
                st.rerun()
        if because:
            st.error(plain(because))


def _try(server_url: str, token: str, *, long: bool | None = None) -> str:
    """Signs in, or says why not. `long` None: the browser keeps the token already."""
    if not token:
        return "Put an API token into the field first."
    if not token.isascii() or not token.isprintable():
        return "This can't be a token: tokens are plain letters, digits and signs."
    candidate = QueryClient(server_url, token)
    try:
        candidate.list_projects()
    except NaiadAuthError:
        candidate.close()
        # The server's own words are for programs, with a variable to set.
        return (
            "The server does not take this token: mistyped, revoked, or of another server."
            " Who runs the server makes one with naiad token create."
        )
    except NaiadError as error:
        candidate.close()
        return str(error)
    st.session_state[_EDITOR] = Editor(server_url, token)
    st.session_state[_CLIENT] = candidate
    st.session_state.pop(_REFUSED, None)
    if long is not None:
        st.session_state[_KEEP] = (token, long)
    return ""
