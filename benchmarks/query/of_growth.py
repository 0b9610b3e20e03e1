"""How the time of a chart grows with the length of its runs."""

from __future__ import annotations

from filled import PROJECT, filled, size
from of_charts import best
from report import Row

from naiad.query.client import Attributes, QueryClient, Runs


def measure(quick: bool) -> list[Row]:
    runs, _, steps = size(quick)
    taken = {}
    for length in (steps // 10, steps // 3, steps):
        with filled() as store:
            store.fill(runs=runs, metrics=1, steps=length)
            store.roll(rest=True)
            store.merge()
            with QueryClient(store.serve()["url"], timeout=600) as client:

                def ask(client: QueryClient = client) -> object:
                    return client.metric_buckets(
                        PROJECT, Runs(), Attributes("metric-0"), max_buckets=700
                    )

                taken[length] = best(ask)[0]
    first, *_, last = taken
    told = ", ".join(
        f"{length:,} steps {seconds * 1000:.0f} ms" for length, seconds in taken.items()
    )
    return [
        Row(
            f"growth of a chart of {runs:,} runs, 700 px, from {first:,} to {last:,} steps a run",
            "≤ 1.5 ×", f"{taken[last] / taken[first]:.2f} ×", told,
        )
    ]  # fmt: skip
