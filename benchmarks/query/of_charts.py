"""Charts of all runs on one metric, received by a client; one series to pandas; bytes a point."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from filled import PROJECT, Filled, filled, size
from report import Row

from naiad.query.client import Attributes, QueryClient, Runs

_FEWEST = 3


def measure(quick: bool) -> list[Row]:
    runs, metrics, steps = size(quick)
    named = f"{runs:,} runs × {metrics} metrics × {steps:,} steps"
    rows = []
    with filled() as store:
        took = store.fill(runs=runs, metrics=metrics, steps=steps)["seconds"]
        print(f"  filled in {took:.0f} s", file=sys.stderr, flush=True)
        rolled = store.roll(rest=True)
        print(f"  rolled: {rolled}", file=sys.stderr, flush=True)
        store.merge()
        print("  merged", file=sys.stderr, flush=True)
        points = runs * metrics * steps
        rows.append(
            Row(
                f"rolling {named}", "",
                f"{points / rolled['seconds'] / 1e6:.1f} M points/s",
                f"{rolled['cpu'] / points * 1e6 * 100:.1f} % of a core at 1 M points/s; filling"
                f" the store took {took:.0f} s",
            )
        )  # fmt: skip
        with QueryClient(store.serve()["url"], timeout=600) as client:
            chart = Chart(store, client)
            rows += [
                chart.row(f"chart of {named.replace(f'{metrics} metrics', '1 metric')}, 700 px",
                          "≤ 500 ms", max_buckets=700),
                _first_of_a_process(store.serve()["url"]),
                chart.row("the same, 1,400 px", "≤ 700 ms", max_buckets=1400),
                chart.row("zoomed to 1 % of x", "≤ 400 ms", max_buckets=700,
                          from_x=steps * 0.42, to_x=steps * 0.43),
                chart.row("by wall time", "≤ 3 s", max_buckets=700, x="time"),
                _least_by_time(store),
                chart.bands("bands of 10 groups, mean and min/max", "≤ 700 ms"),
            ]  # fmt: skip
            live = min(6000, steps // 10)
            store.fill(runs=runs, metrics=1, steps=live, first=steps)
            rows.append(
                chart.row(f"700 px, with {live:,} points of each run not rolled", "≤ 900 ms",
                          max_buckets=700)
            )  # fmt: skip
            rows.append(_one_series(client, steps))
    return rows + _bytes(quick)


class Chart:
    def __init__(self, store: Filled, client: QueryClient) -> None:
        self._store = store
        self._client = client

    def row(self, what: str, target: str, **asked: Any) -> Row:
        return self._row(
            what,
            target,
            lambda: self._client.metric_buckets(PROJECT, Runs(), Attributes("metric-0"), **asked),
        )

    def bands(self, what: str, target: str) -> Row:
        return self._row(
            what,
            target,
            lambda: self._client.chart(
                PROJECT, Runs(), Attributes("metric-0"), width=700, group_by=["group"],
                band="min_max",
            )[0],
        )  # fmt: skip

    def _row(self, what: str, target: str, ask: Callable[[], Any]) -> Row:
        before = self._store.cpu()
        seconds, table = best(ask)
        after = self._store.cpu()
        cpu, questions, asking, streaming = (
            (after[name] - before[name]) / (_FEWEST + 1)
            for name in ("seconds", "questions", "asking", "streaming")
        )
        print(f"  {what}: {seconds * 1000:.0f} ms", file=sys.stderr, flush=True)
        return Row(
            what, target, f"{seconds * 1000:.0f} ms",
            f"{table.num_rows:,} columns, {table.nbytes / 1e6:.0f} MB; the server computes"
            f" {cpu * 1000:.0f} ms; {questions:.0f} questions take {asking * 1000:.0f} ms,"
            f" what is streamed then {streaming * 1000:.0f} ms",
        )  # fmt: skip


def best(ask: Callable[[], Any]) -> tuple[float, Any]:
    """Of some times the best, after one that doesn't count."""
    found = ask()
    taken = []
    for _ in range(_FEWEST):
        began = time.perf_counter()
        found = ask()
        taken.append(time.perf_counter() - began)
    return min(taken), found


_FIRST = f"""
import sys, time
from naiad.query.client import Attributes, QueryClient, Runs
with QueryClient(sys.argv[1], timeout=600) as client:
    began = time.perf_counter()
    client.metric_buckets({PROJECT!r}, Runs(), Attributes("metric-0"), max_buckets=700)
    print(time.perf_counter() - began)
"""


def _first_of_a_process(url: str) -> Row:
    """As a script asks: what it takes to load the client is left out."""
    taken = []
    for _ in range(_FEWEST):
        done = subprocess.run(
            [sys.executable, "-c", _FIRST, url], stdout=subprocess.PIPE, text=True, check=True
        )
        taken.append(float(done.stdout) * 1000)
    return Row(
        "the first question of a process, 700 px", "", f"{min(taken):.0f} ms",
        f"at most {max(taken):.0f} ms; memory is touched for the first time",
    )  # fmt: skip


def _least_by_time(store: Filled) -> Row:
    took = store.least_by_time()
    return Row(
        "its points read, and grouped by run and column, without M4", "",
        f"{took['grouped'] * 1000:.0f} ms",
        f"read and summed alone {took['read'] * 1000:.0f} ms",
    )  # fmt: skip


def _one_series(client: QueryClient, steps: int) -> Row:
    def ask() -> Any:
        table = client.metrics(
            PROJECT, Runs(names=["run-0"]), Attributes("metric-0"), steps=(None, steps * 10**6 - 1)
        )
        return table.to_pandas()

    seconds, frame = best(ask)
    return Row(
        f"one series of {len(frame):,} points to pandas", "≤ 60 ms", f"{seconds * 1000:.0f} ms"
    )


def _bytes(quick: bool) -> list[Row]:
    rows = []
    runs, steps = (10, 20_000) if quick else (100, 100_000)
    for kind, target in (("walk", "≤ 10"), ("loss", "≤ 5")):
        with filled() as store:
            store.fill(runs=runs, metrics=1, steps=steps, kind=kind)
            store.roll(rest=True)
            store.merge()
            found = store.bytes_per_point()
            what = {"walk": "a random walk", "loss": "a loss of 3 digits"}[kind]
            rows.append(
                Row(
                    f"bytes a point, {what}, 2 ms of jitter, rollups included", target,
                    f"{sum(found.values()):.2f}", f"of that rollups {found['rollups']:.2f}",
                )
            )  # fmt: skip
    return rows
