"""Points to a pandas frame: what a user's call takes, and where the time goes.

A store in this process, a query service on loopback, the real client: one metric of 100,000
steps, `naiad.query.runs.fetch_metrics` from call to frame.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests")]

from support_clickhouse import migrated  # noqa: E402
from support_query import Spool, reading  # noqa: E402

from naiad.query import frames, runs  # noqa: E402
from naiad.query.client import Attributes, Runs  # noqa: E402

STEPS = 100_000
REPEATS = 15


def measure(*, quick: bool = False) -> list[str]:
    """Lines to print: milliseconds, median and least of some calls."""
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder,
        migrated(f"chdb://{folder}/store", "naiad") as store,
        reading(store, Path(folder)) as server,
    ):
        values = np.random.default_rng(1).normal(size=STEPS).cumsum()
        run = Spool("bench/frames", "one").create()
        for begin in range(0, STEPS, 10_000):
            part = slice(begin, begin + 10_000)
            run.metrics({"loss": values[part].tolist()}, steps=list(range(STEPS))[part])
        server.write(run)
        os.environ.update(NAIAD_URL=server.url, NAIAD_PROJECT="bench/frames")
        repeats = 3 if quick else REPEATS

        def call() -> object:
            return runs.fetch_metrics(runs=["one"], attributes=["loss"])

        frame = runs.fetch_metrics(runs=["one"], attributes=["loss"])
        assert frame["loss"].to_numpy().tolist() == values.tolist()
        with server.client() as client:

            def ask() -> object:
                return client.metrics(
                    "bench/frames", Runs(names=["one"]), Attributes(paths=["loss"])
                )

            table = client.metrics("bench/frames", Runs(names=["one"]), Attributes(paths=["loss"]))

            def convert() -> object:
                return frames.metrics_frame(
                    table, "run", type_suffix=False, include_time=False, include_previews=False
                )

            return [
                f"one series of {STEPS:,} points to pandas: {_told(call, repeats)}",
                f"  of that the answer, received as Arrow: {_told(ask, repeats)}",
                f"  and the frame of it: {_told(convert, repeats)}",
            ]


def _told(work: Callable[[], object], repeats: int) -> str:
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return f"{statistics.median(took):.1f} ms (least {min(took):.1f})"


if __name__ == "__main__":
    print(*measure(), sep="\n")
