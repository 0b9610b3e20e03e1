"""The roller's statements: from points to rows of `rollups`, many series at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from naiad_proto.steps import MAX_MICRO_STEP
from naiad_store.selects.m4 import AS_ROLLUP, GATHERED, NEUTRAL, OF_POINTS, OF_ROLLUP, ROLLUP
from naiad_store.selects.numbering import NONE, number_of, rounds
from naiad_store.selects.rolled import COUNTING, Series
from naiad_store.selects.scope import PREVIEW
from naiad_store.selects.steps import decimal
from naiad_store.store import Store

# How much wider the buckets of each tier are than a stretch's own, as powers of two. Columns are
# gathered from the coarsest that is fine enough; one that is as fine as they are is read as it is.
TIERS = (0, 2, 5, 10)

# One thread: it works beside everything else, and is not in a hurry.
_MODEST = "SETTINGS max_threads = 1, max_insert_threads = 1"


@dataclass(frozen=True, slots=True)
class Job:
    """A stretch of a series to be rolled: micro-steps from `begin` up to, and without, `end`, as
    rows of `edition`, of which there are some from `since` to `begin` already."""

    run: int
    path: str
    begin: int
    end: int
    since: int
    k: int
    edition: int


@dataclass(frozen=True, slots=True)
class Counted:
    """Rows of `points` in a stretch, those that are not the newest of their step included."""

    rows: int
    lowest: int
    highest: int


def count(
    store: Store, project: str, stretches: Mapping[Series, tuple[int, int]]
) -> dict[Series, Counted]:
    """Of the committed points in these stretches [begin, end), where there are any."""
    if not stretches:
        return {}
    given: dict[str, object] = {"project": project}
    jobs = [Job(run, path, *ends, 0, 0, 0) for (run, path), ends in stretches.items()]
    found = store.query(
        f"""
        SELECT n, count() AS rows, min(x) AS lowest, max(x) AS highest
        FROM ({_points_of(jobs, given, final=False)}) GROUP BY n {_MODEST}
        """,
        given,
    )
    return {
        (jobs[n].run, jobs[n].path): Counted(rows, low, high)
        for n, rows, low, high in zip(*(one.to_pylist() for one in found.columns), strict=True)
    }


def roll(store: Store, project: str, jobs: Sequence[Job]) -> None:
    """Inserts the rows of `rollups` that these jobs give, of all tiers. Cut off in the middle,
    some may be there, so their editions are not to be used again."""
    for some in rounds(((job.run, job.path), job) for job in jobs):
        _roll(store, project, [job for _, job in some])


def _roll(store: Store, project: str, jobs: Sequence[Job]) -> None:
    given: dict[str, object] = {"project": project}
    store.command(
        f"""
        INSERT INTO rollups (project, path, k, run, edition, bucket, {", ".join(ROLLUP)})
        SELECT {{project:String}}, {_of_job("paths")}, {_of_job("ks")}, {_of_job("runs")},
            {_of_job("editions")}, bucket, {AS_ROLLUP}
        FROM (
            SELECT n, bucket, {NEUTRAL}
            FROM (
                SELECT n, bitShiftRight(x, k) AS bucket, {OF_POINTS}
                FROM ({_points_of(jobs, given, final=True)}) GROUP BY n, bucket
            )
        ) {_MODEST}
        """,
        given,
    )
    for below, tier in itertools.pairwise(TIERS):
        jobs = [wider for job in jobs for wider in _wider(job, tier - below)]
        if jobs:
            _roll_tier(store, project, jobs, tier - below)


def _wider(job: Job, by: int) -> list[Job]:
    """What this job completes of the tier above. Only there an edition begins in the middle of
    a bucket: its rows of that bucket are of its own points."""
    k = job.k + by
    end = job.end >> k << k
    begin = max(job.begin >> k << k, job.since)
    if end <= begin or k > 62:
        return []
    return [Job(job.run, job.path, begin, end, job.since, k, job.edition)]


def _roll_tier(store: Store, project: str, jobs: Sequence[Job], finer: int) -> None:
    """`k` of the jobs is that of the tier that is made, from the one `finer` below."""
    given: dict[str, object] = {"project": project}
    given |= {
        "ks": [job.k for job in jobs],
        "runs": [job.run for job in jobs],
        "paths": [job.path for job in jobs],
        "editions": [job.edition for job in jobs],
        "lows": [job.begin >> (job.k - finer) for job in jobs],
        "highs": [job.end >> (job.k - finer) for job in jobs],
        "below": sorted({job.k - finer for job in jobs}),
        "some": sorted({job.path for job in jobs}),
        "low": min(job.begin >> (job.k - finer) for job in jobs),
        "high": max(job.end >> (job.k - finer) for job in jobs),
    }
    number = number_of([(job.run, job.path) for job in jobs], given)
    store.command(
        f"""
        INSERT INTO rollups (project, path, k, run, edition, bucket, {", ".join(ROLLUP)})
        SELECT {{project:String}}, {_of_job("paths")}, {_of_job("ks")}, {_of_job("runs")},
            {_of_job("editions")}, wider, {AS_ROLLUP}
        FROM (
            SELECT n, bitShiftRight(bucket, {finer}) AS wider, {GATHERED}
            FROM (
                SELECT {number} AS n, k, edition, bucket, {OF_ROLLUP} FROM rollups
                WHERE project = {{project:String}} AND path IN {{some:Array(String)}}
                    AND k IN {{below:Array(UInt8)}} AND run IN {{runs:Array(UInt64)}}
                    AND bucket >= {{low:Int64}} AND bucket < {{high:Int64}}
            )
            WHERE n != {NONE} AND edition = {_of_job("editions")}
                AND k = {_of_job("ks")} - {finer}
                AND bucket >= arrayElement({{lows:Array(Int64)}}, n + 1)
                AND bucket < arrayElement({{highs:Array(Int64)}}, n + 1)
            GROUP BY n, wider
        ) {_MODEST}
        """,
        given,
    )


def _of_job(array: str) -> str:
    kind = {"paths": "String", "ks": "UInt8", "runs": "UInt64", "editions": "UInt64"}[array]
    return f"arrayElement({{{array}:Array({kind})}}, n + 1)"


def _points_of(jobs: Sequence[Job], given: dict[str, object], *, final: bool) -> str:
    """SQL of the committed points of jobs, no two of one series: the job's number `n`, k, x, value
    and whether that is fine."""
    given |= {
        "runs": [job.run for job in jobs],
        "paths": [job.path for job in jobs],
        "begins": [job.begin for job in jobs],
        "ends": [job.end for job in jobs],
        "ks": [job.k for job in jobs],
        "editions": [job.edition for job in jobs],
        "some": sorted({job.path for job in jobs}),
        "begin": decimal(min(job.begin for job in jobs)),
        "end": decimal(min(max(job.end for job in jobs) - 1, MAX_MICRO_STEP)),
    }
    number = number_of([(job.run, job.path) for job in jobs], given)
    inside = f"n != {NONE}"
    if len({job.begin for job in jobs}) > 1:
        inside += " AND x >= arrayElement({begins:Array(Int64)}, n + 1)"
    if len({job.end for job in jobs}) > 1:
        inside += " AND x < arrayElement({ends:Array(Int64)}, n + 1)"
    return f"""
        SELECT n, arrayElement({{ks:Array(UInt8)}}, n + 1) AS k, x, value, isFinite(value) AS fine
        FROM (
            SELECT {number} AS n, reinterpret(step, 'Int64') AS x, value
            FROM points {"FINAL" if final else ""}
            WHERE project = {{project:String}} AND path IN {{some:Array(String)}}
                AND run IN {{runs:Array(UInt64)}} AND NOT ({PREVIEW})
                AND step >= {{begin:Decimal64(6)}} AND step <= {{end:Decimal64(6)}}
        )
        WHERE {inside}
    """


def long_series(
    store: Store, partitions: Iterable[int], fewest: int
) -> list[tuple[str, str, int, str, int]]:
    """(project, run id, run, path, rows that are not rolled) of the series of these partitions
    that have so many rows or more which aren't rolled, or are rolled in part."""
    found = store.query(
        f"""
        SELECT p.project, r.run_id, p.run, p.path, toInt64(p.rows) - toInt64(d.points) AS fresh
        FROM (
            SELECT project, path, run, count() AS rows FROM points
            WHERE run IN (
                SELECT DISTINCT run FROM writers WHERE log_partition IN {{numbers:Array(UInt32)}})
            GROUP BY project, path, run
        ) AS p
        LEFT JOIN (
            SELECT project, path, run, sum(points) AS points FROM rolled FINAL
            WHERE {COUNTING}
            GROUP BY project, path, run
        ) AS d ON p.project = d.project AND p.path = d.path AND p.run = d.run
        JOIN (SELECT DISTINCT project, run, run_id FROM runs) AS r
            ON p.project = r.project AND p.run = r.run
        WHERE fresh >= {{fewest:Int64}} OR (fresh > 0 AND d.points > 0)
        """,
        {"numbers": sorted(partitions), "fewest": fewest},
    )
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


