"""Sets of record numbers as closed intervals: ascending, disjoint, not touching."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Intervals: TypeAlias = tuple[tuple[int, int], ...]


def merge(intervals: Iterable[tuple[int, int]]) -> Intervals:
    """The same set with what overlaps or touches made one."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def covers(intervals: Intervals, first: int, last: int) -> bool:
    """Does the set hold all of first..last?"""
    return any(begin <= first and last <= end for begin, end in intervals)


def inside(intervals: Intervals, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """bool[n]: which of `numbers` the set holds."""
    if not intervals:
        return np.zeros(len(numbers), np.bool_)
    begins = np.array([begin for begin, _ in intervals], np.uint64)
    ends = np.array([end for _, end in intervals], np.uint64)
    at = np.searchsorted(begins, numbers, side="right")
    held: npt.NDArray[np.bool_] = (at > 0) & (numbers <= ends[np.maximum(at, 1) - 1])
    return held
