"""Filters and orders by what all points of long series come to, before and after these are rolled:
the real client, from the call to a page of 100 runs.

    python benchmarks/query [--quick] --runs 200 aggregates
"""

from __future__ import annotations

from filled import PROJECT, filled, size
from of_charts import best
from report import Row

from naiad.query.client import Attributes, QueryClient, Runs

_ASKED = {
    "filter by .max": ("`metric-0`.max > 13", "sys/creation_time"),
    "order by .max": ("", "`metric-0`.max"),
    "filter by .min and .mean, order by .count": (
        "`metric-0`.min < -13 and `metric-0`.mean < 1", "`metric-0`.count",
    ),
    "order by .first": ("", "`metric-0`.first"),
}  # fmt: skip


def measure(quick: bool) -> list[Row]:
    runs, _, steps = size(quick)
    with filled() as store:
        store.fill(runs=runs, metrics=1, steps=steps)
        store.merge()
        with QueryClient(store.serve()["url"]) as client:
            before = _taken(client)
        store.roll(rest=True)
        store.merge()
        with QueryClient(store.serve()["url"]) as client:
            after = _taken(client)
    return [
        Row(
            f"{what}, {runs:,} runs × {steps:,} steps, a page of 100",
            "",
            f"{after[what] * 1000:.0f} ms",
            f"{before[what] * 1000:.0f} ms from the points",
        )
        for what in _ASKED
    ]


def _taken(client: QueryClient) -> dict[str, float]:
    def page(where: str, order: str) -> object:
        return client.runs_page(
            PROJECT, Runs(filter=where), Attributes(paths=["metric-0"]), sort_by=order, limit=100
        )

    return {
        what: best(lambda where=where, order=order: page(where, order))[0]  # type: ignore[misc]
        for what, (where, order) in _ASKED.items()
    }
