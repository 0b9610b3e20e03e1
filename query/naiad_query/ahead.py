"""What a thread makes, handed on while more of it is made."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")

# Pieces that are made before the first of them is taken.
AHEAD = 8


async def ahead(make: Callable[[], Iterator[T]], threads: Executor) -> AsyncGenerator[T]:
    """The pieces of `make()`, which is called and read in `threads`, a piece at a time, with the
    context of the caller. Up to `AHEAD` of them wait for whoever takes them: the store goes on
    while what it said is on its way. Raises what making them raises, behind what was made before.

    Close it when no more is wanted: the piece that is being made is waited for, then the iterator
    is closed, in a thread too.
    """
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    made: asyncio.Queue[T | _End] = asyncio.Queue(AHEAD)
    pieces: Iterator[T] | None = None

    def step() -> T | _End:
        nonlocal pieces
        pieces = pieces or make()
        return next(pieces, _End(None))

    async def next_piece() -> T | _End:
        try:
            under_way = loop.run_in_executor(threads, context.run, step)
            try:
                return await asyncio.shield(under_way)
            except asyncio.CancelledError:
                # A thread can't be stopped, nor an iterator be closed below its reader.
                await asyncio.wait([under_way])
                raise
        except Exception as error:
            return _End(error)

    async def go_on() -> None:
        piece: T | _End | None = None
        while not isinstance(piece, _End):
            piece = await next_piece()
            await made.put(piece)

    going_on = asyncio.create_task(go_on())
    try:
        while not isinstance(piece := await made.get(), _End):
            yield piece
        if piece.error is not None:
            raise piece.error
    finally:
        going_on.cancel()
        await asyncio.wait([going_on])
        if pieces is not None:
            # Ends the store's question when the caller has gone.
            await loop.run_in_executor(threads, context.run, getattr(pieces, "close", _nothing))


class _End:
    def __init__(self, error: Exception | None) -> None:
        self.error = error


def _nothing() -> None: ...
