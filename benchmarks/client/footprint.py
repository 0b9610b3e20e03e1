"""What the client takes: bytes of the spool per point, time and memory to begin a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from report import Row, quantiles

import naiad

BEGIN = """
import json, sys, time
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
began, computed, before = time.perf_counter(), time.process_time(), resident()
import naiad
run = naiad.Run(project="bench/begin", mode="offline", log_directory=sys.argv[1])
took, computing = time.perf_counter() - began, time.process_time() - computed
more = resident() - before
run.terminate()
print(json.dumps([took, computing, more]))
"""
BARE = "import time; b = time.perf_counter(); import sqlite3, http.client, logging;"
BARE += "print(time.perf_counter() - b)"


def measure(quick: bool) -> list[Row]:
    times, computing, sizes, bare = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        # Not counted: the first start compiles, as an installation does.
        for script in (BEGIN, BARE):
            _python(script, folder)
        for _ in range(5 if quick else 20):
            took, computed, more = json.loads(_python(BEGIN, folder))
            times.append(took * 1000)
            computing.append(computed * 1000)
            sizes.append(more / 1e6)
            bare.append(float(_python(BARE, folder)) * 1000)
    time, size = quantiles(times, 50)[0], quantiles(sizes, 50)[0]
    return [
        Row("spool bytes per point, 50 metrics a step", "≤ 9", f"{_bytes_per_point(50):.2f}"),
        Row("spool bytes per point, 1 metric a call", "≤ 34", f"{_bytes_per_point(1):.2f}"),
        Row(
            "`import naiad` and `Run(...)`: time",
            "≤ 100 ms",
            f"{time:.0f} ms, of which it computes {quantiles(computing, 50)[0]:.0f} ms",
            f"{time / quantiles(bare, 50)[0]:.1f} × importing sqlite3, http.client, logging",
        ),
        Row("the same: memory over a bare interpreter", "≤ 15 MB", f"{size:.1f} MB"),
    ]


def _bytes_per_point(metrics: int, points: int = 1_000_000) -> float:
    """Of records and their definitions; a segment's room that is still free is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        run = naiad.Run(
            project="bench/bytes", mode="offline", log_directory=folder,
            enable_console_log_capture=False, source_tracking_config=None, hardware_interval=None,
        )  # fmt: skip
        row = {f"train/layer{n}/loss": n / 64 for n in range(metrics)}
        for step in range(points // metrics):
            run.log_metrics(row, step)
        used = 0
        for segment in Path(folder).rglob("*.spool"):
            with segment.open("rb") as file:
                used += int.from_bytes(file.read(16)[8:], "little")
        run.terminate()
    return used / points


def _python(script: str, folder: str) -> str:
    # A checkout may be read without keeping what was compiled: that doubles the time.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.run(
        [sys.executable, "-c", script, folder],
        env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
