"""The clients that the functions here ask by."""

from __future__ import annotations

from naiad.query.client import QueryClient
from naiad.query.exceptions import WrongArgumentType

_token: str | None = None


def set_api_token(api_token: str) -> None:
    """The token of every function here from now on, in this process, instead of
    NAIAD_API_TOKEN's."""
    global _token
    if not isinstance(api_token, str):
        raise WrongArgumentType("api_token is not a string")
    _token = api_token or None


def connected(timeout: float = 60) -> QueryClient:
    return QueryClient(token=_token, timeout=timeout)
