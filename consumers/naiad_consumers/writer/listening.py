"""Since when the writers of runs have been heard without a gap: told for each partition by
its owner.

A writer that is silent may have died; or nobody was listening to its partition. The store
decides by what is told here, so that the decision needs no other service and outlives all of
them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from naiad_consumers.writer.columns import TIME
from naiad_store import Store

# Between two rows of a partition, in seconds: adds to how late a silence is seen.
TELL_SECONDS = 4.0
# A gap between two looks from which on silence counts anew: the process stood still, the store
# or the machine was away, or the clock was set. Writers have to be heard again first.
GAP_SECONDS = 15.0

SCHEMA = pa.schema(
    [("listener", pa.string()), ("log_partition", pa.uint32()), ("since", TIME), ("until", TIME),
     ("told_at", TIME)]
)  # fmt: skip


@dataclass(slots=True)
class _Span:
    since: float
    until: float = 0.0


class Listening:
    """One consumer's partitions. Not for several threads at once."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock`: Unix seconds."""
        self._clock = clock
        self._spans: dict[int, _Span] = {}
        self._looked = clock()
        self._told = 0.0

    def begin(self, partitions: Iterable[int]) -> None:
        """These are listened to from now on, and no others. Those that are kept go on: what
        their last owner heard, this one had."""
        now = self._clock()
        self._spans = {number: self._spans.get(number) or _Span(now) for number in partitions}

    def look(self) -> float:
        """Called before each look at the log; returns the moment of it."""
        now = self._clock()
        if not 0 <= now - self._looked <= GAP_SECONDS:
            self._spans = {number: _Span(now) for number in self._spans}
        self._looked = now
        return now

    def heard(self, until: Mapping[int, float]) -> None:
        """Of each partition: everything that ingest took before then is in the store."""
        for number, moment in until.items():
            if span := self._spans.get(number):
                span.until = max(span.until, moment)

    @property
    def due(self) -> bool:
        some = any(span.until > span.since for span in self._spans.values())
        return some and not 0 <= self._clock() - self._told < TELL_SECONDS

    def tell(self, store: Store) -> None:
        now = self._clock()
        rows = [
            {"listener": f"naiad.writer/{number}", "log_partition": number,
             "since": _time(span.since), "until": _time(span.until), "told_at": _time(now)}
            for number, span in self._spans.items()
            if span.until > span.since
        ]  # fmt: skip
        store.insert("listening", pa.Table.from_pylist(rows, schema=SCHEMA))
        self._told = now


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
