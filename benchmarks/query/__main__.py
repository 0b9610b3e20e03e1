"""How fast charts of many long series and tables of many runs are, what they cost, and what it
takes to keep them so.

    python benchmarks/query [--quick] [--runs N] [--metrics N] [--steps N] [MEASURE]

A store of so many runs, metrics and steps is made directly (1,000 x 1 x 100,000 by default, 100 x
1 x 20,000 with --quick), rolled, and asked by a client over gRPC; kept answers are off. The
store and the service are in one process, the client in another; both share the machine. `table`
makes a store of its own and is asked from the same process.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / folder) for folder in ("benchmarks/client", "tests")]

from report import run  # noqa: E402

MEASURES = ("charts", "growth", "rolling", "aggregates", "frames", "table")

if __name__ == "__main__":
    sizes = argparse.ArgumentParser(add_help=False)
    for name in ("runs", "metrics", "steps"):
        sizes.add_argument(f"--{name}", type=int)
    given, rest = sizes.parse_known_args()
    for name, value in vars(given).items():
        if value is not None:
            os.environ[f"BENCH_{name.upper()}"] = str(value)
    sys.argv[1:] = rest
    run("benchmarks/query", MEASURES, modules="of_{}")
