"""Points to a frame: a query service on loopback over a store in this process, the real client,
from the call of `naiad.query.runs.fetch_metrics` to what it returns.

    python benchmarks/query [--quick] frames

One metric of 100,000 steps.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / folder) for folder in ("benchmarks/client", "tests")]

from report import Row, as_markdown  # noqa: E402
from support_clickhouse import migrated  # noqa: E402
from support_query import Spool, reading  # noqa: E402

from naiad.query import frames, runs  # noqa: E402
from naiad.query.client import Attributes, Runs  # noqa: E402

PROJECT = "bench/frames"
STEPS = 100_000


def measure(quick: bool) -> list[Row]:
    repeats = 5 if quick else 25
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder,
        migrated(f"chdb://{folder}/store", "naiad") as store,
        reading(store, Path(folder)) as server,
    ):
        values = np.random.default_rng(1).normal(size=STEPS).cumsum()
        run = Spool(PROJECT, "one").create()
        for begin in range(0, STEPS, 10_000):
            steps = list(range(begin, begin + 10_000))
            run.metrics({"loss": values[begin : begin + 10_000].tolist()}, steps=steps)
        server.write(run)
        os.environ.update(NAIAD_URL=server.url, NAIAD_PROJECT=PROJECT)

        def call(output: str) -> Any:
            return runs.fetch_metrics(runs=["one"], attributes=["loss"], output=output)

        assert call("pandas")["loss"].to_numpy().tolist() == values.tolist()
        with server.client() as client:

            def ask() -> Any:
                return client.metrics(PROJECT, Runs(names=["one"]), Attributes(paths=["loss"]))

            table = ask()

            def convert() -> Any:
                return frames.metrics_frame(
                    table, "run", type_suffix=False, include_time=False, include_previews=False
                )

            parts = f"answer {_told(ask, repeats)}, frame of it {_told(convert, repeats)}"
        what = f"one series of {STEPS:,} points to"
        return [
            Row(f"{what} pandas", "≤ 60 ms", _told(lambda: call("pandas"), repeats), parts),
            Row(f"{what} Arrow", "", _told(lambda: call("arrow"), repeats)),
        ]


def _told(work: Callable[[], Any], repeats: int) -> str:
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return f"{statistics.median(took):.1f} ms (least {min(took):.1f})"


if __name__ == "__main__":
    print(as_markdown(measure("--quick" in sys.argv)))
