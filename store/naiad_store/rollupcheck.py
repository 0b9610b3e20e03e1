"""Whether rollups say what the points say: a sample is worked out once more, and compared."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from naiad_proto.steps import MAX_MICRO_STEP, MICRO
from naiad_store.selects.m4 import OF_EXTREMES, OF_POINTS, ROLLUP
from naiad_store.selects.pieces import Pieces, Rows, Zone
from naiad_store.selects.rolled import COUNTING, Rolled, rolled
from naiad_store.selects.rolling import TIERS
from naiad_store.selects.scope import PREVIEW
from naiad_store.selects.steps import decimal
from naiad_store.store import Store

# Buckets that are compared at once.
_BUCKETS = 64
# Of a sum of floats the order of its terms shows.
_OF_SUM = 1e-9


@dataclass
class RollupCheck:
    """What was compared, and what was found."""

    series: int = 0
    rows: int = 0
    problems: list[str] = field(default_factory=list)


def check_rollups(store: Store, sample: int = 200, seed: int | None = None) -> RollupCheck:
    """Compares some buckets of so many series, of every tier. Points may come meanwhile. Raises
    StoreError."""
    chosen = random.Random(seed)
    found = store.query(
        "SELECT DISTINCT project, run, path FROM rolled FINAL"
        f" WHERE begin < end AND {COUNTING}"
        " ORDER BY cityHash64(project, run, path, {seed:UInt64}) LIMIT {sample:UInt64}",
        {"sample": sample, "seed": chosen.getrandbits(63)},
    ).to_pylist()
    check = RollupCheck()
    for one in found:
        check.series += 1
        project, run, path = str(one["project"]), int(one["run"]), str(one["path"])
        for tier in TIERS:
            for _ in range(2):
                known = rolled(store, project, [run], [path]).get((run, path))
                rows = _some(known, run, path, tier, chosen)
                if known is None or rows is None:
                    break
                count, problem = _compare(store, project, rows, known)
                if problem and _is_so_still(store, project, rows, known):
                    check.problems.append(problem)
                    break
                check.rows += count
    return check


def _some(
    known: Rolled | None, run: int, path: str, tier: int, chosen: random.Random
) -> Rows | None:
    """Some neighbouring buckets that a chart would take."""
    if known is None:
        return None
    k = chosen.choice(known.stretches).k + tier
    pieces = Pieces(k, 0, MAX_MICRO_STEP + 1, [], [])
    pieces.add(0, path, Zone(run, 0, MAX_MICRO_STEP + 1, 0, False), known, None)
    rows = [one for one in pieces.rows if one.k == k]
    if not rows:
        return None
    one = chosen.choice(rows)
    low = chosen.randrange(one.low, one.high)
    return one._replace(low=low, high=min(one.high, low + _BUCKETS))


def _is_so_still(store: Store, project: str, rows: Rows, before: Rolled) -> bool:
    """Points that came between the questions were marked first."""
    known = rolled(store, project, [rows.run], [rows.path]).get((rows.run, rows.path))
    return known == before and bool(_compare(store, project, rows, before)[1])


def _compare(store: Store, project: str, rows: Rows, known: Rolled) -> tuple[int, str]:
    begin, end = rows.low << rows.k, rows.high << rows.k
    for stretch in known.stretches:
        # Its edition has of the bucket in which it begins only what is its own.
        if stretch.edition == rows.edition and stretch.since == stretch.begin:
            begin = (
                max(begin, stretch.begin) if begin >> rows.k == stretch.begin >> rows.k else begin
            )
        # And of that in which it ends.
        if stretch.edition == rows.edition and stretch.until:
            end = min(end, stretch.until)
    given = {
        "project": project, "path": rows.path, "run": rows.run, "k": rows.k,
        "edition": rows.edition, "low": rows.low, "high": rows.high, "begin": decimal(begin),
        "end": decimal(min(end - 1, MAX_MICRO_STEP)),
    }  # fmt: skip
    names = ", ".join(ROLLUP)
    had = store.query(
        f"SELECT bucket, {names} FROM rollups WHERE project = {{project:String}}"
        " AND path = {path:String} AND k = {k:UInt8} AND run = {run:UInt64}"
        " AND edition = {edition:UInt64} AND bucket >= {low:Int64} AND bucket < {high:Int64}"
        " ORDER BY bucket",
        given,
    ).to_pylist()
    wanted = store.query(
        f"""
        SELECT bucket, {OF_EXTREMES}
        FROM (
            SELECT bitShiftRight(x, {{k:UInt8}}) AS bucket, {OF_POINTS}
            FROM (
                SELECT reinterpret(step, 'Int64') AS x, value, isFinite(value) AS fine
                FROM points FINAL
                WHERE project = {{project:String}} AND path = {{path:String}}
                    AND run = {{run:UInt64}} AND NOT ({PREVIEW})
                    AND step >= {{begin:Decimal64(6)}} AND step <= {{end:Decimal64(6)}}
            ) GROUP BY bucket
        ) ORDER BY bucket
        """,
        given,
    ).to_pylist()
    where = f"{project}, run {rows.run}, {rows.path}"
    buckets = [row["bucket"] for row in had]
    if buckets != [row["bucket"] for row in wanted]:
        return 0, (
            f"{where}: from step {begin / MICRO:g} on there are rollups of {len(buckets)} buckets"
            f" of {2**rows.k / MICRO:g} steps, and points in {len(wanted)}"
        )
    for one, right in zip(had, wanted, strict=True):
        for name in _differing(one, right):
            return 0, (
                f"{where}: of the steps from {(one['bucket'] << rows.k) / MICRO:g} to"
                f" {((one['bucket'] + 1) << rows.k) / MICRO:g} the rollup says {name} ="
                f" {one[name]}, the points {right[name]}"
            )
    return len(had), ""


def _differing(one: dict[str, float], right: dict[str, float]) -> Iterator[str]:
    for name in ROLLUP:
        if name == "sum":
            if not math.isclose(one[name], right[name], rel_tol=_OF_SUM, abs_tol=_OF_SUM) and not (
                math.isnan(one[name]) and math.isnan(right[name])
            ):
                yield name
        elif one[name] != right[name]:
            yield name


def forget_rollups(store: Store) -> None:
    """None counts any more; they are made again once a writer starts. Not while one runs. Raises
    StoreError."""
    store.command(
        "INSERT INTO rollers SELECT log_partition, max(epoch) + 1 FROM rollers"
        " GROUP BY log_partition"
    )
    if store.address.cluster is None:
        for table in ("rolled", "rollups", "dirty_stretches"):
            store.command(f"TRUNCATE TABLE {table}")
