"""Reading live state back, as work for `naiad_state.State.read`. Every function returns what
there is; an empty mapping means that nothing is known here, not that there is nothing in the
store."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import cast

from redis.asyncio import Redis

from naiad_consumers.live.layout import (
    LatestValue,
    WriterSeen,
    unpack_values,
    unpack_writer,
    values_key,
    writers_key,
)


async def latest_values(redis: Redis, project: str, run_id: str) -> dict[str, LatestValue]:
    """The point with the highest step of each metric, by path."""
    packed = await cast("Awaitable[dict[bytes, bytes]]", redis.hgetall(values_key(project, run_id)))
    values = unpack_values(list(packed.values()))
    return {path.decode(): value for path, value in zip(packed, values, strict=True) if value}


async def last_seen(redis: Redis, project: str, run_id: str) -> dict[str, WriterSeen]:
    """When each writer of the run was last heard, by writer id."""
    packed = await cast(
        "Awaitable[dict[bytes, bytes]]", redis.hgetall(writers_key(project, run_id))
    )
    writers = {writer_id.decode(): unpack_writer(value) for writer_id, value in packed.items()}
    return {writer_id: seen for writer_id, seen in writers.items() if seen}
