"""Points a second that one ingest process takes into Kafka: acknowledged by the broker (acks=all)
before they are acknowledged to the client."""

from __future__ import annotations

import asyncio
import time

from engines_up import Engines, cpu_seconds, engines
from report import Row, quantiles
from sending import request, send


def measure(quick: bool) -> list[Row]:
    seconds = 5 if quick else 20
    rows = []
    with engines(store=False) as up:
        ingest = up.stages.start("ingest")
        for what, target, clients, points, in_flight in (
            ("4 clients, 100,000-point batches", "≥ 2,000,000", 4, 100_000, 4),
            ("1,000 clients, 1,000-point batches", "≥ 1,000,000", 1000, 1_000, 1),
        ):
            bodies = [request("bench/in", f"r{n}", n, points) for n in range(clients)]
            asyncio.run(send(ingest.url, bodies, points, seconds=2, in_flight=in_flight))
            cpu, kafka, own = cpu_seconds(ingest.pid), _kafka(up), time.process_time()
            began = time.perf_counter()
            sent = asyncio.run(
                send(ingest.url, bodies, points, seconds=seconds, in_flight=in_flight)
            )
            took = time.perf_counter() - began
            own = (time.process_time() - own) / took
            cpu, kafka = (cpu_seconds(ingest.pid) - cpu) / took, (_kafka(up) - kafka) / took
            p50, p99 = quantiles(sent.seconds, 50, 99)
            rows.append(
                Row(
                    f"ingest → Kafka, points/s, one process: {what}",
                    target,
                    f"{sent.points / took:,.0f}",
                    f"cores: ingest {cpu:.2f}, Kafka {kafka:.2f}, the clients {own:.2f}; a batch"
                    f" is acknowledged after {p50 * 1000:.0f} ms (p99 {p99 * 1000:.0f})",
                )
            )
        ingest.stop()
    return rows


def _kafka(up: Engines) -> float:
    return sum(map(cpu_seconds, up.kafka.pids))
