"""How far consumers are behind and how much waits, asked of the event log now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import Gauge

from naiad_consumers.metrics import DEAD_LETTERS_WAITING, LAG
from naiad_consumers.writer.dead import REVIEW_GROUP
from naiad_eventlog import EventLog, EventLogError
from naiad_eventlog.topics import DEAD, RECORDS

log = logging.getLogger(__name__)

LOG_BYTES = Gauge("naiad_log_bytes", "Size of the embedded event log's files.")

_LOOK_SECONDS = 5.0
_PATIENCE = 15.0


async def watch_log(event_log: EventLog, groups: Sequence[str], file: Path | None = None) -> None:
    """Keeps the gauges current until cancelled. `file`: of an embedded log."""
    while True:
        try:
            async with asyncio.timeout(_PATIENCE):
                for group in groups:
                    for where, lag in (await event_log.lag(RECORDS.name, group)).items():
                        LAG.labels(group, str(where.partition)).set(lag)
                waiting = await event_log.lag(DEAD.name, REVIEW_GROUP)
                DEAD_LETTERS_WAITING.set(sum(waiting.values()))
        except (EventLogError, TimeoutError) as error:
            # Whether the log answers at all is told elsewhere, and louder. An old figure would
            # stand for the present, and above what others tell.
            LAG.clear()
            log.debug("the lag can't be found out: %r", error)
        if file:
            LOG_BYTES.set(sum(part.stat().st_size for part in file.parent.glob(file.name + "*")))
        await asyncio.sleep(_LOOK_SECONDS)
