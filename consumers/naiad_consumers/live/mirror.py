"""The copy in Redis, and what to do when Redis is away."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import cast

import numpy as np
from redis.asyncio import Redis

from naiad_consumers.live.gathering import News, Part, RunName, newer_value, newest_writer
from naiad_consumers.live.layout import (
    EXPIRY_SECONDS,
    LIVES_EXPIRY_SECONDS,
    MAX_PATHS,
    LatestValue,
    WriterSeen,
    lives_key,
    pack_values,
    pack_writer,
    values_key,
    writers_key,
)
from naiad_consumers.live.past import Past
from naiad_consumers.live.reading import last_seen, latest_values
from naiad_state import State, StateUnavailable

# Seconds for one run. Nobody waits for this, and a run may have thousands of metrics.
_PATIENCE = 2.0
# Runs of which it is remembered what stands in Redis; others are read from there first.
_MAX_RUNS = 1_000

# What redis-py's signatures take as a field and as its content.
_Text = bytes | bytearray | memoryview | str | int | float


class _Held:
    """What stands in Redis of one run: the step of each path, the writers, and its lives."""

    __slots__ = ("past", "steps", "writers")

    def __init__(self, steps: dict[str, int], writers: dict[str, WriterSeen], past: Past) -> None:
        self.steps = steps
        self.writers = writers
        self.past = past


class Mirror:
    """Writes news to Redis while it is there."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._held: OrderedDict[RunName, _Held] = OrderedDict()

    async def write(self, news: Mapping[RunName, News]) -> dict[RunName, News]:
        """Returns what could not be written, because Redis is away, full or slow."""
        rest = dict(news)
        try:
            for run, of_run in news.items():
                await self._state.write(
                    functools.partial(self._write_run, run, of_run), patience=_PATIENCE
                )
                del rest[run]
        except StateUnavailable:
            # It may come back empty.
            self.forget()
        return rest

    def forget(self) -> None:
        """What stands in Redis may have changed: it is read again where it counts."""
        self._held.clear()

    async def _write_run(self, run: RunName, news: News, redis: Redis) -> None:
        held = await self._what_is_held(run, redis)
        past = held.past.copy()
        for change in news.changes:
            past.apply(change, held.writers)
        if past:
            past.heard(news.parts)
        over = past.lives.current != held.past.lives.current
        steps, writers_before = ({}, {}) if over else (held.steps, held.writers)
        came = _merged(part for epoch, part in news.parts.items() if past.counts(epoch))
        values = {
            path: value
            for path, value in came.values.items()
            if path not in steps or value.step >= steps[path]
        }
        room = MAX_PATHS - len(steps)
        added = [path for path in values if path not in steps]
        for path in added[room:] if room > 0 else added:
            del values[path]
        writers = {
            writer_id: newest_writer(writers_before.get(writer_id), seen)
            for writer_id, seen in came.writers.items()
        }
        async with redis.pipeline(transaction=False) as pipeline:
            if over:
                # First: who comes again after half of this does it again.
                pipeline.delete(values_key(*run), writers_key(*run))
            if past:
                pipeline.set(lives_key(*run), past.packed(), ex=LIVES_EXPIRY_SECONDS)
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
        self._held[run] = _Held(
            {**steps, **{path: value.step for path, value in values.items()}},
            {**writers_before, **writers},
            past,
        )

    async def _what_is_held(self, run: RunName, redis: Redis) -> _Held:
        held = self._held.get(run)
        if held is None:
            values = await latest_values(redis, *run)
            held = _Held(
                {path: value.step for path, value in values.items()},
                await last_seen(redis, *run),
                Past.of(*run, cast("bytes | None", await redis.get(lives_key(*run)))),
            )
            self._held[run] = held
            if len(self._held) > _MAX_RUNS:
                self._held.popitem(last=False)
        self._held.move_to_end(run)
        return held


def _merged(parts: Iterable[Part]) -> Part:
    """The newest of all."""
    found = Part()
    for part in parts:
        for path, value in part.values.items():
            if newer_value(found.values.get(path), value):
                found.values[path] = value
        for writer_id, seen in part.writers.items():
            found.writers[writer_id] = newest_writer(found.writers.get(writer_id), seen)
    return found


def _fields(values: Mapping[str, LatestValue]) -> dict[_Text, _Text]:
    packed = pack_values(
        np.array([value.step for value in values.values()], np.int64),
        np.array([value.timestamp for value in values.values()], np.int64),
        np.array([value.value for value in values.values()], np.float64),
    )
    return dict(zip(values, packed, strict=True))
