"""Which point of each path and step has to be the one that is stored."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]
Int64Array = npt.NDArray[np.int64]

_WORD = 1 << 64


class Points(NamedTuple):
    """Of one path: ascending micro-steps, each once, with the version in two words."""

    steps: Int64Array
    high: UInt64Array
    low: UInt64Array

    def sums(self) -> tuple[int, int, int, int]:
        """The number of points, and sums of the columns that wrap at 64 bits: what a store
        can say of its own without handing out rows."""
        return (
            len(self.steps),
            int(np.add.reduce(self.steps.view(np.uint64), dtype=np.uint64)) % _WORD,
            int(np.add.reduce(self.high, dtype=np.uint64)) % _WORD,
            int(np.add.reduce(self.low, dtype=np.uint64)) % _WORD,
        )


class PointLog:
    """Points of one run as they came, by table and path."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[str, str], list[tuple[Int64Array, int, UInt64Array]]] = {}
        # Metrics that are logged together share their arrays, and so what is made of them.
        self._made: dict[tuple[tuple[int, int, int], ...], Points] = {}

    def add(self, table: str, path: str, steps: Int64Array, high: int, low: UInt64Array) -> None:
        if len(steps):
            self._pieces.setdefault((table, path), []).append((steps, high, low))

    def paths(self, table: str) -> list[str]:
        return [path for of_table, path in self._pieces if of_table == table]

    def accepted(self) -> int:
        """Points as they came, also those that others replace."""
        return sum(len(steps) for pieces in self._pieces.values() for steps, _, _ in pieces)

    def winners(self, table: str, path: str) -> Points:
        """Of each step the one with the highest version."""
        pieces = self._pieces.get((table, path), [])
        key = tuple((id(steps), high, id(low)) for steps, high, low in pieces)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = _winners(pieces)
        return found


def _winners(pieces: list[tuple[Int64Array, int, UInt64Array]]) -> Points:
    if not pieces:
        return Points(np.empty(0, np.int64), np.empty(0, np.uint64), np.empty(0, np.uint64))
    steps = np.concatenate([steps for steps, _, _ in pieces])
    high = np.concatenate([np.full(len(steps), high, np.uint64) for steps, high, _ in pieces])
    low = np.concatenate([low for _, _, low in pieces])
    order = np.lexsort((low, high, steps))
    steps, high, low = steps[order], high[order], low[order]
    last = np.append(steps[1:] != steps[:-1], True)
    return Points(steps[last], high[last], low[last])
