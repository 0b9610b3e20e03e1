"""From the call to the moment when a reader gets the point, through Kafka and over HTTP."""

from __future__ import annotations

import threading
import time

import latency
from engines_up import cpu_seconds, engines
from report import Row, quantiles

import naiad


def measure(quick: bool) -> list[Row]:
    seconds = 10 if quick else 60
    with engines(state=True) as up:
        for name in ("writer", "live", "alerter"):
            up.stages.start(name)
        query, ingest = up.stages.start("query"), up.stages.start("ingest")
        with naiad.Run(
            project=latency.PROJECT, run_id="r", url=ingest.url, log_directory=up.spool,
            enable_console_log_capture=False, source_tracking_config=None,
        ) as run:  # fmt: skip
            run.log_metrics({"warm": 0.0}, 0)
            assert run.wait_for_processing(timeout=60)
            seen: list[tuple[float, int]] = []
            done = threading.Event()
            reader = threading.Thread(target=latency.read, args=(query.url, seen, done))
            reader.start()
            before = [cpu_seconds(stage.pid) for stage in up.stages.all]
            logged, late = latency.log(run, seconds)
            cores = [
                f"{stage.name} {(cpu_seconds(stage.pid) - cpu) / seconds:.2f}"
                for stage, cpu in zip(up.stages.all, before, strict=True)
            ]
            assert run.wait_for_processing(timeout=60)
            time.sleep(1)
            done.set()
            reader.join()
    p50, p99, most = quantiles(latency.waits(logged, seen), 50, 99, 100)
    return [
        Row(
            "call → readable through Kafka at 100,000 points/s: p50 / p99",
            "500 / 1,500 ms",
            f"{p50 * 1000:.0f} / {p99 * 1000:.0f} ms",
            f"worst {most * 1000:.0f} ms; cores: {', '.join(cores)}; loop late by {late:.1%}",
        )
    ]
