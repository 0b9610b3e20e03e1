"""What the roller takes while points come in: series that grow by a stretch each time."""

from __future__ import annotations

from filled import filled, size
from report import Row


def measure(quick: bool) -> list[Row]:
    runs = size(quick)[0]
    turns = 4
    stretch = 10_000
    cpu = 0.0
    with filled() as store:
        store.fill(runs=runs, metrics=1, steps=stretch)
        store.roll(rest=False)
        for turn in range(1, turns):
            store.fill(runs=runs, metrics=1, steps=stretch, first=turn * stretch)
            cpu += store.roll(rest=False)["cpu"]
    points = (turns - 1) * runs * stretch
    with filled() as store:
        store.fill(runs=runs, metrics=1, steps=turns * stretch)
        store.merge()
        behind = store.roll(rest=True)["cpu"]
    return [
        Row(
            "share of a core that the roller takes at 1 M points/s", "≤ 20 %",
            f"{cpu / points * 1e6 * 100:.1f} %",
            f"{runs} series that grow by {stretch:,} points, {turns - 1} times, in parts that are"
            " not merged",
        ),
        Row(
            "the same where it catches up with points that are merged", "≤ 20 %",
            f"{behind / (turns * runs * stretch) * 1e6 * 100:.1f} %",
            f"{turns * runs * stretch / 1e6:g} M points at once",
        ),
    ]  # fmt: skip
