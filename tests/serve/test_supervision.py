"""A consumer that ends is made anew, however it ended."""

from __future__ import annotations

import asyncio

import pytest
from support_naiad import LONGER

from naiad_serve.supervision import keep_running


class Ending:
    """Ends by `error` at first, and then works until it is told to stop."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.lives = 0
        self.working = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        self.lives += 1
        if self.lives == 1:
            raise self.error
        self.working.set()
        await stop.wait()


@pytest.mark.parametrize("error", [OSError("broken"), asyncio.CancelledError()])
async def test_it_is_made_anew(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """Also after a CancelledError of nobody's: a library's own, of a task of its own."""
    consumer, stop = Ending(error), asyncio.Event()
    running = asyncio.create_task(keep_running("consumer", lambda: consumer, stop))
    async with asyncio.timeout(20 * LONGER):
        await consumer.working.wait()
        stop.set()
        await running
    assert consumer.lives == 2
    assert "the consumer stopped: " in caplog.text
    assert "it starts again" in caplog.text


async def test_who_cancels_it_means_it() -> None:
    consumer, stop = Ending(OSError("broken")), asyncio.Event()
    consumer.lives = 1
    running = asyncio.create_task(keep_running("consumer", lambda: consumer, stop))
    async with asyncio.timeout(20 * LONGER):
        await consumer.working.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert consumer.lives == 2
