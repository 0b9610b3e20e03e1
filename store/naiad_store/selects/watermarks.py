"""What answers stand on: bytes that differ whenever stored data of a project or of runs may.

A writer's row in `writers` is stored, with a new `row_version`, after whatever came of the
writer's records, new ones, those that came again, and heartbeats alike; within about a second
while there is always more, at once where there isn't. So while these rows stay the same, so does
everything that a question finds; and they are few.
"""

from __future__ import annotations

from collections.abc import Sequence

from naiad_store.store import Store

_SAID = "count() AS writers, groupBitXor(cityHash64(run, writer_id, row_version)) AS said"


def of_runs(store: Store, project: str, runs: Sequence[int]) -> bytes:
    """Of what these runs logged. Their lives are not in it: see `of_project`."""
    found = store.query(
        f"SELECT {_SAID} FROM writers FINAL"
        " WHERE project = {project:String} AND run IN {runs:Array(UInt64)}",
        {"project": project, "runs": list(runs)},
    )
    return _as_bytes(found.to_pylist())


def of_project(store: Store, project: str) -> bytes:
    """Of all that is known of a project's runs. Whether a running one is unreachable hangs also
    on how long the consumers have listened (`view_run_lives`)."""
    found = store.query(
        f"""
        SELECT {_SAID}, countIf(state = 'running') > 0 AS some_run,
            if(some_run, (
                SELECT (max(since), min(until)) FROM listening FINAL
                WHERE told_at >= (SELECT max(told_at) FROM listening) - INTERVAL 30 SECOND
            ), (toDateTime64(0, 3, 'UTC'), toDateTime64(0, 3, 'UTC'))) AS heard
        FROM writers FINAL WHERE project = {{project:String}}
        """,
        {"project": project},
    )
    return _as_bytes(found.to_pylist())


def identity(store: Store) -> bytes:
    """Of the database itself: two of one name are not the same."""
    found = store.query(
        "SELECT toString(uuid) AS id FROM system.databases WHERE name = currentDatabase()"
    )
    return _as_bytes(found.to_pylist())


def _as_bytes(rows: Sequence[object]) -> bytes:
    return repr(rows).encode()
