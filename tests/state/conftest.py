"""A Valkey of one test's own, to do things to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support_naiad import LONGER
from support_valkey import Valkey, running_valkey

from naiad_state import state as state_module


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    with running_valkey(tmp_path) as valkey:
        yield valkey


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what is shared, not of how soon: on a busy machine a tenth of a second may
    be too short, and then each goes by itself."""
    monkeypatch.setattr(state_module, "PATIENCE", 20.0 * LONGER)
