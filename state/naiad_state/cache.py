"""Answers kept for those who ask the same again."""

from __future__ import annotations

import hashlib

from redis.asyncio import Redis

from naiad_state.state import State, StateUnavailable

# Of one answer. A larger one would push out many, and take long to fetch.
MAX_BYTES = 4 * 1024 * 1024
# Seconds. What an answer stood on is part of its key, so this only bounds what is kept.
EXPIRY_SECONDS = 60


class Cache:
    """Bytes under a key made of all that they depend on. Never raises for a Redis that is away."""

    def __init__(
        self, state: State, *, max_bytes: int = MAX_BYTES, expiry: float = EXPIRY_SECONDS
    ) -> None:
        self._state = state
        self.max_bytes = max_bytes
        self._expiry = expiry

    async def get(self, *key: bytes, oldness: float = 0.0) -> bytes | None:
        """None for what isn't there or not for `oldness` seconds yet, and while Redis is away."""
        name = _name(key)

        async def work(redis: Redis) -> tuple[bytes | None, int]:
            async with redis.pipeline(transaction=False) as pipeline:
                pipeline.get(name)
                pipeline.pttl(name)
                content, left = await pipeline.execute()
            return content, left

        try:
            content, left = await self._state.read(work)
        except StateUnavailable:
            return None
        return content if self._expiry - left / 1000 >= oldness else None

    async def put(self, content: bytes, *key: bytes) -> None:
        """Keeps nothing that is too large, and what is there already as it is."""
        if len(content) > self.max_bytes:
            return
        name, expiry = _name(key), int(self._expiry * 1000)
        try:
            await self._state.write(lambda redis: redis.set(name, content, px=expiry, nx=True))
        except StateUnavailable:
            return


def _name(key: tuple[bytes, ...]) -> str:
    digest = hashlib.sha256()
    for part in key:
        # With their lengths: the parts must not run into each other.
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return f"naiad:answer:{digest.hexdigest()}"
