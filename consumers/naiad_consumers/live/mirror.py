"""The copy in Redis, and what to do when Redis is away."""

from __future__ import annotations

import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

import numpy as np
from redis.asyncio import Redis
from redis.exceptions import RedisError

from naiad_consumers.live.gathering import News, RunName, newest_writer
from naiad_consumers.live.layout import (
    EXPIRY_SECONDS,
    MAX_PATHS,
    LatestValue,
    WriterSeen,
    pack_values,
    pack_writer,
    values_key,
    writers_key,
)
from naiad_consumers.live.reading import last_seen, latest_values

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
# Runs of which it is remembered what stands in Redis; others are read from there first.
_MAX_RUNS = 1_000

# What redis-py's signatures take as a field and as its content.
_Text = bytes | bytearray | memoryview | str | int | float


class _Held:
    """What stands in Redis of one run: the step of each path, and the writers."""

    __slots__ = ("steps", "writers")

    def __init__(self, steps: dict[str, int], writers: dict[str, WriterSeen]) -> None:
        self.steps = steps
        self.writers = writers


class Mirror:
    """Writes news to Redis while it is there and drops them while it isn't."""

    def __init__(self, redis: Redis, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._monotonic = monotonic
        self._held: OrderedDict[RunName, _Held] = OrderedDict()
        self._pause = 0.0
        self._try_at = 0.0

    @property
    def away(self) -> bool:
        return self._pause > 0

    async def write(self, news: Mapping[RunName, News]) -> None:
        """Never raises for a Redis that is away, full or slow: it says so once in the log
        and tries again with the first news after a pause."""
        if self.away and self._monotonic() < self._try_at:
            return
        try:
            for run, of_run in news.items():
                await self._write_run(run, of_run)
        except (RedisError, OSError) as error:
            self._lost(error)
        else:
            if self.away:
                log.warning("Redis is back; live state fills again from what runs log now")
                self._pause = 0.0

    def _lost(self, error: Exception) -> None:
        if not self.away:
            log.warning(
                "Redis is away, so there is no live state; data is taken and stored as ever: %s",
                error,
            )
        # It may come back empty.
        self._held.clear()
        self._pause = min(max(self._pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        self._try_at = self._monotonic() + self._pause * random.uniform(0.5, 1.0)

    async def _write_run(self, run: RunName, news: News) -> None:
        held = await self._what_is_held(run)
        values = {
            path: value
            for path, value in news.values.items()
            if path not in held.steps or value.step >= held.steps[path]
        }
        room = MAX_PATHS - len(held.steps)
        added = [path for path in values if path not in held.steps]
        for path in added[room:] if room > 0 else added:
            del values[path]
        writers = {
            writer_id: newest_writer(held.writers.get(writer_id), seen)
            for writer_id, seen in news.writers.items()
        }
        async with self._redis.pipeline(transaction=False) as pipeline:
            if values:
                key = values_key(*run)
                pipeline.hset(key, mapping=_fields(values))
                pipeline.expire(key, EXPIRY_SECONDS)
            if writers:
                seen: dict[_Text, _Text] = {w: pack_writer(s) for w, s in writers.items()}
                key = writers_key(*run)
                pipeline.hset(key, mapping=seen)
                pipeline.expire(key, EXPIRY_SECONDS)
            await pipeline.execute()
        held.steps.update((path, value.step) for path, value in values.items())
        held.writers.update(writers)

    async def _what_is_held(self, run: RunName) -> _Held:
        held = self._held.get(run)
        if held is None:
            values = await latest_values(self._redis, *run)
            held = _Held(
                {path: value.step for path, value in values.items()},
                await last_seen(self._redis, *run),
            )
            self._held[run] = held
            if len(self._held) > _MAX_RUNS:
                self._held.popitem(last=False)
        self._held.move_to_end(run)
        return held


def _fields(values: Mapping[str, LatestValue]) -> dict[_Text, _Text]:
    packed = pack_values(
        np.array([value.step for value in values.values()], np.int64),
        np.array([value.timestamp for value in values.values()], np.int64),
        np.array([value.value for value in values.values()], np.float64),
    )
    return dict(zip(values, packed, strict=True))
