"""For tests of what clients and commands make of an answer: the answers themselves are held to each
engine elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def store_url(chdb_folder: Path) -> str:
    """chDB alone, in place of every engine."""
    return f"chdb://{chdb_folder}"
