"""A writer in a process of its own: `python support_writer_child.py LOG STORE DATABASE`, until
SIGTERM. Says "ready" when it has joined its group."""

from __future__ import annotations

import asyncio
import signal
import sys

from naiad_consumers.writer import Writer
from naiad_eventlog import open_event_log
from naiad_store import Store


async def main(log_url: str, store_url: str, database: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with await open_event_log(log_url) as log:
        with Store.open(store_url, database=database) as store:
            print("ready", flush=True)
            await Writer(log, store).run(stop)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
