"""What the roller takes while points come in: series that grow by a stretch each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from filled import filled, size
from report import Row


def measure(quick: bool) -> list[Row]:
    runs = size(quick)[0]
    turns = 4
    stretch = 10_000
    cpu = 0.0
    parts: Counter[str] = Counter()
    with filled() as store:
        store.fill(runs=runs, metrics=1, steps=stretch)
        store.roll(rest=False)
        for turn in range(1, turns):
            store.fill(runs=runs, metrics=1, steps=stretch, first=turn * stretch)
            took = store.roll(rest=False)
            cpu += took["cpu"]
            parts.update(took["of that"])
    points = (turns - 1) * runs * stretch
    everything = turns * runs * stretch
    with filled() as store:
        store.fill(runs=runs, metrics=1, steps=turns * stretch)
        store.merge()
        behind = store.roll(rest=True)
    return [
        Row(
            "share of a core that the roller takes at 1 M points/s", "≤ 20 %",
            f"{cpu / points * 1e6 * 100:.1f} %",
            f"{runs} series that grow by {stretch:,} points, {turns - 1} times, in parts that are"
            f" not merged: {_told(parts, points)}",
        ),
        Row(
            "the same where it catches up with points that are merged", "≤ 20 %",
            f"{behind['cpu'] / everything * 1e6 * 100:.1f} %",
            f"{everything / 1e6:g} M points at once: {_told(behind['of that'], everything)}",
        ),
    ]  # fmt: skip


def _told(parts: Mapping[str, float], points: int) -> str:
    return ", ".join(
        f"{kind} {cpu / points * 1e6 * 100:.1f} %"
        for kind, cpu in sorted(parts.items(), key=lambda one: -one[1])
    )
