"""Keeps a consumer running: what ends by an error is started again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from naiad_consumers.metrics import RESTARTS
from naiad_serve.readiness import Readiness

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 30.0


class Consumer(Protocol):
    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set; drains and commits before it returns."""


async def keep_running(
    name: str,
    make: Callable[[], Consumer],
    stop: asyncio.Event,
    readiness: Readiness | None = None,
) -> None:
    """Runs the consumer that `make` gives until `stop`, anew after every error; `readiness`
    is told while it pauses.

    A fresh one each time, because offsets are committed after the work: what the last one
    had not finished comes again from the log.
    """
    loop = asyncio.get_running_loop()
    RESTARTS.labels(name)
    pause = 0.5
    while not stop.is_set():
        began = loop.time()
        reason = "it ended by itself"
        try:
            await make().run(stop)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
                raise
            # Else nobody asked us to end: a library let the end of a task of its own out, and
            # the consumer would be gone without a word.
            pause = 0.5 if loop.time() - began > 60 else min(pause * 2, _LONGEST_PAUSE)
            why = str(error) or repr(error)
            reason = f"it stopped: {why}"
            RESTARTS.labels(name).inc()
            # With the traceback: an operator's only view of what went wrong.
            log.exception("the %s stopped: %s; it starts again in %.0f s", name, why, pause)
        else:
            if stop.is_set():
                return
            log.warning("the %s ended by itself; it starts again in %.1f s", name, pause)
        if readiness:
            readiness.lacks(name, reason)
        try:
            await asyncio.wait_for(stop.wait(), pause)
        except TimeoutError:
            if readiness:
                readiness.has(name)
