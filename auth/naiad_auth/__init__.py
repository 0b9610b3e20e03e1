"""Who is asking, and which projects they may read and write.

Enters: an `authorization: Bearer TOKEN` header or metadata entry. Leaves: a `Principal`
that handlers get from `current_principal()`.

Promised:
- With a `TokenStore` every RPC but the health checks needs a token that is valid now: one
  that was just revoked, also by another process, is refused at the next call.
- Without one (loopback, no login) everybody is `ANONYMOUS` and may do everything.
- Secrets are never kept: the file holds hashes, readable by its owner only.
- A handler that no interceptor stands before gets an error, not a principal.
"""

from naiad_auth.header import AuthenticationError, authenticate_header
from naiad_auth.interceptor import AuthInterceptor
from naiad_auth.principal import ANONYMOUS, Principal, acting_as, current_principal
from naiad_auth.tokens import Token, TokenFileError, TokenStore

__all__ = [
    "ANONYMOUS",
    "AuthInterceptor",
    "AuthenticationError",
    "Principal",
    "Token",
    "TokenFileError",
    "TokenStore",
    "acting_as",
    "authenticate_header",
    "current_principal",
]
