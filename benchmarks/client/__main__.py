"""What the client costs a training, and how fast what it logs can be read.

    python benchmarks/client [--quick] [calls beside footprint latency sustained backlog]

Every figure of docs/performance.md comes from here; without names all of them are measured,
which takes about half an hour, or three minutes with --quick. A time says as much about the
machine as about us, so beside each stands what it is compared to in the same run.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from report import as_markdown

MEASURES = ("calls", "beside", "footprint", "latency", "sustained", "backlog")


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks/client")
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=", ".join(MEASURES))
    parser.add_argument("--quick", action="store_true", help="fewer calls, shorter times")
    given = parser.parse_args()
    if unknown := set(given.measures) - set(MEASURES):
        parser.error(f"no measure is called {', '.join(sorted(unknown))}; there are {MEASURES}")
    os.environ["NAIAD_QUIET"] = "1"
    rows = []
    for name in given.measures or MEASURES:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        rows += importlib.import_module(name).measure(given.quick)
    print(as_markdown(rows))


if __name__ == "__main__":
    main()
