"""Pieces are made ahead of who takes them, in order, within bounds, and no further than wanted."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support_naiad import LONGER

from naiad_query.ahead import AHEAD, ahead

PATIENCE = 10 * LONGER


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as found:
        yield found


async def test_all_of_it_in_order(threads: ThreadPoolExecutor) -> None:
    found = [piece async for piece in ahead(lambda: iter(range(100)), threads)]
    assert found == list(range(100))
    nothing: list[int] = []
    assert [piece async for piece in ahead(lambda: iter(nothing), threads)] == []


async def test_an_error_comes_behind_what_was_made(threads: ThreadPoolExecutor) -> None:
    def pieces() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("no third one")

    found = ahead(pieces, threads)
    assert [await anext(found), await anext(found)] == [1, 2]
    with pytest.raises(ValueError, match="no third one"):
        await anext(found)


async def test_what_fails_to_begin_says_so(threads: ThreadPoolExecutor) -> None:
    def pieces() -> Iterator[int]:
        raise ValueError("it can't begin")

    with pytest.raises(ValueError, match="can't begin"):
        await anext(ahead(pieces, threads))
    threads.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        await anext(ahead(lambda: iter([1]), threads))


async def test_only_so_many_are_made_ahead(threads: ThreadPoolExecutor) -> None:
    made: list[int] = []
    enough = threading.Event()

    def pieces() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == AHEAD + 1:
                enough.set()
            yield number

    async with contextlib.aclosing(ahead(pieces, threads)) as found:
        assert await anext(found) == 0
        # Beside the one that is taken: those that wait, and one in the hand.
        assert await asyncio.to_thread(enough.wait, PATIENCE)
        await asyncio.sleep(0)
        assert made == list(range(AHEAD + 2))
        assert [await anext(found) for _ in range(99)] == list(range(1, 100))


async def test_closing_waits_for_the_piece_that_is_being_made(threads: ThreadPoolExecutor) -> None:
    begun, go_on = threading.Event(), threading.Event()
    ended: list[str] = []

    def pieces() -> Iterator[int]:
        try:
            yield 1
            begun.set()
            assert go_on.wait(PATIENCE)
            ended.append("made")
            yield 2
        finally:
            ended.append("closed")

    found = ahead(pieces, threads)
    assert await anext(found) == 1
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    closing = asyncio.create_task(found.aclose())
    await asyncio.sleep(0)
    assert ended == []
    go_on.set()
    await closing
    assert ended == ["made", "closed"]


async def test_each_piece_is_made_in_the_callers_context(threads: ThreadPoolExecutor) -> None:
    who = contextvars.ContextVar[str]("who")
    who.set("ada")

    def pieces() -> Iterator[str]:
        yield who.get()
        yield who.get()

    assert [piece async for piece in ahead(pieces, threads)] == ["ada", "ada"]
