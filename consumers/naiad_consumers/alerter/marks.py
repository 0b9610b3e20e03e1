"""Marks in the store that say which sink has taken which event."""

from __future__ import annotations

import asyncio
import time

import pyarrow as pa

from naiad_consumers.alerter.engine import Notice
from naiad_store import Store

# Marks that come within so many seconds go in together.
_GATHER = 0.1

_SCHEMA = pa.schema(
    [
        ("project", pa.string()),
        ("occurrence", pa.string()),
        ("event", pa.string()),
        ("sink", pa.string()),
        ("outcome", pa.string()),
        ("attempts", pa.uint32()),
        ("detail", pa.string()),
        ("at", pa.timestamp("ms", tz="UTC")),
        ("row_version", pa.uint64()),
    ]
)


class Marks:
    """Written a moment after the fact: a crash in between means that a sink hears the same
    event, under the same id, again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: list[dict[str, object]] = []
        self._some = asyncio.Event()
        self._writing = asyncio.Lock()

    def add(
        self, notice: Notice, sink: str, *, taken: bool, attempts: int, detail: str = ""
    ) -> None:
        now = time.time_ns()
        self._rows.append(
            {
                "project": notice.occurrence.subject.project,
                "occurrence": notice.occurrence.id,
                "event": str(notice.event),
                "sink": sink,
                "outcome": "delivered" if taken else "refused",
                "attempts": attempts,
                "detail": detail,
                "at": now // 1_000_000,
                "row_version": now // 1_000,
            }
        )
        self._some.set()

    async def flush(self) -> None:
        """All marks added before the call are in the store when it returns."""
        async with self._writing:
            rows, self._rows = self._rows, []
            if not rows:
                return
            try:
                table = pa.Table.from_pylist(rows, schema=_SCHEMA)
                await asyncio.to_thread(self._store.insert, "alert_deliveries", table)
            except BaseException:
                self._rows = rows + self._rows
                raise

    async def run(self) -> None:
        """Writes marks until cancelled. Raises what the store raises."""
        while True:
            await self._some.wait()
            self._some.clear()
            await asyncio.sleep(_GATHER)
            await self.flush()
