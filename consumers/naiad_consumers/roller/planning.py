"""What to roll of a series: its stretches as they are, and the jobs that bring them up to date."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from naiad_store.selects.rolled import FORM, ROLLED, Series, Stretch
from naiad_store.selects.rolling import Counted, Job

# Points of a bucket, about, as a power of two.
_POINTS_OF_BUCKET = 6
# A stretch is gone on with while its buckets get so many points or up to so many.
_FEWEST, _MOST = 16, 256
# What is left of a stretch beside what is rolled again, in buckets, below which it is rolled
# again too.
_CRUMBS = 64


@dataclass(frozen=True, slots=True)
class Growth:
    """What of a series comes new: points from `begin` up to `to`, in buckets of 2**k."""

    begin: int
    to: int
    k: int
    lowest: int
    rows: int
    # Nothing is left behind it.
    last: bool


def grown(stretches: Sequence[Stretch], counted: Counted | None, *, rest: bool) -> Growth | None:
    """`counted`: what there is beyond the stretches. All of it is rolled with `rest`, else what
    lies in buckets that are over. None where that is nothing."""
    if counted is None:
        return None
    begin = stretches[-1].end if stretches else 0
    # By where the points are: a series may begin, or go on, far from where it was.
    spacing = (counted.highest - counted.lowest + 1) / counted.rows
    k = max(0, round(math.log2(spacing)) + _POINTS_OF_BUCKET)
    if stretches and _FEWEST <= 2.0 ** stretches[-1].k / spacing <= _MOST:
        k = stretches[-1].k
    to = ((counted.highest >> k) + (1 if rest else 0)) << k
    if to <= begin or counted.lowest >= to:
        return None
    return Growth(begin, to, k, counted.lowest, counted.rows, rest)


@dataclass(slots=True)
class Plan:
    """Of one series: what there is to do, the stretches that there are when that is done, and
    the beginnings of those that are none any more."""

    series: Series
    # Of a claim: marks below it are dealt with where something is rolled.
    number: int
    jobs: list[Job] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)
    replaced: set[int] = field(default_factory=set)

    def begin(self, stretch: Stretch) -> None:
        """A stretch that has no rows yet."""
        stretch = stretch._replace(marks_through=self.number)
        self.stretches.append(stretch)
        self._job(stretch.begin, stretch)

    def go_on(self, growth: Growth) -> None:
        last = self.stretches[-1]
        last = last._replace(
            end=growth.to,
            points=last.points + growth.rows,
            until=growth.to if growth.last else 0,
        )
        self.stretches[-1] = last
        self._job(growth.begin, last)

    def cut(
        self, stretch: Stretch, dirty: Sequence[tuple[int, int]], edition: Callable[[], int]
    ) -> None:
        """The stretch in pieces, of which those that are dirty are rolled again."""
        at = stretch.begin
        for begin, end in _widened(stretch, dirty):
            if begin > at:
                self.stretches.append(stretch._replace(begin=at, end=begin, points=0))
            self.begin(
                stretch._replace(
                    begin=begin,
                    end=end,
                    since=begin,
                    until=end if end < stretch.end else stretch.until,
                    edition=edition(),
                    points=0,
                )
            )
            at = end
        if at < stretch.end:
            self.stretches.append(stretch._replace(begin=at, points=0))
        # Points are counted for the series, not for the pieces.
        last = self.stretches[-1]
        self.stretches[-1] = last._replace(points=stretch.points)

    def _job(self, begin: int, stretch: Stretch) -> None:
        self.jobs.append(
            Job(
                *self.series, begin, stretch.end, stretch.since, stretch.k, stretch.edition,
                stretch.until == stretch.end,
            )
        )  # fmt: skip


def plan(
    series: Series,
    stretches: Sequence[Stretch],
    growth: Growth | None,
    dirty: Sequence[tuple[int, int]],
    *,
    edition: Callable[[], int],
    ours: range,
    through: int,
    number: int,
    lowest: int | None,
    partition: int,
) -> Plan:
    """`dirty`: [begin, end) at the edges of buckets, where the lowest step is `lowest`. Editions
    in `ours` may be gone on with: those of others, a later owner's among them, never. Marks up to
    `through` are dealt with, and of what is rolled those up to `number`."""
    made = Plan(series, number)
    for one in stretches:
        inside = [
            (max(begin, one.begin), min(end, one.end))
            for begin, end in dirty
            if begin < one.end and end > one.begin
        ]
        if inside:
            made.cut(one, inside, edition)
        else:
            made.stretches.append(one)
    if growth is not None:
        last = made.stretches[-1] if made.stretches else None
        if last and last.k == growth.k and last.edition in ours and not last.until:
            made.go_on(growth)
        else:
            made.begin(
                Stretch(
                    growth.begin, growth.to, growth.begin, growth.lowest, growth.k, edition(),
                    growth.rows, 0, partition, growth.to if growth.last else 0,
                )
            )  # fmt: skip
    made.stretches = [
        one._replace(
            marks_through=max(through, one.marks_through),
            log_partition=partition,
            lowest=one.lowest if lowest is None else min(one.lowest, lowest),
        )
        for one in made.stretches
    ]
    made.replaced = {one.begin for one in stretches} - {one.begin for one in made.stretches}
    return made


def _widened(stretch: Stretch, dirty: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """With what is too little to stay by itself."""
    crumbs = _CRUMBS << stretch.k
    found: list[tuple[int, int]] = []
    for begin, end in dirty:
        begin = stretch.begin if begin - stretch.begin <= crumbs else begin
        end = stretch.end if stretch.end - end <= crumbs else end
        if found and begin - found[-1][1] <= crumbs:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def rows_of(project: str, plans: Iterable[Plan], version: int) -> pa.Table:
    """Rows of `rolled`."""
    rows = []
    for one in plans:
        run, path = one.series
        same = {
            "project": project, "path": path, "run": run, "form": FORM, "version": version,
        }  # fmt: skip
        nothing = [
            one.stretches[0]._replace(begin=begin, end=begin, points=0) for begin in one.replaced
        ]
        for stretch in (*one.stretches, *nothing):
            rows.append(same | stretch._asdict())
    return pa.Table.from_pylist(rows, schema=ROLLED)
