"""What a `kafka://` URL says, checked word by word before anything is connected."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from naiad_eventlog.interface import EventLogError
from naiad_eventlog.retention import DEFAULT_HOURS, Retention

DEFAULT_PORT = 9092
# Seconds after which an append that no broker confirmed gives up: longer than a cluster takes
# to make a dead broker's neighbour the leader (9 s), shorter than a client waits (60 s).
DEFAULT_APPEND_SECONDS = 20.0
# Seconds without a sign of life after which the group takes a member for dead: the least that
# brokers allow as they come (group.min.session.timeout.ms). Members tell each second, whatever
# their inserts take, so one that is slow is not taken for dead.
DEFAULT_SESSION_SECONDS = 6.0
# Seconds for one request to one broker.
REQUEST_SECONDS = 15.0

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_SERVER = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:@/\s]+)(?::(?P<port>\d{1,5}))?")
# What topics and groups of Kafka may be named with.
_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,100}")

# Every option with what it means: the message for an unknown one lists them.
OPTIONS = {
    "prefix": "put before the names of topics and groups, for clusters that hold other things",
    "tls": "true: connect with TLS",
    "ca": "file of the authority that signed the brokers' certificates, if not a public one",
    "cert": "file of our certificate, where brokers ask for one",
    "key": "file of that certificate's key",
    "sasl": f"how to log in: {', '.join(_MECHANISMS)}",
    "replication": "copies of each record in topics that are made: 3, or as many as brokers",
    "retention_hours": f"how long records are kept that all groups have read: {DEFAULT_HOURS}",
    "retention_bytes": "how many bytes of them are kept, of each topic; no bound without",
    "append_seconds": f"when an unconfirmed append gives up: {DEFAULT_APPEND_SECONDS:g}",
    "session_seconds": f"when a silent member is taken for dead: {DEFAULT_SESSION_SECONDS:g}",
}


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    servers: tuple[str, ...]
    prefix: str = ""
    tls: ssl.SSLContext | None = None
    sasl: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    replication: int | None = None
    retention: Retention = field(default_factory=Retention)
    append_seconds: float = DEFAULT_APPEND_SECONDS
    session_seconds: float = DEFAULT_SESSION_SECONDS

    @property
    def named(self) -> str:
        """For messages: no password."""
        return f"Kafka at {','.join(self.servers)}"

    def client_options(self) -> dict[str, Any]:
        """What each client of aiokafka is made with."""
        if self.sasl:
            protocol = "SASL_SSL" if self.tls else "SASL_PLAINTEXT"
        else:
            protocol = "SSL" if self.tls else "PLAINTEXT"
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.servers),
            "client_id": "naiad",
            "request_timeout_ms": int(REQUEST_SECONDS * 1000),
            # How late a partition that somebody added is seen.
            "metadata_max_age_ms": 5_000,
            "security_protocol": protocol,
            "ssl_context": self.tls,
        }
        if self.sasl:
            options |= {
                "sasl_mechanism": self.sasl,
                "sasl_plain_username": self.user,
                "sasl_plain_password": self.password,
            }
        return options

    @classmethod
    def parse(cls, url: str, environment: Mapping[str, str] = os.environ) -> KafkaAddress:
        """Raises EventLogError that names what is wrong, without the password.

        The login may stand in the URL or, better, in NAIAD_KAFKA_USER and
        NAIAD_KAFKA_PASSWORD.
        """
        parts = urlsplit(url)
        login, _, hosts = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        user = unquote(user) or environment.get("NAIAD_KAFKA_USER", "")
        password = unquote(password) or environment.get("NAIAD_KAFKA_PASSWORD", "")
        if parts.path not in {"", "/"} or parts.fragment:
            raise EventLogError(
                f"{parts.path or parts.fragment!r} of the event log's kafka:// URL means nothing;"
                " topics are named by ?prefix="
            )
        options = _options(parts.query)
        tls = _tls(options)
        sasl = options.get("sasl")
        if sasl is not None and sasl not in _MECHANISMS:
            raise EventLogError(f"sasl={sasl} is not one of {', '.join(_MECHANISMS)}")
        if sasl and not (user and password):
            raise EventLogError(
                f"sasl={sasl} needs a user and a password: NAIAD_KAFKA_USER and"
                " NAIAD_KAFKA_PASSWORD, or kafka://user:password@host"
            )
        if login and not sasl:
            raise EventLogError("the kafka:// URL has a user but doesn't say how to log in: sasl=")
        prefix = options.get("prefix", "")
        if not _PREFIX.fullmatch(prefix):
            raise EventLogError(
                f"prefix={prefix} has other characters than letters, digits, '.', '_' and '-',"
                " or more than 100"
            )
        return cls(
            servers=_servers(hosts),
            prefix=prefix,
            tls=tls,
            sasl=sasl,
            user=user or None,
            password=password or None,
            replication=_whole(options, "replication", 1) if "replication" in options else None,
            retention=Retention(
                _whole(options, "retention_hours", 1, DEFAULT_HOURS),
                _whole(options, "retention_bytes", 1024 * 1024)
                if "retention_bytes" in options
                else None,
            ),
            append_seconds=_seconds(options, "append_seconds", DEFAULT_APPEND_SECONDS),
            session_seconds=_seconds(options, "session_seconds", DEFAULT_SESSION_SECONDS),
        )


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in OPTIONS:
            raise EventLogError(
                f"the event log's kafka:// URL has the unknown option {name!r}; there are"
                f" {', '.join(OPTIONS)}"
            )
    return options


def _servers(hosts: str) -> tuple[str, ...]:
    servers = []
    for host in hosts.split(","):
        match = _SERVER.fullmatch(host)
        if not match or not 0 < int(match["port"] or DEFAULT_PORT) < 65536:
            raise EventLogError(
                f"{host!r} of the event log's kafka:// URL is not host:port; a list is"
                " kafka://host:port,host:port"
            )
        servers.append(f"{match['host']}:{match['port'] or DEFAULT_PORT}")
    return tuple(servers)


def _tls(options: Mapping[str, str]) -> ssl.SSLContext | None:
    wanted = options.get("tls", "false")
    if wanted not in {"true", "false"}:
        raise EventLogError(f"tls={wanted} is neither true nor false")
    if wanted == "false":
        for name in ("ca", "cert", "key"):
            if name in options:
                raise EventLogError(f"{name}= is for TLS only; add tls=true")
        return None
    if ("cert" in options) != ("key" in options):
        raise EventLogError("cert= and key= go together")
    named = "ca"
    try:
        context = ssl.create_default_context(cafile=options.get("ca"))
        if "cert" in options:
            named = "cert"
            context.load_cert_chain(options["cert"], options["key"])
    except (OSError, ssl.SSLError) as error:
        raise EventLogError(f"{named}={options[named]} can't be used: {error}") from error
    return context


def _whole(options: Mapping[str, str], name: str, least: int, default: int = 0) -> int:
    text = options.get(name, str(default))
    if not text.isdigit() or int(text) < least:
        raise EventLogError(f"{name}={text} is not a whole number of at least {least}")
    return int(text)


def _seconds(options: Mapping[str, str], name: str, default: float) -> float:
    text = options.get(name, str(default))
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value <= 300:
        raise EventLogError(f"{name}={text} is not a number of seconds from 1 to 300")
    return value
