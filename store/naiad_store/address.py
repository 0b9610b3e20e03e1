"""What the URL of a store says, checked word by word, so that a mistake is named at the start."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from naiad_store.errors import StoreError

DEFAULT_DATABASE = "naiad"
CLUSTER = "NAIAD_STORE_CLUSTER"
_PORTS = {"clickhouse": 8123, "clickhouses": 8443}
# Those that only the native protocol answers, which drivers of other languages use.
_NATIVE_PORTS = (9000, 9440)
_CLUSTER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|\{[a-z_]+\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_Wrong = Callable[[str], StoreError]
_FORMS = "chdb:///absolute/folder or clickhouse[s]://user:password@host:port/database"


@dataclass(frozen=True)
class Cluster:
    """How tables are laid out over a cluster of servers."""

    name: str
    # Rows are spread over shards by run, and read through Distributed tables.
    sharded: bool = False
    # Where replicas meet in Keeper, and which one this is; empty for the server's own defaults.
    replica_path: str = ""
    replica_name: str = ""


@dataclass(frozen=True)
class Address:
    """`folder` of chDB, or `host` and the rest of a server. `shown` is for messages: it has no
    password in it."""

    shown: str
    database: str
    folder: Path | None = None
    host: str = ""
    port: int = 0
    user: str = ""
    password: str = ""
    tls: bool = False
    # A PEM file with the authorities to trust, instead of the system's.
    ca: Path | None = None
    verify: bool = True
    # Connections kept open.
    pool: int = 16
    # Seconds without a byte before a call is given up.
    timeout: int = 90
    connect_timeout: int = 10
    cluster: Cluster | None = None

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def parse_address(
    url: str, database: str | None = None, environ: Mapping[str, str] | None = None
) -> Address:
    """`database`, if given, is used instead of the URL's. Raises StoreError, which names what is
    wrong and never holds a password."""
    shown = without_password(url)
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise StoreError(f"store {shown!r} is no URL ({error}); use {_FORMS}") from None
    if parts.scheme == "chdb":
        return _of_folder(parts, shown, database or DEFAULT_DATABASE)
    if parts.scheme not in _PORTS:
        raise StoreError(f"store {shown!r} has the unknown scheme {parts.scheme!r}; use {_FORMS}")
    return _of_server(parts, shown, database, os.environ if environ is None else environ)


def without_password(url: str) -> str:
    """Rather too little of a mistyped URL than a password: nothing up to the last @ is left, and
    no value of an option that is named like one."""
    kept = re.sub(r"^(\w+://)?.*@", r"\1…@", url, count=1, flags=re.DOTALL)
    return re.sub(r"(?i)(pass\w*|pwd|secret|token)=[^&]*", r"\1=…", kept)


def _of_folder(parts: SplitResult, shown: str, database: str) -> Address:
    if parts.netloc or not parts.path.strip("/"):
        raise StoreError(f"store {shown!r} is not of the form chdb:///absolute/folder")
    if parts.query or parts.fragment:
        raise StoreError(f"store {shown!r}: chdb:/// takes no options")
    # chDB compares folders letter by letter.
    folder = Path(parts.path).resolve()
    return Address(f"chdb://{folder}", database, folder=folder)


def _of_server(
    parts: SplitResult, shown: str, database: str | None, environ: Mapping[str, str]
) -> Address:
    def wrong(what: str) -> StoreError:
        return StoreError(f"store {shown!r}: {what}")

    tls = parts.scheme == "clickhouses"
    if parts.fragment:
        raise wrong("it holds a #, which in a password is spelled %23")
    try:
        port = parts.port or _PORTS[parts.scheme]
    except ValueError:
        raise wrong(
            "its port is not a number from 1 to 65535 (a / in a password is spelled %2F)"
        ) from None
    if not parts.hostname:
        raise wrong(f"it names no host; use {_FORMS}")
    if port in _NATIVE_PORTS:
        raise wrong(
            f"{port} is the port of ClickHouse's native protocol; name that of HTTP, usually"
            f" {_PORTS[parts.scheme]}"
        )
    named = unquote(parts.path.strip("/"))
    if "/" in named or (named and not _NAME.fullmatch(named)):
        raise wrong(
            f"{named!r} is not the name of a database; letters, digits and _ are (a / in a"
            " password is spelled %2F)"
        )
    options = _Options(parts.query, wrong)
    ca, verify = options.file("ca"), options.switch("verify", True)
    if not tls and (ca or not verify):
        raise wrong("ca and verify are for TLS; use clickhouses://")
    if ca and not verify:
        raise wrong("ca names whom to trust and verify=0 says not to look; leave one out")
    address = Address(
        shown,
        database or named or DEFAULT_DATABASE,
        host=parts.hostname,
        port=port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        tls=tls,
        ca=ca,
        verify=verify,
        pool=options.number("pool", 16, 1000),
        timeout=options.number("timeout", 90, 3600),
        connect_timeout=options.number("connect_timeout", 10, 3600),
        cluster=_cluster(options, wrong, environ),
    )
    options.no_others()
    return address


def _cluster(options: _Options, wrong: _Wrong, environ: Mapping[str, str]) -> Cluster | None:
    name = options.text("cluster")
    if not name and (name := environ.get(CLUSTER, "").strip()) and not _CLUSTER.fullmatch(name):
        raise wrong(f"{CLUSTER}={name!r} is not the name of a cluster")
    if name and not _CLUSTER.fullmatch(name):
        raise wrong(f"cluster={name!r} is not the name of a cluster")
    sharded = options.switch("sharded", False)
    path, replica = options.text("replica_path"), options.text("replica_name")
    if not name:
        for option, given in (
            ("sharded", sharded), ("replica_path", path), ("replica_name", replica),
        ):  # fmt: skip
            if given:
                raise wrong(f"{option} needs cluster=NAME (or {CLUSTER})")
        return None
    if bool(path) != bool(replica):
        raise wrong("replica_path and replica_name go together; give both or neither")
    if path and ("{table}" not in path or "{shard}" not in path):
        raise wrong(
            f"replica_path={path!r} needs {{shard}} and {{table}} in it, or tables would meet at"
            " one place: /clickhouse/tables/{shard}/{database}/{table}, for example"
        )
    return Cluster(name, sharded, path, replica)


class _Options:
    """The words behind the ? of a URL, each taken once."""

    def __init__(self, query: str, wrong: _Wrong) -> None:
        self._wrong = wrong
        self._given: dict[str, str] = {}
        self._known: list[str] = []
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name in self._given:
                raise wrong(f"{name} is given twice")
            self._given[name] = value

    def text(self, name: str) -> str:
        self._known.append(name)
        if name in self._given and not self._given[name]:
            raise self._wrong(f"{name} is empty")
        return self._given.pop(name, "")

    def file(self, name: str) -> Path | None:
        text = self.text(name)
        if text and not Path(text).is_file():
            raise self._wrong(f"{name}={text!r} is not a file")
        return Path(text) if text else None

    def switch(self, name: str, default: bool) -> bool:
        text = self.text(name)
        if text not in ("", "0", "1"):
            raise self._wrong(f"{name}={text!r} is neither 0 nor 1")
        return text == "1" if text else default

    def number(self, name: str, default: int, most: int) -> int:
        text = self.text(name)
        if text and not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
            raise self._wrong(f"{name}={text!r} is not a whole number from 1 to {most}")
        return int(text) if text else default

    def no_others(self) -> None:
        for name in self._given:
            if name in ("user", "username", "password"):
                raise self._wrong(f"{name} belongs before the host: user:password@host")
            known = ", ".join(self._known)
            raise self._wrong(f"there is no option {name!r}; there are {known}")
