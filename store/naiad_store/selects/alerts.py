"""What the alerter reads: its own occurrences and deliveries, and what the writer knows of
runs and their writers.

Occurrences come as rows of `alerts`, each time as milliseconds in `<name>_ms`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from naiad_store import Store

_OCCURRENCE = """
    occurrence, rule, severity, project, run_id, experiment, path, writer_id, step, value,
    message, toUnixTimestamp64Milli(raised_at) AS raised_at_ms,
    toUnixTimestamp64Milli(resolved_at) AS resolved_at_ms, sinks, open, log_partition,
    log_offset, source, record
"""


def standing(store: Store, replay_from: Mapping[int, int]) -> list[dict[str, Any]]:
    """Occurrences that are open, and those that changed at or after an offset from which
    the log is going to be read again (`replay_from`: next offset wanted per partition).

    Of one subject the newest comes last: that is the open one, if any is."""
    sql = f"""
        SELECT {_OCCURRENCE}
        FROM alerts FINAL
        WHERE open = 1 OR log_offset >= transform(
            log_partition, {{partitions:Array(Int32)}}, {{offsets:Array(Int64)}}, toInt64(0))
        ORDER BY open, log_offset, record
    """
    # transform() wants one element at the least; no partition has this number.
    parameters = {
        "partitions": [-2, *replay_from],
        "offsets": [0, *replay_from.values()],
    }
    return _rows(store, sql, parameters)


def known(store: Store, occurrences: Sequence[str]) -> set[str]:
    """Those of the ids that were raised at any time."""
    if not occurrences:
        return set()
    sql = "SELECT DISTINCT occurrence FROM alerts WHERE occurrence IN {ids:Array(String)}"
    return {row["occurrence"] for row in _rows(store, sql, {"ids": list(occurrences)})}


def undelivered(store: Store, sink: str, limit: int) -> list[dict[str, Any]]:
    """Rows of `alerts` with an `event` that `sink` should have had and hasn't been seen to
    take or refuse; the oldest first."""
    sql = f"""
        SELECT {_OCCURRENCE}, event
        FROM
        (
            SELECT *, arrayJoin(if(open = 1, ['firing'], ['firing', 'resolved'])) AS event
            FROM alerts FINAL
            WHERE has(sinks, {{sink:String}})
        ) AS told
        LEFT ANTI JOIN
        (
            SELECT project, occurrence, event
            FROM alert_deliveries
            WHERE sink = {{sink:String}}
        ) AS taken
        USING (project, occurrence, event)
        ORDER BY raised_at_ms, occurrence, event
        LIMIT {{limit:UInt64}}
    """
    return _rows(store, sql, {"sink": sink, "limit": limit})


def waiting_elsewhere(store: Store, sinks: Iterable[str]) -> dict[str, int]:
    """Events not delivered to sinks other than `sinks`: how many, by sink."""
    sql = """
        SELECT sink, toUInt64(count()) AS events
        FROM
        (
            SELECT project, occurrence, arrayJoin(sinks) AS sink,
                arrayJoin(if(open = 1, ['firing'], ['firing', 'resolved'])) AS event
            FROM alerts FINAL
        ) AS told
        LEFT ANTI JOIN (SELECT project, occurrence, sink, event FROM alert_deliveries) AS taken
        USING (project, occurrence, sink, event)
        WHERE NOT has({sinks:Array(String)}, sink)
        GROUP BY sink
    """
    rows = _rows(store, sql, {"sinks": ["", *sinks]})
    return {row["sink"]: row["events"] for row in rows}


def running_writers(store: Store) -> list[dict[str, Any]]:
    """Writers that said that they run and haven't said that they ended: project, run_id,
    writer_id, host, pid, last_seen_at_ms."""
    sql = """
        SELECT w.project AS project, r.run_id AS run_id, w.writer_id AS writer_id,
            w.host AS host, w.pid AS pid,
            toUnixTimestamp64Milli(w.last_seen_at) AS last_seen_at_ms
        FROM (SELECT * FROM spools WHERE state = 'running' AND state_version > 0) AS w
        INNER JOIN (
            SELECT project, run, any(run_id) AS run_id FROM runs
            WHERE run NOT IN (SELECT run FROM hidden_runs) GROUP BY project, run
        ) AS r
        USING (project, run)
    """
    return _rows(store, sql, {})


def ended_writers(store: Store, writer_ids: Sequence[str]) -> set[str]:
    """Those of the writers that said that they ended."""
    if not writer_ids:
        return set()
    sql = """
        SELECT writer_id
        FROM spools
        WHERE writer_id IN {ids:Array(String)}
            AND state IN ('finished', 'stopped', 'failed', 'killed')
    """
    return {row["writer_id"] for row in _rows(store, sql, {"ids": list(writer_ids)})}


def experiment_name(store: Store, project: str, run: int) -> str:
    """Name of the experiment that the run belongs to; empty if it has none yet."""
    sql = """
        SELECT argMax(text, version) AS name
        FROM attributes
        WHERE project = {project:String} AND path = 'sys/name' AND type = 'string'
            AND run = {run:UInt64}
    """
    rows = _rows(store, sql, {"project": project, "run": run})
    return str(rows[0]["name"]) if rows else ""


def _rows(store: Store, sql: str, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.query(sql, parameters).to_pylist()
    return rows
