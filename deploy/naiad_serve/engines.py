"""Opening the engines of other processes, which may come later than we do, and watching them.

A cluster starts in any order, so what doesn't answer is waited for: the process lives, is
not ready, and says so once per change. A login that is refused is waited for as well, since
users and passwords are often made by a job that starts at the same time. What no waiting
mends, such as a store made by a newer release, ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from naiad_eventlog import EventLog, EventLogError, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS
from naiad_serve.errors import StartError
from naiad_serve.process import Process
from naiad_store import Store, StoreBusy, StoreError, StoreTooNew
from naiad_store.migrating import missing_migrations

log = logging.getLogger(__name__)

EVENT_LOG, STORE = "event log", "store"

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
# How often an engine is asked whether it is there, and how long it may be silent before the
# process isn't ready: a Kafka partition gets a new leader within that.
_LOOK_SECONDS = 2.0
_SILENT_SECONDS = 10.0

# Addresses of objects, numbers of questions.
_VARYING = re.compile(r" at 0x[0-9a-f]+|query_id=[0-9a-f-]+")

T = TypeVar("T")


async def event_log(process: Process, url: str) -> EventLog:
    """The log with all topics; closed at the end of the process."""

    async def open_() -> EventLog:
        opened = await open_event_log(url)
        try:
            await opened.create_topics(ALL_TOPICS)
        except BaseException:
            await opened.close()
            raise
        return opened

    opened = await until_there(process, EVENT_LOG, open_, EventLogError)
    process.ending.push_async_callback(opened.close)
    process.watch(EVENT_LOG, watch(process, EVENT_LOG, lambda: opened.end_offsets(RECORDS.name)))
    return opened


async def store(process: Process, url: str, *, migrate: bool = False) -> Store:
    """The store, as this release has it; closed at the end of the process."""

    def open_() -> Store:
        opened = Store.open(url)
        try:
            if migrate:
                opened.migrate()
            elif missing := missing_migrations(opened):
                raise StoreError(
                    f"the store lacks {len(missing)} migrations ({missing[0]} first), which a"
                    " writer or `naiad store migrate` brings"
                )
        except BaseException:
            opened.close()
            raise
        return opened

    opened = await until_there(process, STORE, lambda: asyncio.to_thread(open_), StoreError)
    process.ending.push_async_callback(asyncio.to_thread, opened.close)
    process.watch(STORE, watch(process, STORE, lambda: asyncio.to_thread(opened.query, "SELECT 1")))
    return opened


async def until_there(
    process: Process,
    part: str,
    open_: Callable[[], Awaitable[T]],
    *passing: type[Exception],
) -> T:
    """What `open_` gives, asked again while it raises one of `passing`."""
    process.readiness.lacks(part, "it is not open yet")
    pause = _FIRST_PAUSE
    waited = False
    while True:
        try:
            opened = await process.unless_stopped(open_())
        except (StoreBusy, StoreTooNew) as error:
            raise StartError(str(error)) from error
        except passing as error:
            reason = _steady(str(error))
            if process.readiness.lacks(part, reason):
                log.warning("waiting for the %s: %s", part, reason)
            waited = True
        else:
            process.readiness.has(part)
            if waited:
                log.warning("the %s is there", part)
            return opened
        await process.unless_stopped(asyncio.sleep(pause))
        pause = min(pause * 2, _LONGEST_PAUSE)


async def watch(process: Process, part: str, ask: Callable[[], Awaitable[object]]) -> None:
    """Keeps the readiness of `part` true to whether it answers."""
    answered = time.monotonic()
    while True:
        reason = f"no answer in {_SILENT_SECONDS:g} s"
        try:
            async with asyncio.timeout(_SILENT_SECONDS):
                await ask()
        except TimeoutError:
            pass
        except (EventLogError, StoreError) as error:
            reason = _steady(str(error))
        else:
            answered = time.monotonic()
            if process.readiness.has(part):
                log.warning("the %s answers again", part)
        silent = time.monotonic() - answered >= _SILENT_SECONDS
        if silent and process.readiness.lacks(part, reason):
            log.warning("the %s does not answer: %s", part, reason)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.stop.wait(), _LOOK_SECONDS)
            return


def _steady(reason: str) -> str:
    """Without what differs each time though nothing has changed."""
    return _VARYING.sub("", reason)
