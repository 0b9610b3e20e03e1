"""What tests of several stages share."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from naiad_store import Store

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def chdb_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the whole test process: chDB opens no second one."""
    return tmp_path_factory.mktemp("chdb") / "store"


@pytest.fixture
def store(chdb_folder: Path) -> Iterator[Store]:
    """A migrated store with a database of its own, dropped afterwards."""
    name = f"test_{next(_NUMBERS)}"
    opened = Store.open(f"chdb://{chdb_folder}", database=name)
    try:
        opened.migrate()
        yield opened
        opened.command(f"DROP DATABASE {name} SYNC")
    finally:
        opened.close()
