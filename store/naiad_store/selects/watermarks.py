"""What answers stand on: bytes that differ whenever stored data of a project or of runs may.

A writer's row in `writers` is stored, with a new `row_version`, after whatever came of the
writer's records, new ones, those that came again, and heartbeats alike; within about a second
while there is always more, at once where there isn't. So while these rows stay the same, so does
everything that a question finds; and they are few.
"""

from __future__ import annotations

from collections.abc import Sequence

from naiad_store.store import Store

# Of the table too: a rebuilt store counts from the beginning, and two stores may share a Redis.
_SAID = """
    (SELECT toString(uuid) FROM system.tables
        WHERE database = currentDatabase() AND name = 'writers') AS here,
    count() AS rows,
    groupBitXor(cityHash64(
        run, writer_id, log_partition, row_version, last_seen_at, points)) AS said
"""


def of_runs(store: Store, project: str, runs: Sequence[int]) -> bytes:
    """Of what these runs logged. Their lives are not in it: see `of_project`."""
    found = store.query(
        f"SELECT {_SAID} FROM writers FINAL"
        " WHERE project = {project:String} AND run IN {runs:Array(UInt64)}",
        {"project": project, "runs": list(runs)},
    )
    return repr(found.to_pylist()).encode()


def of_project(store: Store, project: str) -> bytes:
    """Of all that is known of a project's runs. Those that said that they run become
    unreachable while nothing of theirs is stored, so how they live is part of it."""
    parameters: dict[str, object] = {"project": project}
    (said,) = store.query(
        f"SELECT {_SAID}, arraySort(groupUniqArrayIf(run, state = 'running')) AS running"
        " FROM writers FINAL WHERE project = {project:String}",
        parameters,
    ).to_pylist()
    lives: list[object] = []
    if said["running"]:
        lives = store.query(
            "SELECT count() AS runs, groupBitXor(cityHash64(run, state, reason)) AS lives"
            " FROM view_run_lives"
            " WHERE project = {project:String} AND run IN {running:Array(UInt64)}",
            parameters | {"running": said["running"]},
        ).to_pylist()
    return repr((said, lives)).encode()
