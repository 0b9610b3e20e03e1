"""Token buckets: how much of each allowance is left, in this process and shared.

A bucket fills at its rate up to its capacity. What is sent is let through while every bucket
it takes from holds anything at all, and is then taken from all of them, into debt if need be:
a batch larger than a bucket is not barred for ever, nor are large ones by small ones that come
in between, and over time the rate is exact. What is not let through takes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis

from naiad_state.limits import Allowance
from naiad_state.state import State, StateUnavailable

# Buckets remembered here; the ones used longest ago are full again, or nearly.
_MOST_BUCKETS = 10_000
# Requests that go to Redis together.
_MOST_TOGETHER = 200


class Demand(NamedTuple):
    allowance: Allowance
    amount: float


class Wait(NamedTuple):
    """Nothing was taken: this allowance has the most to make up for, in so many seconds."""

    allowance: Allowance
    seconds: float


class OwnBuckets:
    """Buckets of this process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        # Key -> (left, when).
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, demands: Sequence[Demand], *, whatever: bool = False) -> Wait | None:
        """`whatever`: it was let through by others, so takes in any case."""
        now = self._monotonic()
        worst: Wait | None = None
        left: list[float] = []
        for allowance, _ in demands:
            has = allowance.capacity
            if allowance.key in self._buckets:
                then, at = self._buckets[allowance.key]
                has = min(has, then + (now - at) * allowance.rate)
            left.append(has)
            if has <= 0 and (worst is None or -has / allowance.rate > worst.seconds):
                worst = Wait(allowance, -has / allowance.rate)
        if worst and not whatever:
            return worst
        for (allowance, amount), has in zip(demands, left, strict=True):
            self._buckets[allowance.key] = (has - amount, now)
            self._buckets.move_to_end(allowance.key)
        while len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return None


# One call, so no other process comes in between; by Redis' own clock, since those of hosts
# differ. Of each key: rate, capacity, amount. Returns which key is worst (0: all was taken) and
# the seconds to wait. The time is written each time: a clock that was set back counts on from
# there. A bucket that is full again need not be remembered.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local worst, wait = 0, 0
local left = {}
for i, key in ipairs(KEYS) do
  local rate, capacity = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
  local kept = redis.call('HMGET', key, 'left', 'at')
  left[i] = capacity
  if kept[1] and kept[2] then
    left[i] = math.min(capacity, kept[1] + math.max(0, now - kept[2]) * rate / 1000000)
  end
  if left[i] <= 0 and (worst == 0 or -left[i] / rate > wait) then
    worst, wait = i, -left[i] / rate
  end
end
for i, key in ipairs(KEYS) do
  local rate, capacity = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
  if worst == 0 then
    left[i] = left[i] - ARGV[3 * i]
  end
  redis.call('HSET', key, 'left', left[i], 'at', now)
  local full_in = math.ceil((capacity - left[i]) / rate * 1000)
  redis.call('PEXPIRE', key, math.min(full_in + 1000, 1e11))
end
return {worst, tostring(wait)}
"""


class SharedBuckets:
    """Buckets in Redis, of all processes that share it.

    What is asked while a request is under way goes to Redis together after it: with many
    small batches a request for each would cost more than all the rest of ingest.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._asked: list[tuple[Sequence[Demand], asyncio.Future[Wait | bool]]] = []
        self._sending: asyncio.Task[None] | None = None

    async def take(self, demands: Sequence[Demand]) -> Wait | None:
        """Raises StateUnavailable."""
        answer: asyncio.Future[Wait | bool] = asyncio.get_running_loop().create_future()
        self._asked.append((demands, answer))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send(), name="take from shared limits")
        found = await answer
        if found is False:
            raise StateUnavailable("the shared limits can't be asked")
        return found if isinstance(found, Wait) else None

    async def close(self) -> None:
        """Who still waits hears that the limits can't be asked."""
        if self._sending:
            self._sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sending
        for _, answer in self._asked:
            if not answer.done():
                answer.set_result(False)
        self._asked.clear()

    async def _send(self) -> None:
        while self._asked:
            asked, self._asked = self._asked[:_MOST_TOGETHER], self._asked[_MOST_TOGETHER:]
            found: list[Wait | bool] = [False] * len(asked)
            try:
                found = await self._state.write(functools.partial(_ask, asked))
            except StateUnavailable:
                pass
            finally:
                # Also when this is cancelled: nobody may wait for ever.
                for (_, answer), one in zip(asked, found, strict=True):
                    if not answer.done():
                        answer.set_result(one)


async def _ask(asked: Sequence[tuple[Sequence[Demand], Any]], redis: Redis) -> list[Wait | bool]:
    """Of each either how long to wait, or that it was taken."""
    async with redis.pipeline(transaction=False) as pipeline:
        for demands, _ in asked:
            keys = [demand.allowance.key for demand in demands]
            numbers = [
                repr(float(number))
                for (allowance, amount) in demands
                for number in (allowance.rate, allowance.capacity, amount)
            ]
            # The whole script each time: it is short, and a Redis that was restarted knows none.
            pipeline.eval(_TAKE, len(keys), *keys, *numbers)
        answers = await pipeline.execute()
    return [
        Wait(demands[worst - 1].allowance, float(seconds)) if worst else True
        for (demands, _), (worst, seconds) in zip(asked, answers, strict=True)
    ]
