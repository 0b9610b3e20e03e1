"""Spools that a test writes itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from naiad.spool.folder import new_writer_id
from naiad.spool.layout import Header
from naiad.spool.reader import ItemRow, MetricRows, SpoolReader

# Some kilobytes of a spool.
ROW = {f"m{i}": float(i) for i in range(500)}


def spool_header(**changes: Any) -> Header:
    """Of a spool that goes nowhere, but for what is changed."""
    fields: dict[str, Any] = {
        "project": "team/p", "run_id": "r", "writer_id": new_writer_id(), "epoch": 1,
        "url": "grpc://127.0.0.1:1", "host": "h", "pid": os.getpid(), "mode": "async",
    }  # fmt: skip
    return Header(**(fields | changes))


def steps_in(folder: Path) -> list[int]:
    """Micro-steps of all points of a spool that nobody writes any more, in their order."""
    reader = SpoolReader(folder)
    found: list[int] = []
    for row in reader.rows(1 << 30, writer_lives=False):
        assert isinstance(row, MetricRows | ItemRow), row
        if isinstance(row, MetricRows):
            found += row.steps.tolist()
    reader.close()
    return found
