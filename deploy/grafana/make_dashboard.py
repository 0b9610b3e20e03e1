"""Writes naiad.json, the dashboard for Naiad itself, beside this file.

Grafana's own format has 40 lines for a curve; here each is one. `make_dashboard.py` writes it,
`make_dashboard.py --check` says whether it is fresh.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("naiad.json")
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 8, 8

Curves = dict[str, str]


def quantile(q: float, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket[$__rate_interval])))"


def rate(metric: str, by: str = "") -> str:
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}[$__rate_interval]))"


# (title, unit, what it tells, legend -> question)
ROWS: dict[str, list[tuple[str, str, str, Curves]]] = {
    "Overview": [
        ("Points per second", "cps", "Taken by ingest, and stored by the writers.",
         {"taken": rate("naiad_ingest_points_total"),
          "stored": rate("naiad_writer_points_total")}),
        ("Lag", "short", "Records (batches) of the log that a group has not dealt with yet.",
         {"{{group}}": "sum by (group) (max by (group, partition) (naiad_consumer_lag_records))"}),
        ("Processes", "short", "How many answer.",
         {"{{stage}}": 'sum by (stage) (up{job=~"(.*[/-])?naiad.*"})'}),
    ],
    "Ingest": [
        ("Batches per second", "reqps", "Accepted whole, in part, or refused.",
         {"{{outcome}}": rate("naiad_ingest_batches_total", "outcome")}),
        ("Refused, by answer", "reqps", "RESOURCE_EXHAUSTED is backpressure: clients wait.",
         {"{{code}}": rate("naiad_ingest_refused_batches_total", "code")}),
        ("Rejected items, by reason", "cps", "Their senders were told; they do not come again.",
         {"{{reason}}": rate("naiad_ingest_rejected_items_total", "reason")}),
        ("Append to the log", "s", "How long it took until a batch was durable.",
         {"median": quantile(0.5, "naiad_ingest_append_seconds"),
          "99 %": quantile(0.99, "naiad_ingest_append_seconds")}),
        ("Bytes per second", "Bps", "Of the batches that were taken.",
         {"taken": rate("naiad_ingest_bytes_total")}),
        ("Bytes in flight", "bytes", "Of batches that are being taken, by process.",
         {"{{instance}}": "naiad_ingest_in_flight_bytes"}),
    ],
    "Consumers": [
        ("Records per second", "cps", "Read from the log, again included.",
         {"{{group}}": rate("naiad_consumer_records_total", "group")}),
        ("Insert into the store", "s", "99 % take less.",
         {"{{table}}": quantile(0.99, "naiad_writer_insert_seconds", "table")}),
        ("Rows of an insert", "short", "Median. Large is good.",
         {"{{table}}": quantile(0.5, "naiad_writer_insert_rows", "table")}),
        ("Rolled points per second", "cps", "Of long series, for charts; behind what is stored.",
         {"rolled": rate("naiad_roller_points_total")}),
        ("Roll", "s", "A handful of series at a time; 99 % take less.",
         {"99 %": quantile(0.99, "naiad_roller_seconds")}),
        ("Ended by errors", "short", "In a quarter of an hour.",
         {"{{consumer}}": "sum by (consumer) (increase(naiad_consumer_restarts_total[15m]))"}),
        ("Dead letters", "short", "Put aside so far, and waiting for somebody.",
         {"{{group}}": "sum by (group) (naiad_dead_letters_total)",
          "waiting": "max(naiad_dead_letters_waiting)"}),
        ("Janitor's last round", "s", "How long ago it ended well; one every ten minutes.",
         {"ago": "time() - max(naiad_janitor_success_timestamp_seconds > 0)",
          "took (99 %)": quantile(0.99, "naiad_janitor_seconds")}),
        ("Freed by the janitor", "bytes", "In an hour, about.",
         {"{{where}}": "sum by (where) (increase(naiad_janitor_freed_bytes_total[1h]))"}),
        ("Removed by the janitor", "short", "In an hour: runs whose time was over, and leavings.",
         {"{{change}}": "sum by (change) (increase(naiad_janitor_runs_total[1h]))",
          "{{what}}": "sum by (what) (increase(naiad_janitor_removed_total[1h]))",
          "failed rounds": "sum(increase(naiad_janitor_failures_total[1h]))"}),
        ("Alerts raised", "short", "About runs, in an hour.",
         {"{{rule}}": "sum by (rule) (increase(naiad_alerts_raised_total[1h]))"}),
    ],
    "Query and state": [
        ("Calls per second", "reqps", "By answer.",
         {"{{code}}": rate("naiad_query_requests_total", "code")}),
        ("Time of calls", "s", "95 % take less, to the last piece of the answer.",
         {"{{method}}": quantile(0.95, "naiad_query_seconds", "method")}),
        ("Errors of Redis", "cps", "Limits, caches and live values are off; no data is lost.",
         {"errors": rate("naiad_state_errors_total")}),
        ("Embedded event log", "bytes", "Size of the file (naiad up).",
         {"{{instance}}": "naiad_log_bytes"}),
    ],
}  # fmt: skip


def panel(number: int, x: int, y: int, spec: tuple[str, str, str, Curves]) -> dict[str, Any]:
    title, unit, description, curves = spec
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {
            "defaults": {"unit": unit, "min": 0, "custom": {"fillOpacity": 10}},
            "overrides": [],
        },
        "options": {"tooltip": {"mode": "multi"}, "legend": {"displayMode": "list"}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": expr,
             "legendFormat": legend}
            for index, (legend, expr) in enumerate(curves.items())
        ],
    }  # fmt: skip


def dashboard() -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    y = 0
    for row, specs in ROWS.items():
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": row, "collapsed": False,
             "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []}
        )  # fmt: skip
        y += 1
        for index, spec in enumerate(specs):
            x = index % 3 * WIDTH
            panels.append(panel(len(panels) + 1, x, y + index // 3 * HEIGHT, spec))
        y += (len(specs) + 2) // 3 * HEIGHT
    return {
        "uid": "naiad",
        "title": "Naiad",
        "tags": ["naiad"],
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus",
                 "label": "Data source", "current": {}, "hide": 0}
            ]
        },
        "panels": panels,
    }  # fmt: skip


def main() -> int:
    text = json.dumps(dashboard(), indent=2) + "\n"
    if sys.argv[1:] == ["--check"]:
        if not FILE.exists() or FILE.read_text() != text:
            print(f"{FILE.name} is stale; run {Path(__file__).name}", file=sys.stderr)
            return 1
        return 0
    FILE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
