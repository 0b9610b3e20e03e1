"""What query counts of itself for Prometheus: per call."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

REQUESTS = Counter(
    "naiad_query_requests_total", "Calls, by the gRPC status of their answer.", ["method", "code"]
)
SECONDS = Histogram(
    "naiad_query_seconds",
    "How long calls took, to the last piece of their answer.",
    ["method"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)


def answered(method: str, code: str, seconds: float) -> None:
    """A call of the service has ended."""
    REQUESTS.labels(method, code).inc()
    SECONDS.labels(method).observe(seconds)
