"""What the consumers count of themselves for Prometheus: per poll and per insert."""

from __future__ import annotations

import threading
import time

import pyarrow as pa
from prometheus_client import Counter, Gauge, Histogram

from naiad_store import Store

RECORDS = Counter(
    "naiad_consumer_records_total", "Records of the log that were read, again included.", ["group"]
)
LAG = Gauge(
    "naiad_consumer_lag_records",
    "Records of a partition that the group has not dealt with yet. Each process that can tell"
    " does, so take the greatest of them, not the sum.",
    ["group", "partition"],
)
RESTARTS = Counter(
    "naiad_consumer_restarts_total", "How often a consumer ended by an error.", ["consumer"]
)
INSERT_SECONDS = Histogram(
    "naiad_writer_insert_seconds",
    "How long the store took for an insert.",
    ["table"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
INSERT_ROWS = Histogram(
    "naiad_writer_insert_rows",
    "Rows of an insert.",
    ["table"],
    buckets=(1, 10, 100, 1_000, 10_000, 50_000, 100_000, 250_000, 500_000, 1_000_000),
)
POINTS = Counter(
    "naiad_writer_points_total",
    "Points of every kind of series that were stored, again included.",
)
DEAD_LETTERS = Counter(
    "naiad_dead_letters_total", "Records that could not be read or stored and were put aside.",
    ["group"],
)  # fmt: skip
DEAD_LETTERS_WAITING = Gauge(
    "naiad_dead_letters_waiting", "Dead letters that nobody has looked at yet."
)
ROLL_SECONDS = Histogram(
    "naiad_roller_seconds",
    "How long the store took to roll a handful of series.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
ROLLED_POINTS = Counter(
    "naiad_roller_points_total", "Points that were rolled for the first time, about."
)
JANITOR_SUCCESS = Gauge(
    "naiad_janitor_success_timestamp_seconds",
    "When the janitor's last round ended well, or when it took the lead first; Unix seconds. Others"
    " stand by, so take the greatest; 0 while a process has not led.",
)
JANITOR_FAILURES = Counter(
    "naiad_janitor_failures_total", "Rounds of the janitor that left something for the next."
)
JANITOR_SECONDS = Histogram(
    "naiad_janitor_seconds",
    "How long a round of the janitor took.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800),
)
JANITOR_RUNS = Counter(
    "naiad_janitor_runs_total",
    "Runs whose time was over, by what was asked of the writer: delete or purge.",
    ["change"],
)
JANITOR_REMOVED = Counter(
    "naiad_janitor_removed_total",
    "What the janitor removed: files of purged runs, superseded rows of rollups, and marks that"
    " were dealt with.",
    ["what"],
)
JANITOR_FREED = Counter(
    "naiad_janitor_freed_bytes_total",
    "Bytes that came free, about: of the store, of files.",
    ["where"],
)
ALERTS_RAISED = Counter("naiad_alerts_raised_total", "Alerts that were raised.", ["rule"])

_leads = threading.Event()


def janitor_leads(now: float) -> None:
    """The janitor of this process does, at `now`. Only the first time counts: one that always ends
    before its first round does not get around."""
    if not _leads.is_set():
        _leads.set()
        JANITOR_SUCCESS.set(now)


_TABLES_OF_POINTS = frozenset({"points", "string_points", "histogram_points", "file_points"})


def insert(store: Store, table: str, rows: pa.Table) -> None:
    """`store.insert`, measured. Raises what that raises."""
    began = time.perf_counter()
    store.insert(table, rows)
    INSERT_SECONDS.labels(table).observe(time.perf_counter() - began)
    INSERT_ROWS.labels(table).observe(rows.num_rows)
    if table in _TABLES_OF_POINTS:
        POINTS.inc(rows.num_rows)
