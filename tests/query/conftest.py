"""Runs that many tests read: made once, by the real writer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support_clickhouse import migrated
from support_query import BEGIN, Reading, Spool, reading

from naiad.query.client import QueryClient
from naiad_auth import TokenStore
from naiad_proto.v1 import records_pb2 as pb

PROJECT = "team/vision"
OTHER = "rivals/secret"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return TokenStore(tmp_path_factory.mktemp("tokens") / "tokens.json")


@pytest.fixture(scope="module")
def token(tokens: TokenStore) -> str:
    """May do everything."""
    return tokens.create()


LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("http", "sharded")]


@pytest.fixture(scope="module", params=["chdb", *LONG])
def store_url(request: pytest.FixtureRequest, chdb_folder: Path) -> str:
    """chDB in this process, and behind the HTTP interface of a server."""
    if request.param == "chdb":
        return f"chdb://{chdb_folder}"
    if request.param == "sharded":
        return request.getfixturevalue("sharded_url")
    return request.getfixturevalue("clickhouse_server").url


@pytest.fixture(scope="module")
def server(
    store_url: str, tmp_path_factory: pytest.TempPathFactory, tokens: TokenStore
) -> Iterator[Reading]:
    with (
        migrated(store_url, "test_query") as store,
        reading(store, tmp_path_factory.mktemp("query"), tokens) as server,
    ):
        fill(server)
        yield server


@pytest.fixture(scope="module")
def client(server: Reading, token: str) -> Iterator[QueryClient]:
    with server.client(token) as client:
        yield client


@pytest.fixture
def environment(server: Reading, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user's shell is set."""
    monkeypatch.setenv("NAIAD_URL", server.url)
    monkeypatch.setenv("NAIAD_API_TOKEN", token)
    monkeypatch.setenv("NAIAD_PROJECT", PROJECT)


def fill(server: Reading) -> None:
    """adam-1 and adam-2 (under one experiment), sgd with every kind of value, a fork, a run
    of another project."""
    note = server.put(b"what is in the file", "note.txt")
    other_note = server.put(b"not for you", "plan.txt")
    first = Spool(PROJECT, "adam-1").create("adam", at=BEGIN)
    first.set("lr", 1).metrics({"loss": [9.0, 8.0, 7.0]})
    first.status(pb.WRITER_STATE_FINISHED, at=BEGIN + 60_000)
    second = Spool(PROJECT, "adam-2").create("adam", at=BEGIN + 1000)
    second.set("lr", 0.1).metrics({"loss": [5.0, 4.0], "acc": [0.5, 0.6]})
    second.status(pb.WRITER_STATE_RUNNING, at=BEGIN)
    sgd = Spool(PROJECT, "sgd").create("sgd", at=BEGIN + 2000)
    sgd.set("lr", 0.01).set("depth", 2**60 + 1).set("note", 'a "quoted" ü').set("ready", True)
    sgd.set("when", datetime(2026, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC)).set("readme", note)
    sgd.tag("sys/tags", add=["good", "old"]).tag("sys/tags", remove=["old"])
    sgd.metrics({"loss": [1.0, math.nan, math.inf, -math.inf]}, steps=[0, 0.5, 1, 1.5])
    sgd.metrics({"loss": [3.5]}, steps=[2], completions=[0.25])
    sgd.lines("log/out", ["one", "two", "three"])
    sgd.histogram("weights", 0, [0.0, 1.0, 2.0], [3.0, 4.0])
    sgd.file("images", 3, note)
    sgd.status(pb.WRITER_STATE_FAILED, at=BEGIN + 5000, reason="ValueError: no")
    fork = Spool(PROJECT, "fork").create(
        "forked", at=BEGIN + 3000, fork=("adam-1", 1), inherit_configs=True
    )
    fork.metrics({"loss": [70.0, 60.0]}, steps=[2, 3]).set("extra", "mine")
    rival = Spool(OTHER, "theirs").create("secret-exp", at=BEGIN)
    rival.set("secret", "hidden").set("plan", other_note).metrics({"loss": [42.0]})
    server.write(first, second, sgd, fork, rival)
