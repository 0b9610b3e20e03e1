"""How much slower a pure-Python training loop gets beside the sending of what it logs.

Two loops take turns, each for a second or so: one computes, the other computes the same and
logs 50 metrics a step at 1 M points/s. The time inside the calls is taken off, so what is
left is what shipper, server and the client's own thread take away: once with a server that
takes everything and does nothing with it, as if it were on another machine, and once with a
whole Naiad on the same two cores.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import platform_up
from report import Row, quantiles
from sink import sink

import naiad

POINTS_PER_SECOND = 1_000_000
METRICS = 50
STEP = METRICS / POINTS_PER_SECOND


def measure(quick: bool) -> list[Row]:
    turns = 5 if quick else 20
    rows = []
    with sink() as url, tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        rows.append(_row("server elsewhere", _loss(url, Path(folder), turns)))
    with platform_up.server() as up:
        rows.append(_row("server on the same 2 cores", _loss(up.url, up.spool, turns)))
    return rows


def _row(where: str, losses: list[float]) -> Row:
    low, median, high = quantiles(losses, 25, 50, 75)
    return Row(
        f"a Python loop beside 1 M points/s, {where}",
        "≤ 1 % slower",
        f"{median:.1%} slower",
        f"quartiles of {len(losses)} turns: {low:.1%}, {high:.1%}",
    )


def _loss(url: str, spool: Path, turns: int) -> list[float]:
    losses = []
    with naiad.Run(
        project="bench/beside", url=url, log_directory=spool, enable_console_log_capture=False,
        source_tracking_config=None, hardware_interval=None,
    ) as run:  # fmt: skip
        row = {f"train/layer{n}/loss": n / 64 for n in range(METRICS)}
        work = _calibrated()
        _turn(run, row, 0, 5_000, work)
        for turn in range(1, turns + 1):
            # In turns, and each first half of the time: a machine drifts.
            plain = _turn(None, row, 0, 20_000, work)
            logged = _turn(run, row, turn * 20_000, 20_000, work)
            losses.append(logged / plain - 1)
        run.close()
    return losses


def _calibrated() -> int:
    """How much computing makes a step as long as it has to be."""
    begin = time.perf_counter()
    _compute(1_000_000)
    return round(1_000_000 * STEP * 0.9 / (time.perf_counter() - begin))


def _compute(rounds: int) -> int:
    total = 0
    for number in range(rounds):
        total += number & 7
    return total


def _turn(run: naiad.Run | None, row: dict[str, float], first: int, steps: int, work: int) -> float:
    """Seconds that the computing of `steps` steps took; calls are not counted in."""
    clock = time.perf_counter
    computing = 0.0
    for step in range(first, first + steps):
        begin = clock()
        _compute(work)
        computing += clock() - begin
        if run:
            run.log_metrics(row, step)
    return computing
