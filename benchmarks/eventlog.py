"""Appends per second to the event log, alone and together.

    python benchmarks/eventlog.py [--records 2000] [--size 1000]

Each append is durable when it returns. What counts is the ratio: appends that wait together
share a sync.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from naiad_eventlog import EventLog, Topic, open_event_log

TOPIC = Topic("bench", partitions=4)


async def append(log: EventLog, records: int, appenders: int, value: bytes) -> float:
    """Seconds for `records` appends by so many appenders at a time."""

    async def one(number: int) -> None:
        for _ in range(records // appenders):
            await log.append(TOPIC.name, b"%d" % number, value)

    begin = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(appenders)))
    return time.perf_counter() - begin


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--records", type=int, default=2000)
    arguments.add_argument("--size", type=int, default=1000, help="bytes of a record")
    given = arguments.parse_args()
    value = bytes(given.size)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        log = await open_event_log(f"sqlite:///{folder}/log.db")
        async with log:
            await log.create_topics([TOPIC])
            alone = 0.0
            for appenders in (1, 4, 16, 64):
                records = given.records - given.records % appenders
                rate = records / await append(log, records, appenders, value)
                alone = alone or rate
                print(
                    f"{appenders:3d} at a time: {rate:8,.0f} durable appends/s,"
                    f" {rate / alone:5.1f} x one at a time"
                )


if __name__ == "__main__":
    asyncio.run(main())
