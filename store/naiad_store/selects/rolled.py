"""How far series are rolled, and what of that has become dirty since.

A row of `rolled` counts only under the epoch that `rollers` names for its partition of the log:
what an earlier owner still says does not. Marks count whoever made them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa

from naiad_store.store import Store

ROLLED = pa.schema(
    [("project", pa.string()), ("path", pa.string()), ("run", pa.uint64()), ("begin", pa.int64()),
     ("end", pa.int64()), ("since", pa.int64()), ("lowest", pa.int64()), ("k", pa.uint8()),
     ("edition", pa.uint64()), ("points", pa.uint64()), ("marks_through", pa.uint64()),
     ("log_partition", pa.uint32()), ("form", pa.uint8()), ("until", pa.int64()),
     ("version", pa.uint64())]
)  # fmt: skip
MARKS = pa.schema(
    [("project", pa.string()), ("path", pa.string()), ("run", pa.uint64()),
     ("generation", pa.uint64()), ("log_partition", pa.uint32()), ("begin", pa.int64()),
     ("end", pa.int64())]
)  # fmt: skip
# Of versions, above the count.
EPOCH_SHIFT = 40
# Of what is rolled now. Another choice of tiers is another form.
FORM = 2
# Seconds for which what `rolled` says can be counted on: what it names is there for longer, and so
# are the marks.
GOOD_FOR = 600.0

COUNTING = f"""
    form = {FORM} AND (log_partition, bitShiftRight(version, {EPOCH_SHIFT})) IN
    (SELECT log_partition, max(epoch) FROM rollers GROUP BY log_partition)
