"""Counts of what was logged, as the ledger has them."""

from __future__ import annotations

from typing import NamedTuple


class Tally(NamedTuple):
    """How much of something."""

    # Calls, roughly: a row of metrics is one, whatever its width.
    records: int = 0
    # Of series: one per path and step.
    points: int = 0
    # Single values set, changes of tags, files assigned.
    attributes: int = 0

    def __add__(self, other: Tally) -> Tally:  # type: ignore[override]
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))

    def __sub__(self, other: Tally) -> Tally:
        return Tally(*(a - b for a, b in zip(self, other, strict=True)))
