"""Memory of an ingest process that is offered many times what it can take."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import psutil
from engines_up import engines
from report import Row
from sending import request, send

from naiad_eventlog import open_event_log
from naiad_eventlog.topics import RECORDS

# So many batches of 100,000 points (840 kB) are offered at once by clients that never wait: 1.3 GB,
# which is sixteen times what may be taken at once, and more than may wait.
CLIENTS, IN_FLIGHT = 150, 10
MAX_BYTES = 80 * 1024 * 1024
# What is looked at: the time after the first part, in which everything is used for the first
# time.
PARTS = 6


def measure(quick: bool) -> list[Row]:
    seconds = 18 if quick else 120
    with engines(store=False) as up:
        ingest = up.stages.start("ingest", NAIAD_INGEST_MAX_BYTES=str(MAX_BYTES))
        process = psutil.Process(ingest.pid)
        bodies = [request("bench/over", f"r{n}", n, 100_000) for n in range(CLIENTS)]
        few = asyncio.run(send(ingest.url, bodies[:4], 100_000, seconds=seconds / 10, in_flight=4))
        before = process.memory_info().rss
        found: list[int] = []
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.1):
                found.append(process.memory_info().rss)

        watching = threading.Thread(target=watch)
        watching.start()
        began = time.perf_counter()
        sent = asyncio.run(
            send(ingest.url, bodies, 100_000, seconds=seconds, in_flight=IN_FLIGHT, patient=False)
        )
        took = time.perf_counter() - began
        over.set()
        watching.join()
        after = process.memory_info().rss
        ingest.stop()
        kept = asyncio.run(_kept(up.kafka.url))
    acknowledged = few.batches + sent.batches
    assert kept >= acknowledged, f"{acknowledged} batches were acknowledged, {kept} are in the log"
    assert sent.pushed_back, "nobody was told to come later, so this was no overload"
    assert sent.pushed_back == sent.with_retry_info
    return [
        Row(
            f"ingest's memory while {CLIENTS * IN_FLIGHT:,} batches of 840 kB are offered at once",
            "flat",
            f"{before / 1e6:.0f} MB before; at most {_parts(found)} MB in the parts of {took:.0f}"
            f" s; {after / 1e6:.0f} MB after",
            f"{sent.points / took / 1e6:.2f} M points/s taken, each in the log;"
            f" {sent.pushed_back:,} batches answered RESOURCE_EXHAUSTED, all of them with"
            f" RetryInfo, {sent.cancelled} CANCELLED by gRPC; bound {MAX_BYTES / 1e6:.0f} MB",
        )
    ]


async def _kept(url: str) -> int:
    async with await open_event_log(url) as log:
        return sum((await log.end_offsets(RECORDS.name)).values())


def _parts(found: Sequence[int]) -> str:
    size = len(found) // PARTS
    return ", ".join(
        f"{max(found[part * size : (part + 1) * size]) / 1e6:.0f}" for part in range(PARTS)
    )
