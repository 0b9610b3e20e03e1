"""Memory of an ingest process that is offered many times what it can take."""

from __future__ import annotations

import asyncio
import threading
import time

import psutil
from engines_up import engines
from report import Row
from sending import request, send

# So many batches of 100,000 points (840 kB) are offered at once by clients that never wait.
CLIENTS, IN_FLIGHT = 100, 10
# Which is ten times what may be taken at once.
MAX_BYTES = 80 * 1024 * 1024


def measure(quick: bool) -> list[Row]:
    seconds = 8 if quick else 40
    with engines(store=False) as up:
        ingest = up.stages.start("ingest", NAIAD_INGEST_MAX_BYTES=str(MAX_BYTES))
        process = psutil.Process(ingest.pid)
        bodies = [request("bench/over", f"r{n}", n, 100_000) for n in range(CLIENTS)]
        asyncio.run(send(ingest.url, bodies[:4], 100_000, seconds=seconds / 4, in_flight=4))
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
        ingest.stop()
    third = len(found) // 3
    return [
        Row(
            "ingest's memory while 10 × its bound is offered",
            "flat",
            f"{before / 1e6:.0f} MB before; at most {max(found[:third]) / 1e6:.0f} MB in the first"
            f" third, {max(found[-third:]) / 1e6:.0f} MB in the last",
            f"{sent.points / took / 1e6:.2f} M points/s taken; {sent.pushed_back:,} batches"
            f" answered RESOURCE_EXHAUSTED, {sent.with_retry_info:,} of them with RetryInfo;"
            f" bound {MAX_BYTES / 1e6:.0f} MB",
        )
    ]
