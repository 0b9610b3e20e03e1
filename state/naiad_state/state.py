"""The connection to Redis, and what to do when Redis is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as NoAnswer

from naiad_state import metrics
from naiad_state.address import StateAddress
from naiad_state.breaker import Breaker

log = logging.getLogger(__name__)

# Seconds for a call, in all.
PATIENCE = 0.1

T = TypeVar("T")


class StateUnavailable(Exception):
    """Redis can't be asked now. Do without; nothing is lost by it."""


class State:
    """One Redis, for one event loop. It connects with the first call."""

    def __init__(self, address: StateAddress) -> None:
        self.named = address.named
        self._redis = Redis(connection_pool=address.pool())
        self._pool = self._redis.connection_pool
        # Apart, since a full Redis and a replica answer the one and refuse the other.
        self._reading, self._writing = Breaker(), Breaker()
        self._told = False

    @classmethod
    def open(cls, url: str) -> State:
        """Raises StateUrlError for a URL that can't be used. A Redis that isn't there is no
        error: it may come."""
        return cls(StateAddress.parse(url))

    @property
    def away(self) -> bool:
        """Whether Redis did not answer, or refused, when it was last asked."""
        return self._reading.open or self._writing.open

    async def read(
        self, work: Callable[[Redis], Awaitable[T]], *, patience: float | None = None
    ) -> T:
        """What `work` returns, given the client. Raises StateUnavailable: at once while Redis
        is away, else after `patience` (PATIENCE) seconds at the latest."""
        return await self._call(self._reading, work, patience)

    async def write(
        self, work: Callable[[Redis], Awaitable[T]], *, patience: float | None = None
    ) -> T:
        """The same for work that changes something in Redis."""
        return await self._call(self._writing, work, patience)

    async def close(self) -> None:
        """Idempotent."""
        await self._redis.aclose()
        # The client leaves open a pool that it didn't make.
        await self._pool.disconnect()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _call(
        self, breaker: Breaker, work: Callable[[Redis], Awaitable[T]], patience: float | None
    ) -> T:
        patience = PATIENCE if patience is None else patience
        if not breaker.admits():
            raise StateUnavailable(f"{self.named} is away")
        try:
            async with asyncio.timeout(patience):
                answer = await work(self._redis)
        except (RedisError, OSError) as error:
            breaker.failed(refused=not isinstance(error, TimeoutError | NoAnswer))
            self._failed(breaker, error, patience)
            raise StateUnavailable(f"{self.named}: {_reason(error, patience)}") from error
        except BaseException:
            breaker.gave_up()
            raise
        breaker.succeeded()
        if self._told and not self.away:
            self._told = False
            log.warning("%s is back", self.named)
        return answer

    def _failed(self, breaker: Breaker, error: Exception, patience: float) -> None:
        metrics.ERRORS.inc()
        reason = _reason(error, patience)
        if breaker.open and not self._told:
            self._told = True
            log.warning(
                "%s can't be used: %s. Data is taken and stored, and answers are right, as ever;"
                " until it is back limits hold for each process alone, nothing is cached and"
                " there is no live state",
                self.named,
                reason,
            )
        else:
            log.debug("%s: %s", self.named, reason)


def _reason(error: Exception, patience: float) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return f"no answer within {patience:g} s"
    return str(error).rstrip(".") or type(error).__name__
