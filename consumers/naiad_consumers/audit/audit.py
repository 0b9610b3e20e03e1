"""A project or a run, audited."""

from __future__ import annotations

import asyncio

from naiad_consumers.audit.comparing import Comparison
from naiad_consumers.audit.reading import LogAccount, read_log
from naiad_eventlog import EventLog
from naiad_eventlog.topics import RECORDS
from naiad_proto.v1 import query_pb2 as pb
from naiad_store import Store
from naiad_store.lives import CHANGES, Lives, lives_of_runs
from naiad_store.lookups import tombstones
from naiad_store.selects.ledger import runs_of_project

# A run that is being written to changes between the readings of log and store; then again.
_TRIES = 3


async def audit(
    log: EventLog, store: Store, project: str, run_id: str | None = None
) -> pb.AuditResponse:
    """Every run of the project that log or store know of, or the one. Empty when neither knows
    any. Raises what log and store raise."""
    wanted = [run_id] if run_id is not None else []
    answer = pb.AuditResponse()
    for attempt in range(_TRIES):
        lives = await asyncio.to_thread(_lives, store, project)
        account = await read_log(log, project, wanted, lives)
        compared = await asyncio.to_thread(_compare, store, project, account, wanted)
        moved = await _moved(log, account)
        again = [
            one.account.run_id
            for one in compared
            if one.gaps and one.account.partitions & moved and attempt + 1 < _TRIES
        ]
        for one in compared:
            if one.account.run_id not in again and (one.run.writers or one.gaps):
                answer.gaps.extend(one.gaps)
                # Changes of runs are accounted for, and are no run.
                if one.account.incarnation != CHANGES:
                    answer.runs.append(one.run)
        if not again:
            break
        wanted = again
    answer.runs.sort(key=lambda run: run.run_id)
    return answer


def _compare(
    store: Store, project: str, account: LogAccount, wanted: list[str]
) -> list[Comparison]:
    known = {*account.runs, *runs_of_project(store, project)}
    if wanted:
        known = {one for one in known if one[0] in wanted}
    found = []
    for run_id, incarnation in sorted(known):
        run = account.run(run_id, incarnation)
        # Of a run that the log has nothing of, any partition may have had it.
        partitions = run.partitions or account.starts.keys()
        dropped = any(account.starts.get(number, 0) for number in partitions)
        one = Comparison(store, project, run, dropped=dropped)
        one.compare()
        found.append(one)
    return found


def _lives(store: Store, project: str) -> dict[str, Lives]:
    """Of runs that were ever deleted."""
    rows = tombstones(store, [project])
    found = lives_of_runs(rows, {(row.project, row.run_id) for row in rows})
    return {run_id: lives for (_, run_id), lives in found.items()}


async def _moved(log: EventLog, account: LogAccount) -> set[int]:
    """Partitions that got records since they were read."""
    ends = await log.end_offsets(RECORDS.name)
    return {
        where.partition for where, end in ends.items() if end > account.ends.get(where.partition, 0)
    }
