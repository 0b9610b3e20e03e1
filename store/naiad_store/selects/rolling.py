"""The roller's statements: from points to rows of `rollups`, many series at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from naiad_proto.steps import MAX_MICRO_STEP
from naiad_store.selects.m4 import AS_ROLLUP, GATHERED, NEUTRAL, OF_POINTS, OF_ROLLUP, ROLLUP
from naiad_store.selects.rolled import COUNTING, Series
from naiad_store.selects.scope import PREVIEW
from naiad_store.selects.steps import decimal
from naiad_store.store import Store

# How much wider the buckets of each tier are than those of the one below it, as powers of two.
TIER = 5
TIERS = 2

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
    for _ in range(TIERS):
        jobs = [wider for job in jobs for wider in _wider(job)]
        if jobs:
            _roll_tier(store, project, jobs)


def _wider(job: Job) -> list[Job]:
    """What this job completes of the tier above. Only there an edition begins in the middle of
    a bucket: its rows of that bucket are of its own points."""
    k = job.k + TIER
    end = job.end >> k << k
    begin = max(job.begin >> k << k, job.since)
    if end <= begin or k > 62:
        return []
    return [Job(job.run, job.path, begin, end, job.since, k, job.edition)]


def _roll_tier(store: Store, project: str, jobs: Sequence[Job]) -> None:
    """`k` of the jobs is that of the tier that is made."""
    given: dict[str, object] = {"project": project}
    given |= {
        "ks": [job.k for job in jobs],
        "runs": [job.run for job in jobs],
        "paths": [job.path for job in jobs],
        "editions": [job.edition for job in jobs],
        "lows": [job.begin >> (job.k - TIER) for job in jobs],
        "highs": [job.end >> (job.k - TIER) for job in jobs],
        "below": sorted({job.k - TIER for job in jobs}),
        "low": min(job.begin >> (job.k - TIER) for job in jobs),
        "high": max(job.end >> (job.k - TIER) for job in jobs),
    }
    store.command(
        f"""
        INSERT INTO rollups (project, path, k, run, edition, bucket, {", ".join(ROLLUP)})
        SELECT {{project:String}}, {_of_job("paths")}, {_of_job("ks")}, {_of_job("runs")},
            {_of_job("editions")}, bucket, {AS_ROLLUP}
        FROM (
            SELECT n, bitShiftRight(bucket, {TIER}) AS bucket, {GATHERED}
            FROM (
                SELECT j.n AS n, r.bucket AS bucket, {OF_ROLLUP}
                FROM (
                    SELECT * FROM rollups
                    WHERE project = {{project:String}} AND path IN {{paths:Array(String)}}
                        AND k IN {{below:Array(UInt8)}} AND run IN {{runs:Array(UInt64)}}
                        AND bucket >= {{low:Int64}} AND bucket < {{high:Int64}}
                ) AS r
                JOIN (
                    SELECT one.1 AS n, one.2 AS run, one.3 AS path, one.4 AS edition,
                        one.5 AS low, one.6 AS high, toUInt8(one.7 - {TIER}) AS k
                    FROM (SELECT arrayJoin(arrayZip(
                        range({len(jobs)}), {{runs:Array(UInt64)}}, {{paths:Array(String)}},
                        {{editions:Array(UInt64)}}, {{lows:Array(Int64)}},
                        {{highs:Array(Int64)}}, {{ks:Array(UInt8)}})) AS one)
                ) AS j ON r.run = j.run AND r.path = j.path AND r.edition = j.edition AND r.k = j.k
                WHERE r.bucket >= j.low AND r.bucket < j.high
            ) GROUP BY n, bucket
        ) {_MODEST}
        """,
        given,
    )


def _of_job(array: str) -> str:
    kind = {"paths": "String", "ks": "UInt8", "runs": "UInt64", "editions": "UInt64"}[array]
    return f"arrayElement({{{array}:Array({kind})}}, n + 1)"


def _points_of(jobs: Sequence[Job], given: dict[str, object], *, final: bool) -> str:
    """SQL of the committed points of each job: its number `n`, k, x, value and whether that is
    fine."""
    given |= {
        "runs": [job.run for job in jobs],
        "paths": [job.path for job in jobs],
        "begins": [job.begin for job in jobs],
        "ends": [job.end for job in jobs],
        "ks": [job.k for job in jobs],
        "editions": [job.edition for job in jobs],
        "begin": decimal(min(job.begin for job in jobs)),
        "end": decimal(min(max(job.end for job in jobs) - 1, MAX_MICRO_STEP)),
    }
    return f"""
        SELECT j.n AS n, j.k AS k, p.x AS x, p.value AS value, isFinite(p.value) AS fine
        FROM (
            SELECT run, path, reinterpret(step, 'Int64') AS x, value
            FROM points {"FINAL" if final else ""}
            WHERE project = {{project:String}} AND path IN {{paths:Array(String)}}
                AND run IN {{runs:Array(UInt64)}} AND NOT ({PREVIEW})
                AND step >= {{begin:Decimal64(6)}} AND step <= {{end:Decimal64(6)}}
        ) AS p
        JOIN (
            SELECT one.1 AS n, one.2 AS run, one.3 AS path, one.4 AS begin, one.5 AS end,
                one.6 AS k
            FROM (SELECT arrayJoin(arrayZip(
                range({len(jobs)}), {{runs:Array(UInt64)}}, {{paths:Array(String)}},
                {{begins:Array(Int64)}}, {{ends:Array(Int64)}}, {{ks:Array(UInt8)}})) AS one)
        ) AS j ON p.run = j.run AND p.path = j.path
        WHERE p.x >= j.begin AND p.x < j.end
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
            WHERE (project, run) IN (
                SELECT DISTINCT project, run FROM writers
                WHERE log_partition IN {{numbers:Array(UInt32)}})
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
