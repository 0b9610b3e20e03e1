"""What is counted of the shared state for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter

ERRORS = Counter(
    "naiad_state_errors_total",
    "Calls to Redis that failed. What asked went on without: no limits across processes, no"
    " cached answers, no live values. Calls that aren't made because it is away don't count.",
)
