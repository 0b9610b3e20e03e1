"""What came to be stored of some runs since the last look, told by their writers' records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from naiad_proto.versions import MAX_RECORD, RECORD_BITS, WRITER_BITS, writer_hash
from naiad_store.selects.scope import PREVIEW, Range, Scope
from naiad_store.store import Store

Intervals = Sequence[tuple[int, int]]


class Writer(NamedTuple):
    """One spool of one run."""

    run: int
    writer_id: str


@dataclass(frozen=True, slots=True)
class Stored:
    epoch: int
    # Record numbers: ascending, disjoint, not touching.
    records: Intervals


class Fresh(NamedTuple):
    """Records of a writer that a reader has not seen, both ends in."""

    writer: Writer
    epoch: int
    first: int
    last: int


def stored_records(store: Store, project: str, runs: Sequence[int]) -> dict[Writer, Stored]:
    """Of all writers of `runs`. Points are readable before their records stand here."""
    found = store.query(
        """
        SELECT run, writer_id, max(epoch) AS epoch,
            groupArrayArray(stored.1) AS firsts, groupArrayArray(stored.2) AS lasts
        FROM writers FINAL
        WHERE project = {project:String} AND run IN {runs:Array(UInt64)}
        GROUP BY run, writer_id
        """,
        {"project": project, "runs": list(runs)},
    ).to_pylist()
    return {
        Writer(row["run"], row["writer_id"]): Stored(
            row["epoch"], merged(zip(row["firsts"], row["lasts"], strict=True))
        )
        for row in found
    }


def merged(intervals: Iterable[tuple[int, int]]) -> Intervals:
    found: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def without(intervals: Intervals, seen: Intervals) -> Intervals:
    """What of `intervals` is not in `seen`; both as in `Stored`."""
    left: list[tuple[int, int]] = []
    for first, last in intervals:
        for begin, end in seen:
            if end < first:
                continue
            if begin > last:
                break
            if begin > first:
                left.append((first, begin - 1))
            first = end + 1
        if first <= last:
            left.append((first, last))
    return left


def fresh_records(now: Mapping[Writer, Stored], before: Mapping[Writer, Stored]) -> Iterator[Fresh]:
    """One for each writer that got further; where records came between others, what lies between
    may be in it again."""
    for writer, stored in now.items():
        seen = before.get(writer)
        if left := without(stored.records, seen.records if seen else ()):
            yield Fresh(writer, stored.epoch, left[0][0], left[-1][1])


def points_of(
    store: Store,
    scope: Scope,
    paths: Sequence[str],
    records: Sequence[Fresh],
    *,
    include_previews: bool = False,
) -> Iterator[pa.RecordBatch]:
    """The points that count among those that these records brought, in the columns of
    `metric_points` and their order; overwritten and late ones too."""
    keep = "1" if include_previews else f"NOT ({PREVIEW})"
    runs = {record.writer.run for record in records}
    given: dict[str, object] = {
        "project": scope.project,
        "paths": list(paths),
        "runs": sorted(runs),
    }
    is_fresh = _is_fresh(records, given)
    # Where to look: the version stands in no index, but it alone is little to read.
    (where,) = store.query(
        f"""
        SELECT count() AS rows, min(reinterpret(step, 'Int64')) AS low,
            max(reinterpret(step, 'Int64')) AS high, groupUniqArray(toString(path)) AS paths
        FROM points
        WHERE project = {{project:String}} AND path IN {{paths:Array(String)}}
            AND run IN {{runs:Array(UInt64)}} AND {is_fresh}
        """,
        given,
    ).to_pylist()
    if not where["rows"]:
        return
    places = {place for place, sources in _sources(scope).items() if not runs.isdisjoint(sources)}
    given = {}
    sql = scope.part(places).points(
        "points",
        {
            "value": "value",
            "preview": PREVIEW,
            "completion": "completion",
            "version": "version",
        },
        where["paths"],
        given,
        steps=Range(where["low"], where["high"]),
        keep=keep,
    )
    yield from store.stream(
        "SELECT place, path, x, ts, value, preview, completion"
        f" FROM ({sql}) WHERE {_is_fresh(records, given)} ORDER BY place, path, x",
        given,
    )


def _sources(scope: Scope) -> dict[int, set[int]]:
    """By place, keys of the runs whose points are its own."""
    if scope.stretches is None:
        return {place: {run} for place, run in zip(scope.numbers, scope.runs, strict=True)}
    found: dict[int, set[int]] = {}
    for stretch in scope.stretches:
        found.setdefault(stretch.place, set()).add(stretch.source)
    return found


def _is_fresh(records: Sequence[Fresh], given: dict[str, object]) -> str:
    """A condition on `version`: the writer's part of it, and the record's number."""
    given |= {
        "writers": [_writer_of(record) for record in records],
        "firsts": [record.first for record in records],
        "lasts": [record.last for record in records],
        "rest": MAX_RECORD,
        "word": (1 << 64) - 1,
        "record_bits": RECORD_BITS,
    }
    record = "toUInt64(bitAnd(version, toUInt128({rest:UInt64})))"
    writer = (
        "toUInt64(bitAnd(bitShiftRight(version, {record_bits:UInt8}), toUInt128({word:UInt64})))"
    )
    listed = "{writers:Array(UInt64)}"
    return (
        f"{record} >= transform({writer}, {listed}, {{firsts:Array(UInt64)}}, {{word:UInt64}})"
        f" AND {record} <= transform({writer}, {listed}, {{lasts:Array(UInt64)}}, toUInt64(0))"
    )


def _writer_of(record: Fresh) -> int:
    """64 of the bits above the record's number. Two writers of one run that share them would
    have begun in the same microsecond half a year apart; a point would then come once more."""
    return (record.epoch << WRITER_BITS | writer_hash(record.writer.writer_id)) & ((1 << 64) - 1)
