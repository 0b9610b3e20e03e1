"""Spools that a test writes itself."""

from __future__ import annotations

import os
from typing import Any

from naiad.spool.folder import new_writer_id
from naiad.spool.layout import Header


def spool_header(**changes: Any) -> Header:
    """Of a spool that goes nowhere, but for what is changed."""
    fields: dict[str, Any] = {
        "project": "team/p", "run_id": "r", "writer_id": new_writer_id(), "epoch": 1,
        "url": "grpc://127.0.0.1:1", "host": "h", "pid": os.getpid(), "mode": "async",
    }  # fmt: skip
    return Header(**(fields | changes))
