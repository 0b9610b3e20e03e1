"""Steps are decimals with six fractional digits, carried as a signed 64-bit count of
micro-steps: step 1.5 is 1_500_000. So they order, compare and nest exactly."""

from __future__ import annotations

import math

from naiad_proto.limits import MAX_STEP

MICRO = 1_000_000
# 999,999,999,999.999999
MAX_MICRO_STEP = MAX_STEP * MICRO - 1


def to_micro(step: float | int) -> int:
    """`step` as micro-steps, rounded to the nearest.

    Raises ValueError, with a sentence for the user, when it is negative, not finite, or
    MAX_STEP and above.
    """
    if type(step) is int:
        micro = step * MICRO
    else:
        if not math.isfinite(step):
            raise ValueError(f"step {step} is not a finite number")
        # Beyond 2**53 micro-steps a float has no six fractional digits left to round.
        whole, fraction = divmod(step, 1)
        micro = int(whole) * MICRO + round(float(fraction) * MICRO)
    if not 0 <= micro <= MAX_MICRO_STEP:
        raise ValueError(f"step {step} is out of range; steps go from 0 to below {MAX_STEP:.0e}")
    return micro


def from_micro(micro: int) -> float:
    """Micro-steps as the float that users see."""
    return micro / MICRO
