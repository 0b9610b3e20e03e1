"""Where a condition over consecutive points begins and ends to hold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Transition(NamedTuple):
    # Index of the point that brought it about.
    at: int
    # It begins to hold, or it ends.
    begins: bool


def transitions(
    bad: NDArray[np.bool_], *, holds: bool, streak: int = 0, need: int = 1
) -> tuple[list[Transition], int]:
    """The transitions within `bad` (bool[n]: does a point meet the condition?), and how many
    points in a row meet it at the end.

    It begins to hold at the `need`-th such point in a row and ends with the first that
    doesn't meet it. `holds` and `streak` say how things stood before the first point.
    """
    found: list[Transition] = []
    if not len(bad):
        return found, streak
    edges = np.flatnonzero(bad[1:] != bad[:-1]) + 1
    starts = [0, *edges.tolist()]
    for start, end in zip(starts, [*starts[1:], len(bad)], strict=True):
        if bad[start]:
            if not holds and streak + end - start >= need:
                found.append(Transition(start + max(0, need - streak - 1), True))
                holds = True
            streak += end - start
        else:
            if holds:
                found.append(Transition(start, False))
                holds = False
            streak = 0
    return found, streak
