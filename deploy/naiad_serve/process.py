"""One process from its first line to its exit status."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import click

from naiad_serve.address import listening_socket
from naiad_serve.endpoint import endpoint
from naiad_serve.errors import StartError
from naiad_serve.httpserver import HttpServer
from naiad_serve.readiness import Readiness
from naiad_serve.signals import stop_on_signals
from naiad_serve.stages import Common

log = logging.getLogger(__name__)

STARTING = "start"
# Beyond what calls under way get, for what is closed after them, in seconds.
_BEYOND_DRAIN_SECONDS = 3.0

T = TypeVar("T")


class Stopped(Exception):
    """The process was asked to end while it waited."""


class Process:
    """What a stage is given: when to stop, whom to tell how it is, and what to end with it."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.readiness = Readiness()
        # Ended in reverse order, as things need each other.
        self.ending = contextlib.AsyncExitStack()

    async def unless_stopped(self, work: Awaitable[T]) -> T:
        """The result of `work`; raises Stopped, and cancels it, when asked to end before."""
        working = asyncio.ensure_future(work)
        stopped = asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise Stopped
            return await working
        finally:
            stopped.cancel()
            if not working.done():
                working.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await working

    async def work(self, what: str) -> None:
        """Everything has been started: returns when the process is to stop."""
        self.readiness.has(STARTING)
        log.info("started: %s", what)
        await self.stop.wait()

    def watch(self, name: str, watching: Coroutine[Any, Any, None]) -> None:
        """Runs it beside the stage, and ends it before what was opened until now."""
        task = asyncio.create_task(watching, name=f"watch {name}")

        async def end() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        self.ending.push_async_callback(end)


# Runs until the process is to stop; what it opens is ended with the process.
Stage = Callable[[Process], Awaitable[None]]


def run(name: str, settings: Common, stage: Stage) -> int:
    """Serves until a signal; returns the exit status: 0 drained, 1 it can't work or could not
    drain. A second signal ends the process at once, by 128 and its number."""
    try:
        return asyncio.run(_run(name, settings, stage))
    except StartError as error:
        click.echo(f"naiad serve {name}: {error}", err=True)
        return 1


async def _give_up(name: str, process: Process, seconds: float) -> None:
    """Ends a process whose drain hangs, by an engine that doesn't answer perhaps."""
    await process.stop.wait()
    await asyncio.sleep(seconds)
    log.error(
        "naiad serve %s could not finish within %g s of the signal and ends; what it had not"
        " committed is done again from the event log",
        name,
        seconds,
    )
    logging.shutdown()
    # Threads that wait for an engine would hold up any other end.
    os._exit(1)


async def _run(name: str, settings: Common, stage: Stage) -> int:
    process = Process()
    stop_on_signals(process.stop)
    process.readiness.lacks(STARTING, "it is starting")
    listening = listening_socket(
        settings.metrics_listen,
        host_option="NAIAD_METRICS_LISTEN",
        port_option="NAIAD_METRICS_LISTEN",
    )
    http = HttpServer(endpoint(process.readiness), listening)
    await http.start()
    limit = settings.drain_limit + _BEYOND_DRAIN_SECONDS
    giving_up = asyncio.create_task(_give_up(name, process, limit))
    try:
        log.info("naiad serve %s starts; health and metrics on port %d", name, http.port)
        async with process.ending:
            with contextlib.suppress(Stopped):
                await stage(process)
            process.readiness.drain()
            log.info("naiad serve %s drains", name)
    finally:
        giving_up.cancel()
        await http.stop()
    log.info("naiad serve %s has ended", name)
    return 0
