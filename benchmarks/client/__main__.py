"""What the client costs a training, and how fast what it logs can be read.

    python benchmarks/client [--quick] [calls beside footprint latency sustained backlog]

Every figure of docs/performance.md comes from here; without names all of them are measured,
which takes about half an hour, or three minutes with --quick. A time says as much about the
machine as about us, so beside each stands what it is compared to in the same run.
"""

from __future__ import annotations

from report import run

MEASURES = ("calls", "beside", "footprint", "latency", "sustained", "backlog")

if __name__ == "__main__":
    run("benchmarks/client", MEASURES)
