"""A log, a writer and a store, step by step, for tests of audit and rebuild."""

from __future__ import annotations

import asyncio

from support_envelopes import seal
from support_histories import History
from support_naiad import LONGER

from naiad_consumers import Writer
from naiad_consumers.writer import GROUP
from naiad_eventlog import EventLog
from naiad_eventlog.topics import RECORDS, run_key
from naiad_store import Store
from naiad_store.contents import FROM_LOG, content_of


async def append(log: EventLog, history: History, count: int) -> None:
    for number, (batch, rejections) in enumerate(history.more(count)):
        value = seal(batch, rejections=rejections, received_at=5000 + number)
        await log.append(RECORDS.name, run_key(batch.project, batch.run_id), value)


async def write(log: EventLog, store: Store) -> None:
    """Until all of the log is stored."""
    stop = asyncio.Event()
    writing = asyncio.create_task(Writer(log, store).run(stop))
    async with asyncio.timeout(60 * LONGER):
        while sum((await log.lag(RECORDS.name, GROUP)).values()):
            assert not writing.done()
            await asyncio.sleep(0.02)
    stop.set()
    await writing


async def offsets(log: EventLog) -> dict[str, dict[int, int]]:
    committed = await log.committed(RECORDS.name, GROUP)
    return {RECORDS.name: {where.partition: offset for where, offset in committed.items()}}


def contents(store: Store) -> dict[str, object]:
    return {table: content_of(store, table) for table in FROM_LOG}
