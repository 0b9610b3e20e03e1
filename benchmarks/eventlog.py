"""Appends per second to the event log, alone and together, on SQLite and on Kafka.

    python benchmarks/eventlog.py [--records 2000] [--size 1000] [--url kafka://host:port]

Each append is durable when it returns. What counts are ratios: appends that wait together
share a sync or a request. With --url the same is done over that log, each with its ratio to
SQLite on this machine; the topic `bench` stays behind there.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from naiad_eventlog import EventLog, Topic, open_event_log

TOPIC = Topic("bench", partitions=4)
APPENDERS = (1, 4, 16, 64)


async def append(log: EventLog, records: int, appenders: int, value: bytes) -> float:
    """Seconds for `records` appends by so many appenders at a time."""

    async def one(number: int) -> None:
        for _ in range(records // appenders):
            await log.append(TOPIC.name, b"%d" % number, value)

    begin = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(appenders)))
    return time.perf_counter() - begin


async def rates(url: str, records: int, value: bytes) -> list[float]:
    """Appends per second for each number of appenders."""
    found = []
    async with await open_event_log(url) as log:
        await log.create_topics([TOPIC])
        # Connections and such are made by the first.
        await append(log, 16, 16, value)
        for appenders in APPENDERS:
            whole = records - records % appenders
            found.append(whole / await append(log, whole, appenders, value))
    return found


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--records", type=int, default=2000)
    arguments.add_argument("--size", type=int, default=1000, help="bytes of a record")
    arguments.add_argument("--url", help="a log to measure beside SQLite")
    given = arguments.parse_args()
    value = bytes(given.size)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        own = await rates(f"sqlite:///{folder}/log.db", given.records, value)
    report("sqlite", own, given.size)
    if given.url:
        other = await rates(given.url, given.records, value)
        report(given.url.partition(":")[0], other, given.size, beside=own)


def report(name: str, found: list[float], size: int, beside: list[float] | None = None) -> None:
    for index, (appenders, rate) in enumerate(zip(APPENDERS, found, strict=True)):
        ratio = f", {rate / beside[index]:5.2f} x sqlite" if beside else ""
        print(
            f"{name:6s} {appenders:3d} at a time: {rate:8,.0f} durable appends/s,"
            f" {rate * size / 1e6:6.1f} MB/s, {rate / found[0]:5.1f} x one at a time{ratio}"
        )


if __name__ == "__main__":
    asyncio.run(main())