"""


class Stretch(NamedTuple):
    """A row of `rolled`: micro-steps from `begin` up to, and without, `end`."""

    begin: int
    end: int
    since: int
    lowest: int
    k: int
    edition: int
    points: int
    marks_through: int
    log_partition: int
    until: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    begin: int
    end: int
    generation: int
    log_partition: int


# (run, path)
Series = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Rolled:
    """Of one series: stretches that follow each other from 0 on, and what of them is dirty."""

    stretches: Sequence[Stretch]
    dirty: Sequence[tuple[int, int]]

    @property
    def end(self) -> int:
        """Up to where it is rolled."""
        return self.stretches[-1].end

    @property
    def lowest(self) -> int:
        return min(stretch.lowest for stretch in self.stretches)


def take_over(store: Store, partitions: Iterable[int], epoch: int, version: int) -> None:
    """What is rolled of these partitions counts under the new owner's epoch, and nothing that an
    earlier one says from now on. Called before the new owner inserts the first point.

    Rows are taken over first. Points that the earlier owner inserts after that are marked, or
    lie beyond what is taken over as rolled."""
    numbers = sorted(partitions)
    if not numbers:
        return
    columns = ", ".join(name for name in ROLLED.names if name != "version")
    store.command(
        f"INSERT INTO rolled ({columns}, version) SELECT {columns}, {{version:UInt64}}"
        f" FROM rolled FINAL WHERE log_partition IN {{numbers:Array(UInt32)}} AND {COUNTING}"
        " AND begin < end",
        {"version": version, "numbers": numbers},
    )
    store.insert(
        "rollers",
        pa.table(
            {
                "log_partition": pa.array(numbers, pa.uint32()),
                "epoch": pa.array([epoch] * len(numbers), pa.uint64()),
            }
        ),
    )


def frontiers(store: Store, runs: Iterable[int]) -> tuple[dict[Series, int], set[tuple[int, int]]]:
    """Up to where series of these runs are rolled, by anybody's word, and (run, partition) of
    those who said so."""
    found = store.query(
        "SELECT run, path, max(end) AS end, groupUniqArray(log_partition) AS partitions"
        " FROM rolled FINAL WHERE run IN {runs:Array(UInt64)} GROUP BY run, path",
        {"runs": list(runs)},
    ).to_pylist()
    return (
        {(row["run"], row["path"]): row["end"] for row in found},
        {(row["run"], one) for row in found for one in row["partitions"]},
    )


def stretches(
    store: Store,
    project: str,
    runs: Sequence[int] | None,
    paths: Sequence[str],
    settings: Mapping[str, object] | None = None,
) -> dict[Series, list[Stretch]]:
    """Of each of these series, by their beginnings; without `runs` those of all."""
    among = "" if runs is None else " AND run IN {runs:Array(UInt64)}"
    table = store.query(
        "SELECT path, run, begin, end, since, lowest, k, edition, points, marks_through,"
        " log_partition, until FROM rolled FINAL"
        " WHERE project = {project:String} AND path IN {paths:Array(String)}"
        f"{among} AND begin < end AND {COUNTING}"
        " ORDER BY path, run, begin",
        {"project": project, "runs": list(runs or ()), "paths": list(paths)},
        settings,
    )
    found: dict[Series, list[Stretch]] = {}
    for path, run, *values in zip(*(column.to_pylist() for column in table.columns), strict=True):
        found.setdefault((run, path), []).append(Stretch(*values))
    return found


def rolled(
    store: Store,
    project: str,
    runs: Sequence[int] | None,
    paths: Sequence[str],
    settings: Mapping[str, object] | None = None,
) -> dict[Series, Rolled]:
    """Of those series that are rolled at all; without `runs` of all runs'. Marks are asked for
    after the stretches, so that none is missing that a stretch has not dealt with."""
    if (runs is not None and not runs) or not paths:
        return {}
    found = stretches(store, project, runs, paths, settings)
    if not found:
        return {}
    given = {
        "project": project,
        "runs": sorted({run for run, _ in found}),
        "paths": sorted({path for _, path in found}),
    }
    marks = _marks(store, given, settings)
    answer = {}
    for series, of_series in found.items():
        if follow(of_series):
            mine = [*marks.get(series, ()), *marks.get((series[0], ""), ())]
            answer[series] = Rolled(of_series, dirty(of_series, mine))
    return answer


def _marks(
    store: Store, given: Mapping[str, object], settings: Mapping[str, object] | None
) -> dict[Series, list[Mark]]:
    found = store.query(
        "SELECT run, path, begin, end, generation, log_partition FROM dirty_stretches FINAL"
        " WHERE project = {project:String} AND run IN {runs:Array(UInt64)}"
        " AND (path = '' OR path IN {paths:Array(String)})",
        given,
        settings,
    )
    marks: dict[Series, list[Mark]] = {}
    for run, path, *values in zip(*(column.to_pylist() for column in found.columns), strict=True):
        marks.setdefault((run, path), []).append(Mark(*values))
    return marks


def follow(stretches: Sequence[Stretch]) -> bool:
    """From 0 on without gaps, and by one owner's word. It isn't so where a run's records stand
    in two partitions; such a run is read from its points."""
    end = 0
    for stretch in stretches:
        if stretch.begin != end or stretch.log_partition != stretches[0].log_partition:
            return False
        end = stretch.end
    return True


def dirty(stretches: Sequence[Stretch], marks: Sequence[Mark]) -> list[tuple[int, int]]:
    """Disjoint and ascending, within the stretches and at the edges of their buckets."""
    if not marks:
        return []
    found = []
    for stretch in stretches:
        for mark in marks:
            dealt_with = (
                mark.log_partition == stretch.log_partition
                and mark.generation <= stretch.marks_through
            )
            begin, end = max(mark.begin, stretch.begin), min(mark.end, stretch.end - 1)
            if dealt_with or end < begin:
                continue
            k = stretch.k
            found.append(
                (
                    max(begin >> k << k, stretch.begin),
                    min(((end >> k) + 1) << k, stretch.end),
                )
            )
    return merged(found)


def merged(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Half-open intervals as disjoint ones, ascending."""
    out: list[tuple[int, int]] = []
    for begin, end in sorted(intervals):
        if out and begin <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((begin, end))
    return out
