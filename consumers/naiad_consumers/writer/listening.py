"""Since when this consumer has heard everything that writers of runs said, without a gap.

A writer that is silent may have died; or nobody was listening. The store decides by what is
told here, so that the decision needs no other service and outlives all of them.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa

from naiad_consumers.writer.columns import TIME
from naiad_store import Store

# Between two rows, in seconds: adds to how late a silence is seen.
TELL_SECONDS = 4.0
# A gap between two looks from which on silence counts anew: the process stood still, the store
# or the machine was away, or the clock was set. Writers have to be heard again first.
GAP_SECONDS = 15.0

SCHEMA = pa.schema([("listener", pa.string()), ("since", TIME), ("until", TIME), ("told_at", TIME)])


class Listening:
    """One consumer's life. Not for several threads at once."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock`: Unix seconds."""
        self._clock = clock
        self._listener = uuid.uuid4().hex
        self._since = self._looked = clock()
        self._until = 0.0
        self._told = 0.0

    def look(self) -> float:
        """Called before each look at the log; returns the moment of it, for `heard`."""
        now = self._clock()
        if not 0 <= now - self._looked <= GAP_SECONDS:
            self._since, self._until = now, 0.0
        self._looked = now
        return now

    def heard(self, until: float) -> None:
        """Everything that ingest took before `until` is in the store."""
        self._until = max(self._until, until)

    @property
    def due(self) -> bool:
        return self._until > self._since and not 0 <= self._clock() - self._told < TELL_SECONDS

    def tell(self, store: Store) -> None:
        now = self._clock()
        store.insert("listening", self._table(now))
        self._told = now

    def _table(self, now: float) -> pa.Table:
        row = {"listener": self._listener, "since": _time(self._since),
               "until": _time(max(self._until, self._since)), "told_at": _time(now)}  # fmt: skip
        return pa.Table.from_pylist([row], schema=SCHEMA)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
