"""The rules applied: may this be sent now, and if not, when."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from naiad_state.buckets import Demand, OwnBuckets, SharedBuckets, Wait
from naiad_state.limits import Cost, Limits
from naiad_state.state import State, StateUnavailable

# Seconds. A shorter wait costs more than it gains; in a longer one a sender seems dead.
_SHORTEST_WAIT = 0.02
_LONGEST_WAIT = 10.0


class Excess(NamedTuple):
    """More than is allowed: send it again after `wait` seconds. `reason` is for people."""

    wait: float
    reason: str


class Throttle:
    """Applies `limits`: across all processes that share `state`, or, without one or while it is
    away, for this process alone. Never raises for a Redis that is away."""

    def __init__(
        self,
        limits: Limits,
        state: State | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._own = OwnBuckets(monotonic)
        self._shared = SharedBuckets(state) if state else None

    async def take(self, project: str, token: str, cost: Cost) -> Excess | None:
        """Takes `cost` from every limit that holds, or nothing and says how long to wait."""
        demands = [
            Demand(allowance, getattr(cost, allowance.unit))
            for allowance in self._limits.of(project, token)
        ]
        if not demands:
            return None
        if self._shared is None:
            return _told(self._own.take(demands))
        try:
            wait = await self._shared.take(demands)
        except StateUnavailable:
            return _told(self._own.take(demands))
        if wait is None:
            # So that an outage doesn't begin with full buckets.
            self._own.take(demands, whatever=True)
        return _told(wait)

    async def close(self) -> None:
        """Leaves `state` open, which is its maker's."""
        if self._shared:
            await self._shared.close()


def _told(wait: Wait | None) -> Excess | None:
    if wait is None:
        return None
    seconds = min(max(wait.seconds, _SHORTEST_WAIT), _LONGEST_WAIT)
    return Excess(seconds, f"{wait.allowance}, and more has come; send it again in {seconds:.2f} s")
