"""What `log_metrics` costs the training loop, beside what is done without tracking at all.

    python benchmarks/log_metrics.py [--metrics 50] [--calls 20000]

Offline mode, so that it is the call alone; the shipper runs beside it as always. The figure
to compare with is the time that Python needs to copy the same dict.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import numpy as np

os.environ["NAIAD_QUIET"] = "1"

import naiad


def timed(calls: int, what) -> np.ndarray:  # type: ignore[no-untyped-def, type-arg]
    clock = time.perf_counter_ns
    taken = np.empty(calls)
    for step in range(calls):
        begin = clock()
        what(step)
        taken[step] = clock() - begin
    return taken / 1000


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--metrics", type=int, default=50)
    arguments.add_argument("--calls", type=int, default=20_000)
    given = arguments.parse_args()
    row = {f"train/layer{i}/loss": 0.5 + i for i in range(given.metrics)}
    with tempfile.TemporaryDirectory() as folder:
        run = naiad.Run(
            project="bench/mark", mode="offline", log_directory=folder, hardware_interval=None,
            source_tracking_config=None, enable_console_log_capture=False,
        )  # fmt: skip
        run.log_metrics(row, 0)
        copying = timed(given.calls, lambda step: dict(row))
        logging = timed(given.calls, lambda step: run.log_metrics(row, step))
        run.terminate()
    base = np.percentile(copying, 50)
    for name, taken in (("dict(row)", copying), ("log_metrics", logging)):
        median, p99, most = np.percentile(taken, [50, 99, 100])
        print(
            f"{name:12} {given.metrics} metrics: median {median:7.2f} us, p99 {p99:7.2f} us,"
            f" worst {most:9.1f} us, {median / base:5.1f} x a copy of the dict"
        )


if __name__ == "__main__":
    main()
