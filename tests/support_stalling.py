"""A store in which inserts stand still, or take their time, where a test says so."""

from __future__ import annotations

import threading
import time
from typing import Any

import pyarrow as pa
from support_naiad import LONGER

from naiad_store import Store


class Stalling:
    """`store`, but an insert into `table` waits for `go_on`."""

    def __init__(self, store: Store, table: str) -> None:
        self._store = store
        self._table = table
        self.stands = threading.Event()
        self.go_on = threading.Event()

    def insert(self, table: str, rows: pa.Table) -> None:
        if table == self._table:
            self.stands.set()
            assert self.go_on.wait(120 * LONGER)
        self._store.insert(table, rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Slow:
    """`store`, but the next insert into `table`, once `armed`, takes `seconds`."""

    def __init__(self, store: Store, table: str, seconds: float) -> None:
        self._store = store
        self._table = table
        self._seconds = seconds
        self.armed = threading.Event()
        self.begun = threading.Event()

    def insert(self, table: str, rows: pa.Table) -> None:
        if table == self._table and self.armed.is_set():
            self.armed.clear()
            self.begun.set()
            time.sleep(self._seconds)
        self._store.insert(table, rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
