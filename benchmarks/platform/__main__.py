"""What the production engines take: Apache Kafka, a store behind ClickHouse's HTTP interface,
and stages as processes of their own.

    python benchmarks/platform [--quick] [ingest overload writer latency rebalance]

Every figure of docs/operations.md comes from here. Kafka's brokers are those of deploy/dev
and run on this machine too, as do the clients, so that all of them share its cores.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (
    HERE.parent / "client",
    HERE.parent.parent / "tests",
    HERE.parents[1] / "deploy/dev",
):
    sys.path.append(str(folder))

from report import as_markdown  # noqa: E402

MEASURES = ("ingest", "overload", "writer", "latency", "rebalance")


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks/platform")
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=", ".join(MEASURES))
    parser.add_argument("--quick", action="store_true", help="fewer points, shorter times")
    given = parser.parse_args()
    if unknown := set(given.measures) - set(MEASURES):
        parser.error(f"no measure is called {', '.join(sorted(unknown))}; there are {MEASURES}")
    os.environ["NAIAD_QUIET"] = "1"
    rows = []
    for name in given.measures or MEASURES:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"through_{name}").measure(given.quick)
    print(as_markdown(rows))


if __name__ == "__main__":
    main()
