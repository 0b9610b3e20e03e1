"""What a call costs, connected to a server that keeps up, with keys made afresh each step, but
where it says otherwise.

Between two calls the loop makes its dict, as a training would, and then computes, so that
shipper and server have the other core and keep up: 100,000 points/s, 250,000 of the widest
row. Beside it stands the cost of copying the
same dict, timed in the same loop: what Python needs to touch all keys once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import platform_up
from report import Row, quantiles

import naiad

Rows = Callable[[int], dict[str, float]]


def _wide(count: int) -> Rows:
    return lambda step: {f"train/layer{n}/loss": step + n / 64 for n in range(count)}


def _kept(count: int) -> Rows:
    """With the same key objects each step, as a loop has that makes its names once."""
    names = [f"train/layer{n}/loss" for n in range(count)]
    return lambda step: {name: step + n / 64 for n, name in enumerate(names)}


def _alternating(sets: int, count: int) -> Rows:
    return lambda step: {f"set{step % sets}/layer{n}/loss": step + n / 64 for n in range(count)}


def measure(quick: bool) -> list[Row]:
    # what, target, how to make a row, calls, microseconds of computing between them; with none
    # the calls come back to back, which no server keeps up with, and go nowhere.
    cases: tuple[tuple[str, str, Rows, int, int], ...] = (
        ("50 metrics, back to back", "4 / 15 / 100 µs", _wide(50), 50_000, 0),
        ("50 metrics", "4 / 15 / 100 µs", _wide(50), 50_000, 500),
        ("1 metric", "2 µs", _wide(1), 100_000, 100),
        ("5,000 metrics", "150 µs, p99.9 1,000 µs", _kept(5000), 2_000, 20_000),
        ("5,000 metrics, keys made afresh", "", _wide(5000), 2_000, 20_000),
        ("100 key-sets of 50 in turn", "8 µs", _alternating(100, 50), 50_000, 500),
    )
    rows = []
    with platform_up.server() as up:
        for what, target, make, calls, pause in cases:
            calls = calls // 10 if quick else calls
            call, copy = _time(up.url, up.spool, make, calls, pause)
            median, p99, p999 = quantiles(call, 50, 99, 99.9)
            base, base_p999 = quantiles(copy, 50, 99.9)
            rows.append(
                Row(
                    f"`log_metrics`, {what}: median / p99 / p99.9",
                    target,
                    f"{median:.2f} / {p99:.1f} / {p999:.1f} µs",
                    f"{median / base:.1f} × `dict(row)`, whose p99.9 is {base_p999:.1f} µs",
                )
            )
    return rows


def _time(
    url: str, spool: Path, make: Rows, calls: int, pause: int
) -> tuple[list[float], list[float]]:
    """Microseconds of each call, and of copying its dict."""
    clock = time.perf_counter_ns
    taken, copied = [], []
    with naiad.Run(
        project="bench/calls", url=url, log_directory=spool, enable_console_log_capture=False,
        source_tracking_config=None, mode="async" if pause else "offline",
    ) as run:  # fmt: skip
        for step in range(1000):
            run.log_metrics(make(step), step)
        assert not pause or run.wait_for_processing(timeout=120)
        for step in range(1000, 1000 + calls):
            row = make(step)
            begin = clock()
            run.log_metrics(row, step)
            between = clock()
            dict(row)
            end = clock()
            taken.append((between - begin) / 1000)
            copied.append((end - between) / 1000)
            while clock() - begin < pause * 1000:
                pass
        assert not pause or run.wait_for_processing(timeout=120)
    return taken, copied
