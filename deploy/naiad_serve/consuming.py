"""The stages that read the log, each as a process: writer, live, alerter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from naiad_consumers import AlertConfig, Alerter, Live, Writer
from naiad_consumers.alerter.alerter import GROUP as ALERTER_GROUP
from naiad_consumers.live.live import GROUP as LIVE_GROUP
from naiad_consumers.writer import GROUP as WRITER_GROUP
from naiad_serve import engines
from naiad_serve.logwatch import watch_log
from naiad_serve.process import Process
from naiad_serve.stages import AlerterSettings, LiveSettings, WriterSettings
from naiad_serve.supervision import Consumer, keep_running
from naiad_state import State


async def writer(settings: WriterSettings, process: Process) -> None:
    store = await engines.store(process, settings.store, migrate=settings.migrate)
    event_log = await engines.event_log(process, settings.event_log)
    await consume(
        process,
        "writer",
        lambda: Writer(event_log, store, block_rows=settings.writer_block_rows),
        watch_log(event_log, [WRITER_GROUP]),
    )


async def live(settings: LiveSettings, process: Process) -> None:
    event_log = await engines.event_log(process, settings.event_log)
    state = State.open(settings.state)
    process.ending.push_async_callback(state.close)
    await consume(
        process,
        "live",
        lambda: Live(event_log, state),
        watch_log(event_log, [LIVE_GROUP]),
    )


async def alerter(settings: AlerterSettings, process: Process) -> None:
    config = AlertConfig.load(settings.alerts) if settings.alerts else AlertConfig()
    store = await engines.store(process, settings.store)
    event_log = await engines.event_log(process, settings.event_log)
    await consume(
        process,
        "alerter",
        lambda: Alerter(event_log, store, config),
        watch_log(event_log, [ALERTER_GROUP]),
    )


async def consume(
    process: Process,
    name: str,
    make: Callable[[], Consumer],
    watching: Coroutine[Any, Any, None],
) -> None:
    """Until the process is to stop; then it finishes what it has begun and commits."""
    process.watch("lag", watching)
    running = asyncio.create_task(
        keep_running(name, make, process.stop, process.readiness), name=name
    )

    async def drained() -> None:
        process.stop.set()
        await running

    process.ending.push_async_callback(drained)
    await process.work("reading the log")
