"""Arguments that several questions have, checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from naiad.exceptions import NaiadValueError
from naiad.query.exceptions import WrongArgumentType
from naiad.settings import default_project
from naiad_proto.limits import MAX_STEP
from naiad_proto.steps import MAX_MICRO_STEP, to_micro

Steps = tuple[float | None, float | None]


def project_of(given: str | None) -> str:
    project = default_project(given)
    if project is None:
        raise NaiadValueError(
            "no project is given: pass project='workspace/name' or set NAIAD_PROJECT"
        )
    return project


def range_of(name: str, given: Steps) -> Steps:
    try:
        begin, end = given
        numbers = [float(number) for number in (begin, end) if number is not None]
    except (TypeError, ValueError):
        raise NaiadValueError(
            f"{name} is {given!r}; give two numbers, (first, last), with None for an open end"
        ) from None
    if any(math.isnan(number) for number in numbers) or numbers != sorted(numbers):
        raise NaiadValueError(f"{name} is {given!r}; its first number is not up to its last")
    # An infinite end is an open one.
    return (
        None if begin is None or begin == -math.inf else begin,
        None if end is None or end == math.inf else end,
    )


def micro_range(steps: Steps) -> tuple[int | None, int | None]:
    begin, end = range_of("step_range", steps)
    return (
        None if begin is None else _micro_step(begin),
        None if end is None else _micro_step(end),
    )


def _micro_step(step: float) -> int:
    """What lies beyond all steps stays there."""
    return -1 if step < 0 else MAX_MICRO_STEP + 1 if step >= MAX_STEP else to_micro(step)


def count_of(name: str, given: int | None) -> int:
    """0 for None."""
    if given is None:
        return 0
    if isinstance(given, bool) or not isinstance(given, int | np.integer):
        raise WrongArgumentType(f"{name} is {given!r}; give a whole number, or None")
    if given < 1:
        raise NaiadValueError(f"{name} is {given}; give a number of at least 1, or None")
    return int(given)


def check_among(name: str, given: Any, there: tuple[str, ...] | None, more: str = "") -> None:
    if there is not None and given not in there:
        named = ", ".join(map(repr, there))
        raise NaiadValueError(f"{name} is {given!r}; it is one of {named}{more}")


def with_time(given: str | None) -> bool:
    if given not in (None, "absolute"):
        raise NaiadValueError(f"include_time is {given!r}; it is 'absolute' or None")
    return given is not None
