"""From a header to a principal: what a page or an RPC is told about its token."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad_auth import ANONYMOUS, AuthenticationError, TokenStore, authenticate_header


@pytest.mark.parametrize("header", [None, "", "Bearer nonsense"])
def test_without_login_everybody_is_anonymous(header: str | None) -> None:
    assert authenticate_header(None, header) is ANONYMOUS


def test_a_valid_token_is_taken_in_the_spellings_that_http_allows(tmp_path: Path) -> None:
    store = TokenStore(tmp_path / "tokens.json")
    secret = store.create(name="ann")
    for header in (f"Bearer {secret}", f"bearer {secret}", f" BEARER   {secret} "):
        assert authenticate_header(store, header).name == "ann"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (None, "none was sent"),
        ("", "none was sent"),
        ("Bearer", "not of the form"),
        ("Basic dXNlcg==", "not of the form"),
        ("Bearer naiad_wrong", "not valid here"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_to_set(
    tmp_path: Path, header: str | None, said: str
) -> None:
    store = TokenStore(tmp_path / "tokens.json")
    store.create()
    with pytest.raises(AuthenticationError, match=said) as caught:
        authenticate_header(store, header)
    assert "NAIAD_API_TOKEN" in str(caught.value)


@given(st.text())
def test_no_header_at_all_gets_in_by_chance(
    tmp_path_factory: pytest.TempPathFactory, header: str
) -> None:
    store = TokenStore(tmp_path_factory.getbasetemp() / "no-such" / "tokens.json")
    with pytest.raises(AuthenticationError):
        authenticate_header(store, header)
