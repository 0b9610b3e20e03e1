"""Steps as micro-steps: exact where they can be, refused where they can't."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad_proto.limits import MAX_STEP
from naiad_proto.steps import MAX_MICRO_STEP, MICRO, from_micro, to_micro

# Up to here a float still has six fractional digits.
EXACT = 2**33


@given(st.integers(0, EXACT * MICRO))
def test_micro_steps_come_back_through_a_float(micro: int) -> None:
    assert to_micro(from_micro(micro)) == micro


@given(st.integers(0, MAX_MICRO_STEP))
def test_a_decimal_with_six_digits_is_exact_over_the_whole_range(micro: int) -> None:
    assert to_micro(Decimal(micro) / MICRO) == micro  # type: ignore[arg-type]


@given(st.integers(0, MAX_STEP - 1))
def test_whole_steps_are_exact_as_int_and_as_float(step: int) -> None:
    assert to_micro(step) == step * MICRO == to_micro(float(step))


@given(st.floats(0, EXACT))
def test_rounding_goes_to_the_nearest(step: float) -> None:
    assert abs(Fraction(to_micro(step), MICRO) - Fraction(step)) <= Fraction(1, 2 * MICRO)


@given(*[st.floats(0, MAX_STEP, exclude_max=True)] * 2)
def test_order_is_kept(one: float, other: float) -> None:
    if one <= other:
        assert to_micro(one) <= to_micro(other)


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.float32, np.float64])
def test_numpy_scalars(kind: type) -> None:
    assert to_micro(kind(3)) == 3 * MICRO
    assert type(to_micro(kind(3))) is int


@pytest.mark.parametrize(
    "step",
    [
        -1,
        -0.5,
        MAX_STEP,
        float(MAX_STEP),
        MAX_STEP * 1.001,
        float("nan"),
        float("inf"),
        float("-inf"),
        10**400,
    ],
)
def test_what_is_no_step(step: float) -> None:
    with pytest.raises(ValueError, match="step"):
        to_micro(step)


@given(st.floats() | st.integers())
def test_any_number_is_in_range_or_refused(step: float) -> None:
    try:
        micro = to_micro(step)
    except ValueError:
        # Half a micro-step below zero is still zero.
        assert not -0.5 / MICRO < step < MAX_STEP
    else:
        assert 0 <= micro <= MAX_MICRO_STEP
