"""Every test of the writer, on chDB in this process, behind the HTTP interface of a server, and on
Distributed tables there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support_clickhouse import migrated

from naiad_store import Store

LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("http", "sharded")]


@pytest.fixture(scope="module", params=["chdb", *LONG])
def store_url(request: pytest.FixtureRequest, chdb_folder: Path) -> str:
    if request.param == "chdb":
        return f"chdb://{chdb_folder}"
    if request.param == "sharded":
        return str(request.getfixturevalue("sharded_url"))
    return request.getfixturevalue("clickhouse_server").url


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with migrated(store_url) as opened:
        yield opened
