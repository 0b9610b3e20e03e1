"""From the call to the moment when a reader gets the point, at 100,000 points/s."""

from __future__ import annotations

import threading
import time

import platform_up
from report import Row, quantiles

import naiad
from naiad.query.client import QueryClient

METRICS = 50
POINTS_PER_SECOND = 100_000
PROJECT = "bench/latency"


def measure(quick: bool) -> list[Row]:
    seconds = 10 if quick else 60
    with platform_up.server() as up, naiad.Run(
        project=PROJECT, run_id="r", url=up.url, log_directory=up.spool,
        enable_console_log_capture=False, source_tracking_config=None,
    ) as run:  # fmt: skip
        run.log_metrics({"warm": 0.0}, 0)
        assert run.wait_for_processing(timeout=60)
        seen: list[tuple[float, int]] = []
        done = threading.Event()
        reader = threading.Thread(target=read, args=(up.url, seen, done))
        reader.start()
        cpu = up.cpu_seconds()
        logged, late = log(run, seconds)
        cores = (up.cpu_seconds() - cpu) / seconds
        assert run.wait_for_processing(timeout=60)
        time.sleep(1)
        done.set()
        reader.join()
    p50, p99, most = quantiles(waits(logged, seen), 50, 99, 100)
    return [
        Row(
            "call → readable at 100,000 points/s: p50 / p99",
            "300 / 1,000 ms",
            f"{p50 * 1000:.0f} / {p99 * 1000:.0f} ms",
            f"worst {most * 1000:.0f} ms; server {cores:.2f} cores, the reader's questions among"
            f" it; loop late by {late:.1%}",
        )
    ]


def log(run: naiad.Run, seconds: int) -> tuple[list[float], float]:
    """When each step was logged, and how much longer it took than it should."""
    pause = METRICS / POINTS_PER_SECOND
    paths = [f"train/layer{n}/loss" for n in range(METRICS)]
    logged = []
    began = time.perf_counter()
    for step in range(int(seconds / pause)):
        run.log_metrics({path: step + n / 64 for n, path in enumerate(paths)}, step)
        logged.append(time.perf_counter())
        left = began + (step + 1) * pause - time.perf_counter()
        if left > 0:
            time.sleep(left)
    return logged, (time.perf_counter() - began) / seconds - 1


def waits(logged: list[float], seen: list[tuple[float, int]]) -> list[float]:
    """Seconds from logging each step until a reader had it."""
    found, at = [], 0
    for step, when in enumerate(logged):
        while seen[at][1] < step:
            at += 1
        found.append(seen[at][0] - when)
    return found


def read(url: str, seen: list[tuple[float, int]], done: threading.Event) -> None:
    """The highest step that a reader gets, again and again, and when it asked."""
    with QueryClient(url) as client:
        while not done.is_set():
            table = client.sql(
                "select max(step) as step from points where project = 'bench/latency'"
                " and path = 'train/layer49/loss'"
            )
            step = table.column("step")[0].as_py()
            # When the answer is there, not when it was asked for: that is what a user waits.
            seen.append((time.perf_counter(), int(step or -1)))
            time.sleep(0.03)
        seen.append((time.perf_counter(), 1 << 62))
