"""What tests of several stages share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support_clickhouse import CLUSTER, ClickHouse, clickhouse, migrated

from naiad_store import Store


@pytest.fixture(scope="session")
def chdb_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the whole test process: chDB opens no second one."""
    return tmp_path_factory.mktemp("chdb") / "store"


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """A store behind ClickHouse's HTTP interface, one for the whole test process."""
    with clickhouse(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture(scope="session")
def sharded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a store whose tables are Distributed over a cluster of one shard."""
    with clickhouse(tmp_path_factory.mktemp("cluster"), options=["--cluster"]) as server:
        yield f"{server.url}/?cluster={CLUSTER}&sharded=1"


@pytest.fixture
def store(chdb_folder: Path) -> Iterator[Store]:
    """A migrated store with a database of its own, dropped afterwards."""
    with migrated(f"chdb://{chdb_folder}") as opened:
        yield opened
