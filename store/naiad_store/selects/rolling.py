"""The roller's statements: from points to rows of `rollups`, many series at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from naiad_proto.steps import MAX_MICRO_STEP
from naiad_store.selects.m4 import GATHERED, OF_EXTREMES, OF_GATHERED, OF_POINTS, ROLLUP
from naiad_store.selects.numbering import NONE, number_of, rounds
from naiad_store.selects.rolled import COUNTING, Series
from naiad_store.selects.scope import PREVIEW
from naiad_store.selects.steps import decimal
from naiad_store.store import Store

# How much wider the buckets of each tier are than a stretch's own, as powers of two. Each column
# of a chart that is fine enough to need rollups is a row of one of them as it is: gathering
# columns from finer rows took longer than all the rest of a chart. Together the tiers are as many
# rows again as the first one.
TIERS = tuple(range(11))
# Tiers that are made of another one at once: it, and those.
_MADE = ((0, (1, 2, 3, 4, 5)), (5, (6, 7, 8, 9, 10)))

# One thread: it works beside everything else, and is not in a hurry.
_MODEST = "SETTINGS max_threads = 1, max_insert_threads = 1"


@dataclass(frozen=True, slots=True)
class Job:
    """A stretch of a series to be rolled: micro-steps from `begin` up to, and without, `end`, as
    rows of `edition`, of which there are some from `since` to `begin` already. `last`: there
    will be none behind."""

    run: int
    path: str
    begin: int
    end: int
    since: int
    k: int
    edition: int
    last: bool = False


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
            {_of_job("editions")}, bucket, {OF_EXTREMES}
        FROM (
            SELECT n, bitShiftRight(x, k) AS bucket, {OF_POINTS}
            FROM ({_points_of(jobs, given, final=True)}) GROUP BY n, bucket
        ) {_MODEST}
        """,
        given,
    )
    for below, tiers in _MADE:
        _roll_tiers(store, project, jobs, below, tiers)


def _completed(job: Job, tier: int) -> tuple[int, int]:
    """Micro-steps [begin, end) of what this job completes of a tier. Only in tiers an edition
    begins or ends in the middle of a bucket: its rows of that bucket are of its own points."""
    k = job.k + tier
    if k > 62:
        return (0, 0)
    end = job.end if job.last else job.end >> k << k
    begin = max(job.begin >> k << k, job.since)
    return (begin, end) if begin < end else (0, 0)


def _roll_tiers(
    store: Store, project: str, jobs: Sequence[Job], below: int, tiers: Sequence[int]
) -> None:
    """`tiers` of these jobs, no two of one series, from the rows of tier `below`."""
    # Of each job what each tier wants of the rows below, as numbers of their buckets.
    wanted = {
        job: [
            (begin >> (job.k + below), -(-end >> (job.k + below)))
            for begin, end in (_completed(job, tier) for tier in tiers)
        ]
        for job in jobs
    }
    jobs = [job for job in jobs if any(low < high for low, high in wanted[job])]
    if not jobs:
        return
    some = [ends for job in jobs for ends in wanted[job] if ends[0] < ends[1]]
    given: dict[str, object] = {
        "project": project,
        "ks": [job.k for job in jobs],
        "runs": [job.run for job in jobs],
        "paths": [job.path for job in jobs],
        "editions": [job.edition for job in jobs],
        "lows": [low for job in jobs for low, _ in wanted[job]],
        "highs": [high for job in jobs for _, high in wanted[job]],
        "below": sorted({job.k + below for job in jobs}),
        "some": sorted({job.path for job in jobs}),
        "low": min(low for low, _ in some),
        "high": max(high for _, high in some),
    }
    number = number_of([(job.run, job.path) for job in jobs], given)
    ends = f"n * {len(tiers)} + tier - {tiers[0] - 1}"
    store.command(
        f"""
        INSERT INTO rollups (project, path, k, run, edition, bucket, {", ".join(ROLLUP)})
        SELECT {{project:String}}, {_of_job("paths")}, {_of_job("ks")} + tier,
            {_of_job("runs")}, {_of_job("editions")}, wider, {OF_GATHERED}
        FROM (
            SELECT n, tier, bitShiftRight(bucket, tier - {below}) AS wider, {GATHERED}
            FROM (
                SELECT *, arrayJoin({list(tiers)}) AS tier
                FROM (
                    SELECT {number} AS n, k, edition, bucket, {", ".join(ROLLUP)} FROM rollups
                    WHERE project = {{project:String}} AND path IN {{some:Array(String)}}
                        AND k IN {{below:Array(UInt8)}} AND run IN {{runs:Array(UInt64)}}
                        AND bucket >= {{low:Int64}} AND bucket < {{high:Int64}}
                )
                WHERE n != {NONE} AND edition = {_of_job("editions")}
                    AND k = {_of_job("ks")} + {below}
            )
            WHERE bucket >= arrayElement({{lows:Array(Int64)}}, {ends})
                AND bucket < arrayElement({{highs:Array(Int64)}}, {ends})
            GROUP BY n, tier, wider
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
            PREWHERE step >= {{begin:Decimal64(6)}} AND step <= {{end:Decimal64(6)}}
            WHERE project = {{project:String}} AND path IN {{some:Array(String)}}
                AND run IN {{runs:Array(UInt64)}} AND NOT ({PREVIEW})
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
