"""From the `authorization` header to a principal; the same for gRPC and for web pages."""

from __future__ import annotations

from naiad_auth.principal import ANONYMOUS, Principal
from naiad_auth.tokens import TokenStore

_HOW = (
    "set NAIAD_API_TOKEN to a token of this server (whoever runs it makes one with"
    " `naiad token create`)"
)


class AuthenticationError(Exception):
    """Nobody known. The message is for the user and says what to do."""


def authenticate_header(tokens: TokenStore | None, header: str | None) -> Principal:
    """Who sends this `authorization` header; ANONYMOUS when `tokens` is None (no login).

    Raises AuthenticationError when it is absent (None), isn't "Bearer TOKEN", or holds no
    valid token; TokenFileError when the tokens can't be read.
    """
    if tokens is None:
        return ANONYMOUS
    if not header or header.isspace():
        raise AuthenticationError(f"this server needs a token, and none was sent; {_HOW}")
    scheme, _, token = header.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise AuthenticationError(
            f"the authorization header is not of the form 'Bearer TOKEN'; {_HOW}"
        )
    principal = tokens.authenticate(token)
    if principal is None:
        raise AuthenticationError(
            f"the token that was sent is not valid here: mistyped, revoked, or of another"
            f" server; {_HOW}"
        )
    return principal
