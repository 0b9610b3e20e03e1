"""What ingest counts of itself for Prometheus: per batch, never per point."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import Counter, Gauge, Histogram

from naiad_proto.v1.records_pb2 import Rejection, RejectionReason

BATCHES = Counter(
    "naiad_ingest_batches_total",
    "Batches that were sent: accepted whole, partial (some items were rejected) or refused.",
    ["outcome"],
)
POINTS = Counter("naiad_ingest_points_total", "Points of every kind of series that were taken.")
BYTES = Counter("naiad_ingest_bytes_total", "Bytes of the batches that were taken.")
REJECTED_ITEMS = Counter(
    "naiad_ingest_rejected_items_total",
    "Things in batches that were not taken, by the reason that their sender was told.",
    ["reason"],
)
REFUSED_BATCHES = Counter(
    "naiad_ingest_refused_batches_total",
    "Batches that were not taken at all, by the gRPC status of the answer.",
    ["code"],
)
APPEND_SECONDS = Histogram(
    "naiad_ingest_append_seconds",
    "How long the event log took to make a batch durable.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)
IN_FLIGHT_BYTES = Gauge("naiad_ingest_in_flight_bytes", "Bytes of batches that are being taken.")

_ACCEPTED, _PARTIAL, _REFUSED = (
    BATCHES.labels(name) for name in ("accepted", "partial", "refused")
)
_PREFIX = len("REJECTION_REASON_")


def taken(points: int, size: int, rejections: Sequence[Rejection]) -> None:
    """A batch of `size` bytes is in the log, with so many good points."""
    if rejections:
        for reason, count in Tally(one.reason for one in rejections).items():
            REJECTED_ITEMS.labels(_named(reason)).inc(count)
    (_PARTIAL if rejections else _ACCEPTED).inc()
    POINTS.inc(points)
    BYTES.inc(size)


def answered(method: str, code: str, seconds: float) -> None:
    """A call of the service has ended."""
    if method == "WriteBatch" and code != "OK":
        _REFUSED.inc()
        REFUSED_BATCHES.labels(code).inc()


def _named(reason: RejectionReason.ValueType) -> str:
    if reason not in RejectionReason.values():
        return str(reason)
    return RejectionReason.Name(reason)[_PREFIX:].lower()


# There from the start, so that the first refusal is seen as a step and not as news.
for _code in ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "UNAVAILABLE", "UNAUTHENTICATED",
              "PERMISSION_DENIED", "UNKNOWN"):  # fmt: skip
    REFUSED_BATCHES.labels(_code)
for _reason in RejectionReason.values():
    if _reason:
        REJECTED_ITEMS.labels(_named(_reason))
