"""A Valkey of one test's own, to do things to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support_valkey import Valkey, running_valkey


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with running_valkey(tmp_path) as valkey:
        yield valkey
