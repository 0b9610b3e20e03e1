"""Where a condition begins and ends, against the obvious loop."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from naiad_consumers.alerter.transitions import Transition, transitions


def obvious(
    bad: list[bool], holds: bool, streak: int, need: int
) -> tuple[list[Transition], int, bool]:
    found = []
    for at, met in enumerate(bad):
        streak = streak + 1 if met else 0
        if met and not holds and streak >= need:
            holds = True
            found.append(Transition(at, True))
        elif not met and holds:
            holds = False
            found.append(Transition(at, False))
    return found, streak, holds


@given(
    st.lists(st.booleans(), max_size=60),
    st.booleans(),
    st.integers(0, 8),
    st.integers(1, 6),
)
def test_equals_the_obvious_loop(bad: list[bool], holds: bool, streak: int, need: int) -> None:
    found, length = transitions(np.array(bad, bool), holds=holds, streak=streak, need=need)
    assert (found, length) == obvious(bad, holds, streak, need)[:2]


@given(st.lists(st.booleans(), max_size=60), st.lists(st.integers(0, 60)), st.integers(1, 6))
def test_cutting_the_points_elsewhere_changes_nothing(
    bad: list[bool], cuts: list[int], need: int
) -> None:
    edges = sorted({0, len(bad), *(cut for cut in cuts if cut < len(bad))})
    found: list[Transition] = []
    holds, streak = False, 0
    for start, end in itertools.pairwise(edges):
        part, streak = transitions(
            np.array(bad[start:end], bool), holds=holds, streak=streak, need=need
        )
        found += [Transition(start + at, begins) for at, begins in part]
        if part:
            holds = part[-1].begins
    assert (found, streak) == obvious(bad, False, 0, need)[:2]
