"""How soon the lag is back under a second after one of two writers was killed, under load."""

from __future__ import annotations

import asyncio
import contextlib
import time

from engines_up import engines
from report import Row
from sending import paced, request

from naiad_consumers.writer import GROUP
from naiad_eventlog import EventLog, open_event_log
from naiad_eventlog.kafka.address import DEFAULT_SESSION_SECONDS
from naiad_eventlog.topics import RECORDS

POINTS_PER_SECOND = 200_000
BATCH = 10_000
CLIENTS = 8
# Batches of one second.
A_SECOND = POINTS_PER_SECOND // BATCH


def measure(quick: bool) -> list[Row]:
    with engines() as up:
        writers = [up.stages.start("writer"), up.stages.start("writer")]
        ingest = up.stages.start("ingest")

        async def kill_one() -> tuple[float, float, float]:
            bodies = [request("bench/two", f"r{n}", n, BATCH) for n in range(CLIENTS)]
            loading = asyncio.create_task(paced(ingest.url, bodies, 1 / A_SECOND))
            try:
                async with await open_event_log(up.kafka.url) as log:
                    await asyncio.sleep(5 if quick else 20)
                    before = await _lag(log)
                    writers[0].kill()
                    killed = time.perf_counter()
                    most, calm = 0.0, killed
                    # Calm is when it stays so: just after the death nothing has piled up yet.
                    while time.perf_counter() - max(calm, killed + 10) < 5:
                        lag = await _lag(log)
                        most = max(most, lag)
                        if lag >= A_SECOND:
                            calm = time.perf_counter()
                        assert time.perf_counter() - killed < 120, f"a lag of {lag} stays"
                        await asyncio.sleep(0.1)
                    return before, most, calm - killed
            finally:
                loading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await loading

        before, most, back = asyncio.run(kill_one())
    return [
        Row(
            "lag under 1 s again after one of 2 writers was killed,"
            f" {POINTS_PER_SECOND:,} points/s",
            "10 s",
            f"{back:.1f} s",
            f"lag at most {most / A_SECOND:.1f} s, {before / A_SECOND:.2f} s before; the group"
            f" takes a silent member for dead after {DEFAULT_SESSION_SECONDS:g} s",
        )
    ]


async def _lag(log: EventLog) -> float:
    return sum((await log.lag(RECORDS.name, GROUP)).values())
