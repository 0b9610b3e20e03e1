"""An alerter in a process of its own, to be killed: LOG_URL STORE_URL ALERT_FILE."""

from __future__ import annotations

import asyncio
import sys

from naiad_consumers.alerter import AlertConfig, Alerter
from naiad_eventlog import open_event_log
from naiad_eventlog.topics import ALL_TOPICS
from naiad_store import Store


async def main(log_url: str, store_url: str, file: str) -> None:
    with Store.open(store_url) as store:
        store.migrate()
        async with await open_event_log(log_url) as log:
            await log.create_topics(ALL_TOPICS)
            print("ready", flush=True)
            await Alerter(log, store, AlertConfig.load(file)).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
