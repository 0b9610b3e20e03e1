"""Memory of training and shipper while a server is away for an hour's worth of points, and
after it came back: it has to be flat, whatever waits on disk."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

import platform_up
import psutil
from report import Row

import naiad
from naiad.query.client import QueryClient

METRICS = 50
PROJECT = "bench/backlog"


# An hour at 100,000 points/s.
AN_HOUR = 360_000_000


def measure(quick: bool, points: int = AN_HOUR) -> list[Row]:
    points = 10_000_000 if quick else points
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name:
        folder = Path(name)
        port = platform_up.free_port()
        url = f"grpc://127.0.0.1:{port}"
        run = naiad.Run(
            project=PROJECT, run_id="r", url=url, log_directory=folder / "spool",
            enable_console_log_capture=False, source_tracking_config=None, hardware_interval=None,
        )  # fmt: skip
        paths = [f"train/layer{n}/loss" for n in range(METRICS)]
        own: list[float] = []
        ships: list[float] = []
        began = time.perf_counter()
        for step in range(points // METRICS):
            value = step * 0.001
            run.log_metrics({path: value + n for n, path in enumerate(paths)}, step)
            if step % (points // METRICS // 50) == 0:
                own.append(_private(os.getpid()))
                ships.append(_shipper(str(folder)))
        away = time.perf_counter() - began
        print(f"logged after {away:.0f} s; now the server comes", file=sys.stderr)
        with platform_up.running_naiad(folder / "data", "--port", str(port)):
            began = time.perf_counter()
            while not run.wait_for_processing(timeout=5, verbose=False):
                own.append(_private(os.getpid()))
                ships.append(_shipper(str(folder)))
            took = time.perf_counter() - began
            run.close()
            with QueryClient(url) as client:
                table = client.sql(
                    f"select count() as points from points where project = '{PROJECT}'"
                )
            found = table.column("points")[0].as_py()
        assert found == points, f"{found:,} of {points:,} points are readable"
    growth = own[-1] - own[5]
    return [
        Row(
            f"memory: {points / 1e6:,.0f} M points logged with the server away, then delivered",
            "flat",
            f"training {growth:+.1f} MB, shipper at most {max(ships):.0f} MB",
            f"logged in {away:.0f} s, delivered and readable {took:.0f} s after the server came"
            f" ({points / took / 1e6:.2f} M points/s)",
        )
    ]


def _private(pid: int) -> float:
    """Megabytes of anonymous memory: mapped files are the kernel's cache, not ours."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1000
    return 0.0


def _shipper(folder: str) -> float:
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if "naiad.shipper" in line and folder in line:
            return _private(process.pid)
    return 0.0
