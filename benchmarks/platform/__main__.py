"""What the production engines take: Apache Kafka, a store behind ClickHouse's HTTP interface,
and stages as processes of their own.

    python benchmarks/platform [--quick] [ingest overload writer latency rebalance]

Every figure of docs/operations.md comes from here. Kafka's brokers are those of deploy/dev
and run on this machine too, as do the clients, so that all of them share its cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / folder) for folder in ("benchmarks/client", "tests", "deploy/dev")]

from report import run  # noqa: E402

MEASURES = ("ingest", "overload", "writer", "latency", "rebalance")

if __name__ == "__main__":
    # Not by the names alone: benchmarks/client has a latency too.
    run("benchmarks/platform", MEASURES, modules="through_{}")
