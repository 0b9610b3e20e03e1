"""Stores: chDB in this process, behind the HTTP interface of a server, and Distributed there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support_clickhouse import migrated

from naiad_store import Store


@pytest.fixture(
    scope="module", params=["chdb", "http", pytest.param("sharded", marks=pytest.mark.long)]
)
def store_url(request: pytest.FixtureRequest, chdb_folder: Path) -> str:
    if request.param == "chdb":
        return f"chdb://{chdb_folder}"
    if request.param == "sharded":
        return request.getfixturevalue("sharded_url")
    return request.getfixturevalue("clickhouse_server").url


@pytest.fixture
def in_process(store_url: str) -> bool:
    return store_url.startswith("chdb:")


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with migrated(store_url) as opened:
        yield opened
