"""The most points a second that one process logs for minutes and a reader then has.

The loop logs as fast as it can, but waits while more than a bounded number of points are not
readable yet, so that what is measured is the whole river and not the disk's patience: spool
and log take points several times as fast as the store. The rate is all points by the time
until the last of them is readable.
"""

from __future__ import annotations

import time

import platform_up
import psutil
from report import Row

import naiad
from naiad.query.client import QueryClient

METRICS = 50
# Records (of 50 points) that may be under way.
MOST_WAITING = 400_000
PROJECT = "bench/sustained"


def measure(quick: bool) -> list[Row]:
    seconds = 20 if quick else 300
    with platform_up.server() as up:
        run = naiad.Run(
            project=PROJECT, run_id="r", url=up.url, log_directory=up.spool,
            enable_console_log_capture=False, source_tracking_config=None, hardware_interval=None,
        )  # fmt: skip
        run.log_metrics({"warm": 0.0}, 0)
        assert run.wait_for_processing(timeout=60)
        cpu = up.cpu_seconds()
        own = time.process_time()
        began = time.perf_counter()
        parts: list[int] = []
        paths = [f"train/layer{n}/loss" for n in range(METRICS)]
        step = 0
        while time.perf_counter() - began < seconds:
            for _ in range(1000):
                value = step * 0.001
                run.log_metrics({path: value + n for n, path in enumerate(paths)}, step)
                step += 1
            parts.append(up.part_folders())
            while _waiting(run, step) > MOST_WAITING:
                time.sleep(0.005)
        logged = time.perf_counter() - began
        own = time.process_time() - own
        assert run.wait_for_processing(timeout=600)
        took = time.perf_counter() - began
        cpu = up.cpu_seconds() - cpu
        shipper = _shippers_cpu(str(up.spool))
        run.close()
        with QueryClient(up.url) as client:
            table = client.sql(
                f"select count() as points from points where project = '{PROJECT}'"
                " and path like 'train/%'"
            )
        found = table.column("points")[0].as_py()
        assert found == step * METRICS, f"{found:,} of {step * METRICS:,} points are readable"
    return [
        Row(
            f"points/s for {seconds} s, one process, until readable",
            "≥ 1,500,000",
            f"{step * METRICS / took:,.0f}",
            f"{step * METRICS:,} points; cores: server {cpu / took:.2f}, shipper"
            f" {shipper / took:.2f}, training {own / logged:.2f}; part folders: at most"
            f" {max(parts)}, at the end {parts[-1]}; last point readable"
            f" {took - logged:.1f} s after the loop",
        )
    ]


def _waiting(run: naiad.Run, step: int) -> int:
    session = run._session
    assert session
    return step - int(session.progress().get("stored", 0))


def _shippers_cpu(spool: str) -> float:
    for process in psutil.process_iter(["cmdline", "cpu_times"]):
        line = " ".join(process.info["cmdline"] or ())
        if "naiad.shipper" in line and spool in line:
            return float(process.info["cpu_times"].user + process.info["cpu_times"].system)
    return 0.0
