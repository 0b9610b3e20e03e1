"""What the URL of a Redis says, checked word by word before anything is connected."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import BlockingConnectionPool, Connection, SSLConnection
from redis.asyncio.connection import UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

DEFAULT_PORT = 6379
FORMS = "redis://host:port/number, rediss://host:port/number (TLS) or unix:///path/of/socket"
# Every option with what it means.
OPTIONS = {
    "db": "number of the database, of a unix socket",
    "ca": "file of the authority that signed the server's certificate, if not a public one",
    "cert": "file of our certificate, where the server asks for one",
    "key": "file of that certificate's key",
}
# Of one process. Commands are short, and a call that waits for a connection counts that in.
_CONNECTIONS = 16
_CONNECT_SECONDS = 5.0

_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@/,\s]+)(?::(?P<port>\d{1,5}))?")


class StateUrlError(ValueError):
    """The URL can't be used. The message says why and holds no password."""


@dataclass(frozen=True, slots=True)
class StateAddress:
    """Where a Redis is, and how to log in."""

    # Of these two one is empty.
    host: str = ""
    socket: str = ""
    port: int = DEFAULT_PORT
    db: int = 0
    user: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    ca: str = ""
    cert: str = ""
    key: str = ""

    @property
    def named(self) -> str:
        """For messages: no password."""
        if self.socket:
            return f"Redis at unix://{self.socket}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"Redis at {'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.db}"

    @classmethod
    def parse(cls, url: str, environment: Mapping[str, str] = os.environ) -> StateAddress:
        """Raises StateUrlError.

        The login may stand in the URL or, better, in NAIAD_STATE_USER and
        NAIAD_STATE_PASSWORD.
        """
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise StateUrlError(f"the URL of the shared state is none ({error}): {FORMS}") from None
        if parts.scheme not in {"redis", "rediss", "unix"}:
            # Not more of it: where the scheme is missing, the rest may be a password.
            raise StateUrlError(f"the URL of the shared state is not of the form {FORMS}")
        if "@" in parts.path + parts.query + parts.fragment or parts.fragment:
            raise StateUrlError(
                f"the {parts.scheme}:// URL of the shared state has a '/', '?' or '#' in its"
                " password or a '#' at its end; write these as %2F, %3F and %23"
            )
        login, _, place = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        options = _options(parts.query, parts.scheme)
        found = cls(
            user=unquote(user) or environment.get("NAIAD_STATE_USER", ""),
            password=unquote(password) or environment.get("NAIAD_STATE_PASSWORD", ""),
            tls=parts.scheme == "rediss",
            ca=options.get("ca", ""),
            cert=options.get("cert", ""),
            key=options.get("key", ""),
            **_place(parts.scheme, place, unquote(parts.path), options.get("db", "0")),
        )
        found._check_tls()
        return found

    def pool(self) -> BlockingConnectionPool:
        """A pool that has not connected yet."""
        options: dict[str, Any] = {
            "db": self.db,
            "username": self.user or None,
            "password": self.password or None,
            # Its answers to a missing password are plainer, and every version knows it.
            "protocol": 2,
            # Calls set their own bound. With one here redis-py uses asyncio.wait_for, which in
            # Python 3.11 may lose a cancellation, and then waits on.
            "socket_timeout": None,
            "socket_connect_timeout": _CONNECT_SECONDS,
            # Who asks has another way to the answer, and the breaker tries again.
            "retry": Retry(NoBackoff(), 0),
        }
        if self.socket:
            options |= {"connection_class": UnixDomainSocketConnection, "path": self.socket}
        else:
            options |= {"connection_class": Connection, "host": self.host, "port": self.port}
        if self.tls:
            options |= {
                "connection_class": SSLConnection,
                "ssl_ca_certs": self.ca or None,
                "ssl_certfile": self.cert or None,
                "ssl_keyfile": self.key or None,
            }
        return BlockingConnectionPool(max_connections=_CONNECTIONS, timeout=None, **options)

    def _check_tls(self) -> None:
        if bool(self.cert) != bool(self.key):
            raise StateUrlError("cert= and key= of the rediss:// URL go together")
        named, value = "ca", self.ca
        try:
            context = ssl.create_default_context(cafile=self.ca or None) if self.tls else None
            named, value = "cert", self.cert
            if context and self.cert:
                context.load_cert_chain(self.cert, self.key)
        except (OSError, ssl.SSLError) as error:
            raise StateUrlError(
                f"{named}={value} of the rediss:// URL can't be used: {error}"
            ) from error


def _options(query: str, scheme: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    allowed = {"unix": {"db"}, "redis": set[str](), "rediss": {"ca", "cert", "key"}}[scheme]
    for name, value in options.items():
        if name not in allowed:
            known = ", ".join(f"{name} ({OPTIONS[name]})" for name in OPTIONS if name in allowed)
            hint = {"db": "; write redis://host/2", "ca": "; TLS is rediss://"}.get(name, "")
            raise StateUrlError(
                f"the {scheme}:// URL of the shared state has the option {name!r}, which it"
                f" can't have{hint}; it takes {known or 'none'}"
            )
        if not value:
            raise StateUrlError(f"{name}= of the {scheme}:// URL of the shared state is empty")
    return options


def _place(scheme: str, place: str, path: str, database: str) -> dict[str, Any]:
    """Host, port and number of the database, or the path of a socket and that number."""
    if scheme == "unix":
        if place or not path.strip("/"):
            raise StateUrlError(
                "the unix:// URL of the shared state needs three slashes and a path:"
                " unix:///path/of/socket"
            )
        return {"socket": path, "db": _database(database)}
    match = _HOST.fullmatch(place)
    if not match or not 0 < int(match["port"] or DEFAULT_PORT) < 65536:
        # Where the '@' is missing this is a login.
        raise StateUrlError(
            f"the {scheme}:// URL of the shared state does not name one host and port:"
            f" {scheme}://host:port, or {scheme}://user:password@host:port"
        )
    host = match["host"].strip("[]")
    try:
        host.encode("idna")
    except UnicodeError:
        raise StateUrlError(
            f"the host {host!r} of the {scheme}:// URL of the shared state is no host's name"
        ) from None
    port = int(match["port"] or DEFAULT_PORT)
    return {"host": host, "port": port, "db": _database(path[1:] or "0")}


def _database(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise StateUrlError(
            f"{text!r} of the URL of the shared state is no number of a database: redis://host/0"
        )
    return int(text)
