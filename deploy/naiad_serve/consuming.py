"""The stages that read the log, each as a process: writer, live, alerter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from naiad_consumers import (
    AlertConfig,
    Alerter,
    Janitor,
    Live,
    Marks,
    Roller,
    Writer,
    retainer,
)
from naiad_consumers.alerter.alerter import GROUP as ALERTER_GROUP
from naiad_consumers.live.live import GROUP as LIVE_GROUP
from naiad_consumers.writer import GROUP as WRITER_GROUP
from naiad_eventlog import EventLog
from naiad_serve import engines
from naiad_serve.ingesting import file_store
from naiad_serve.logwatch import watch_log
from naiad_serve.process import Process
from naiad_serve.stages import AlerterSettings, LiveSettings, WriterSettings
from naiad_serve.supervision import Consumer, keep_running
from naiad_state import State

Makers = Mapping[str, Callable[[], Consumer]]


async def writer(settings: WriterSettings, process: Process) -> None:
    store = await engines.store(process, settings.store, migrate=settings.migrate)
    event_log = await engines.event_log(process, settings.event_log)
    files = None
    if settings.files is not None:
        files = await file_store(process, settings.files, writable=False)
    marks = Marks(store)
    makers: Makers = {
        "writer": lambda: Writer(
            event_log, store, block_rows=settings.writer_block_rows, marks=marks
        ),
        "roller": lambda: Roller(store, marks),
        "janitor": lambda: Janitor(event_log, store, files.remove if files else None),
        "retention": lambda: retainer(event_log),
    }
    await _consume(process, makers, event_log, WRITER_GROUP)


async def live(settings: LiveSettings, process: Process) -> None:
    event_log = await engines.event_log(process, settings.event_log)
    state = State.open(settings.state)
    process.ending.push_async_callback(state.close)
    makers: Makers = {"live": lambda: Live(event_log, state)}
    await _consume(process, makers, event_log, LIVE_GROUP)


async def alerter(settings: AlerterSettings, process: Process) -> None:
    config = AlertConfig.load(settings.alerts) if settings.alerts else AlertConfig()
    store = await engines.store(process, settings.store)
    event_log = await engines.event_log(process, settings.event_log)
    makers: Makers = {"alerter": lambda: Alerter(event_log, store, config)}
    await _consume(process, makers, event_log, ALERTER_GROUP)


async def _consume(process: Process, makers: Makers, event_log: EventLog, group: str) -> None:
    """Until the process is to stop; then they finish what they have begun and commit."""
    process.watch("lag", watch_log(event_log, [group]))
    running = [
        asyncio.create_task(keep_running(name, make, process.stop, process.readiness), name=name)
        for name, make in makers.items()
    ]

    async def drained() -> None:
        process.stop.set()
        await asyncio.gather(*running)

    process.ending.push_async_callback(drained)
    await process.work(f"{', '.join(makers)} on group {group}")