def dirty_series(store: Store, partitions: Iterable[int]) -> list[dict[str, Any]]:
    """Marks of these partitions that no stretch has dealt with: project, run_id, path, run,
    begin, end (both in), generation."""
    rows: list[dict[str, Any]] = store.query(
        f"""
        SELECT m.project AS project, r.run_id AS run_id, m.path AS path, m.run AS run,
            m.begin AS begin, m.end AS end, m.generation AS generation
        FROM (
            SELECT * FROM dirty_stretches FINAL
            WHERE log_partition IN {{numbers:Array(UInt32)}} AND path != ''
        ) AS m
        JOIN (
            SELECT project, path, run, min(marks_through) AS marks_through FROM rolled FINAL
            WHERE begin < end AND log_partition IN {{numbers:Array(UInt32)}}
                AND {COUNTING}
            GROUP BY project, path, run
        ) AS d ON m.project = d.project AND m.path = d.path AND m.run = d.run
        JOIN (SELECT DISTINCT project, run, run_id FROM runs) AS r
            ON m.project = r.project AND m.run = r.run
        WHERE m.generation > d.marks_through
        """,
        {"numbers": sorted(partitions)},
    ).to_pylist()
    return rows


def runs_at_rest(store: Store, project: str, runs: Iterable[int]) -> set[int]:
    """Those of these runs that do not run."""
    found = store.query(
        "SELECT run FROM view_run_lives WHERE project = {project:String}"
        " AND run IN {runs:Array(UInt64)} AND state != 'running'",
        {"project": project, "runs": list(runs)},
    )
    return set(found.column(0).to_pylist())
