"""Shared state that may be lost: limits and cached answers in Redis or Valkey.

Enter: a URL, rules of how much may be sent, answers that took time to make. Leave: "wait for so
many seconds", and the same answers, to every process that shares the Redis.

Promised:
- Nothing here is the only copy. A Redis that is away, full, slow or empty costs speed, and
  limits that hold per process instead of for all of them; never data, and no answer changes.
- Nobody waits for it: a call takes a tenth of a second at the most, and while Redis is known
  to be away it takes none. One warning per outage says so.
- A wrong URL or rule is refused at the start, by name; no message holds a password.

    address  what a URL says      breaker   when not to ask
    state    the connection       limits    rules of how much may be sent
    cache    answers kept         buckets   how much is left, here and shared
    throttle the rules applied
"""

from naiad_state.address import StateAddress, StateUrlError
from naiad_state.cache import Cache
from naiad_state.limits import Cost, Limits, LimitsError, Rates
from naiad_state.state import State, StateUnavailable
from naiad_state.throttle import Excess, Throttle

__all__ = [
    "Cache",
    "Cost",
    "Excess",
    "Limits",
    "LimitsError",
    "Rates",
    "State",
    "StateAddress",
    "StateUnavailable",
    "StateUrlError",
    "Throttle",
]
