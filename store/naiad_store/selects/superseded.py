"""What the roller has left behind: rows of `rollups` that count no more, and marks that are dealt
with.

Whatever is found here counts never again, so that nothing is lost however late it is removed, and
whoever has paused meanwhile. That is so because

- an owner makes an edition, then draws the number under which it says in `rolled` that it counts,
  one roll after the other. So an edition that is named nowhere, below a number that its partition
  has said something under (`settled`), was replaced or cut off, and nobody is making it;
- what an owner says whose epoch is over counts no more, and a new one takes over what counts;
- of an edition that counts, what is cut out stays cut out, and only the last stretch of a series
  goes on. What lies behind that one's end may be in the making, and isn't found;
- every stretch that is rolled later has dealt with the marks of today.

Only who has asked `rolled` before may still count on it, for `rolled.GOOD_FOR` seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from naiad_store.layout import local_name
from naiad_store.selects.numbering import NONE, number_of, rounds
from naiad_store.selects.rolled import EPOCH_SHIFT, Series
from naiad_store.store import Store

T = TypeVar("T")

# Of one question: rows of `rollups`, and paths.
_ROWS = 20_000_000
_PATHS = 1000
# What one question finds at the most; the rest is found when that is gone.
_FOUND = 20_000
# Series of one statement that removes something.
_SERIES = 500

_MODEST = "SETTINGS max_threads = 1"
# Where a row's bucket begins and ends, and no bucket does.
_LOW = "bitShiftLeft(bucket, k)"
_HIGH = "bitShiftLeft(bucket + 1, k)"
_FAR = f"toInt64({(1 << 63) - 1})"

# (project, run id) -> the partition to which its records go.
Home = Callable[[str, str], int]
# Micro-steps [from, to): a bucket within is kept. Ascending.
Kept = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """Of each partition: the epoch of its owner, and the number below which nothing is in the
    making. To be asked for before what is compared with it."""

    epochs: Mapping[int, int]
    numbers: Mapping[int, int]

    def below(self, partitions: Iterable[int]) -> int:
        return min((self.numbers.get(one, 0) for one in partitions), default=0)

    def parameters(self) -> dict[str, object]:
        partitions = sorted(self.epochs)
        return {
            "partitions": partitions,
            "epochs": [self.epochs[one] for one in partitions],
            "numbers": [self.numbers[one] for one in partitions],
        }


class Edition(NamedTuple):
    """An edition of a series of which some rows are superseded: those outside `kept`."""

    project: str
    path: str
    run: int
    edition: int
    kept: Kept
    rows: int


class DealtWith(NamedTuple):
    """Marks of a series, of one partition, that are dealt with: those up to `through`."""

    project: str
    path: str
    run: int
    partition: int
    through: int
    marks: int


class Part(NamedTuple):
    """Some paths of a project, and how many rows of `rollups` they have."""

    project: str
    paths: Sequence[str]
    rows: int


def settled(store: Store) -> Settled:
    rows = store.query(
        "SELECT log_partition, max(epoch) AS epoch FROM rollers GROUP BY log_partition"
    ).to_pylist()
    epochs = {row["log_partition"]: row["epoch"] for row in rows}
    if not epochs:
        return Settled({}, {})
    # Not what a new owner has taken over while the one before may still be at work.
    said = store.query(
        "SELECT log_partition, max(version) AS highest FROM rolled"
        f" WHERE bitShiftRight(version, {EPOCH_SHIFT}) = {_of_partition('epochs')}"
        " GROUP BY log_partition",
        {"partitions": sorted(epochs), "epochs": [epochs[one] for one in sorted(epochs)]},
    ).to_pylist()
    numbers = {one: epoch << EPOCH_SHIFT for one, epoch in epochs.items()}
    numbers |= {row["log_partition"]: row["highest"] for row in said}
    return Settled(epochs, numbers)


def parts(store: Store) -> Iterator[Part]:
    """All of `rollups`, in order."""
    rows = store.query(
        "SELECT project, path, count() AS rows FROM rollups GROUP BY project, path"
        f" ORDER BY project, path {_MODEST}"
    ).to_pylist()
    project, paths, count = "", list[str](), 0
    for row in rows:
        full = len(paths) >= _PATHS or count + row["rows"] > _ROWS
        if paths and (row["project"] != project or full):
            yield Part(project, paths, count)
            paths, count = list[str](), 0
        project = row["project"]
        paths.append(row["path"])
        count += row["rows"]
    if paths:
        yield Part(project, paths, count)


def editions(store: Store, part: Part, known: Settled, home: Home | None = None) -> list[Edition]:
    """Of these series. `home`: where their records go now, if that is known. Raises StoreError.

    A bucket with `since` in it holds nothing from before, so it may begin before its stretch, and
    one with `until` in it end behind; the last stretch may go on."""
    if not known.epochs:
        return []
    found = store.query(
        f"""
        SELECT r.path AS path, r.run AS run, r.edition AS edition, any(s.lows) AS least,
            any(s.highs) AS most, count() AS rows
        FROM rollups AS r
        LEFT JOIN (
            SELECT path, run, edition, groupArray(if(begin = since, 0, begin)) AS lows,
                groupArray(if(end IN (farthest, until), {_FAR}, end)) AS highs
            FROM (
                SELECT path, run, edition, begin, end, since, until,
                    max(end) OVER (PARTITION BY path, run) AS farthest
                FROM ({_stretches("project = {project:String} AND path IN {paths:Array(String)}")})
            ) GROUP BY path, run, edition
        ) AS s ON r.path = s.path AND r.run = s.run AND r.edition = s.edition
        WHERE r.project = {{project:String}} AND r.path IN {{paths:Array(String)}}
            AND NOT arrayExists(
                (a, b) -> bitShiftLeft(r.bucket, r.k) >= a AND bitShiftLeft(r.bucket + 1, r.k) <= b,
                s.lows, s.highs)
        GROUP BY path, run, edition
        ORDER BY path, run, edition LIMIT {_FOUND} {_MODEST}
        """,
        {"project": part.project, "paths": list(part.paths)} | known.parameters(),
    ).to_pylist()
    partitions = _partitions(store, {row["run"] for row in found}, home)
    return [
        Edition(
            part.project, row["path"], row["run"], row["edition"],
            merged_kept(zip(row["least"], row["most"], strict=True)), row["rows"],
        )
        for row in found
        if row["edition"] < known.below(partitions.get(row["run"], ()))
    ]  # fmt: skip


def dealt_with(store: Store, known: Settled, home: Home | None = None) -> list[DealtWith]:
    """Raises StoreError. Of a run in two partitions the marks of a series are none: nobody deals
    with them. Of marks of whole runs the newest stays."""
    if not known.epochs:
        return []
    number = _of_partition("numbers", "m.partition")
    found = store.query(
        f"""
        SELECT m.project AS project, m.path AS path, m.run AS run, m.partition AS partition,
            max(m.generation) AS through, count() AS marks
        FROM (
            SELECT project, path, run, log_partition AS partition, generation
            FROM dirty_stretches WHERE path != ''
        ) AS m
        LEFT JOIN (
            SELECT project, path, run, count() AS stretches, min(marks_through) AS dealt
            FROM ({_stretches("1")}) GROUP BY project, path, run
        ) AS d ON m.project = d.project AND m.path = d.path AND m.run = d.run
        WHERE m.generation < {number} AND (d.stretches = 0 OR m.generation <= d.dealt)
        GROUP BY project, path, run, partition
        ORDER BY project, path, run, partition LIMIT {_FOUND} {_MODEST}
        """,
        known.parameters(),
    ).to_pylist()
    partitions = _partitions(store, {row["run"] for row in found}, home)
    of_series = [
        DealtWith(**row) for row in found if partitions.get(row["run"]) == {row["partition"]}
    ]
    of_runs = store.query(
        "SELECT project, path, run, log_partition AS partition, max(generation) - 1 AS through,"
        " count() - 1 AS marks FROM dirty_stretches FINAL WHERE path = ''"
        " GROUP BY project, path, run, partition HAVING marks > 0"
        f" ORDER BY project, run, partition LIMIT {_FOUND}"
    ).to_pylist()
    return of_series + [DealtWith(**row) for row in of_runs]


def remove_editions(store: Store, some: Collection[Edition]) -> None:
    """Those rows of each that lie outside its `kept`. Raises StoreError."""
    name = local_name("rollups", store.address.cluster, store.database)
    by_series: dict[tuple[str, Series], list[Edition]] = {}
    for one in some:
        by_series.setdefault((one.project, (one.run, one.path)), []).append(one)
    for project, jobs in _statements(by_series.items()):
        series = [series for series, _ in jobs]
        kept = [
            [(one.edition, *ends) for one in editions for ends in one.kept] for _, editions in jobs
        ]
        given: dict[str, object] = {
            "project": project,
            "runs": sorted({run for run, _ in series}),
            "some": sorted({path for _, path in series}),
            "editions": [[one.edition for one in editions] for _, editions in jobs],
            "kept": [[edition for edition, _, _ in of_series] for of_series in kept],
            "lows": [[low for _, low, _ in of_series] for of_series in kept],
            "highs": [[high for _, _, high in of_series] for of_series in kept],
        }
        number = number_of(series, given)
        at = f"toUInt64({number}) + 1"
        lists = ", ".join(
            f"arrayElement({{{name}:Array(Array({kind}))}}, {at})"
            for name, kind in (("kept", "UInt64"), ("lows", "Int64"), ("highs", "Int64"))
        )
        store.command(
            f"DELETE FROM {name} WHERE project = {{project:String}}"
            " AND path IN {some:Array(String)} AND run IN {runs:Array(UInt64)}"
            f" AND {number} != {NONE}"
            f" AND has(arrayElement({{editions:Array(Array(UInt64))}}, {at}), edition)"
            " AND NOT arrayExists((e, a, b) -> e = edition"
            f" AND {_LOW} >= a AND {_HIGH} <= b, {lists})",
            given,
        )


def remove_marks(store: Store, some: Collection[DealtWith]) -> None:
    """Raises StoreError."""
    name = local_name("dirty_stretches", store.address.cluster, store.database)
    pairs = [((one.project, (one.run, one.path)), one) for one in some]
    for project, jobs in _statements(pairs):
        series = [series for series, _ in jobs]
        given: dict[str, object] = {
            "project": project,
            "runs": sorted({run for run, _ in series}),
            "some": sorted({path for _, path in series}),
            "owners": [one.partition for _, one in jobs],
            "throughs": [one.through for _, one in jobs],
        }
        number = number_of(series, given)
        at = f"toUInt64({number}) + 1"
        store.command(
            f"DELETE FROM {name} WHERE project = {{project:String}}"
            " AND path IN {some:Array(String)} AND run IN {runs:Array(UInt64)}"
            f" AND {number} != {NONE}"
            f" AND log_partition = arrayElement({{owners:Array(UInt32)}}, {at})"
            f" AND generation <= arrayElement({{throughs:Array(UInt64)}}, {at})",
            given,
        )


def merged_kept(ends: Iterable[tuple[int, int]]) -> Kept:
    """Stretches that lie side by side stay apart: a bucket across their border is none of
    either."""
    return tuple(sorted(set(ends)))


def _statements(
    pairs: Iterable[tuple[tuple[str, Series], T]],
) -> Iterator[tuple[str, list[tuple[Series, T]]]]:
    """Of one project each, with every series once."""
    projects: dict[str, list[tuple[Series, T]]] = {}
    for (project, series), what in pairs:
        projects.setdefault(project, []).append((series, what))
    for project, jobs in projects.items():
        for some in rounds(jobs):
            for begin in range(0, len(some), _SERIES):
                yield project, some[begin : begin + _SERIES]


def _partitions(store: Store, runs: Collection[int], home: Home | None) -> dict[int, set[int]]:
    """Of the log, in which records of these runs stand or may be about to."""
    given = {"runs": sorted(runs)}
    rows = store.query(
        " UNION ALL ".join(
            f"SELECT DISTINCT run, log_partition FROM {table} WHERE run IN {{runs:Array(UInt64)}}"
            for table in ("writers", "rolled", "dirty_stretches")
        ),
        given,
    ).to_pylist()
    found: dict[int, set[int]] = {}
    for row in rows:
        found.setdefault(row["run"], set()).add(row["log_partition"])
    if home is not None:
        names = store.query(
            "SELECT DISTINCT project, run, run_id FROM runs WHERE run IN {runs:Array(UInt64)}",
            given,
        ).to_pylist()
        for row in names:
            found.setdefault(row["run"], set()).add(home(row["project"], row["run_id"]))
    return found


def _stretches(which: str) -> str:
    """SQL of the rows of `rolled` that count, or may yet, for someone who takes over."""
    return (
        f"SELECT * FROM rolled FINAL WHERE {which} AND begin < end"
        f" AND bitShiftRight(version, {EPOCH_SHIFT}) >= {_of_partition('epochs')}"
    )


def _of_partition(what: str, column: str = "log_partition") -> str:
    """SQL: of `Settled.parameters` that of a partition."""
    return (
        f"transform({column}, {{partitions:Array(UInt32)}}, {{{what}:Array(UInt64)}}, toUInt64(0))"
    )
