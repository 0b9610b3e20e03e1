"""Of which rows a chart is made: rollups where they are right and fine enough, points elsewhere.

Enters: what is rolled of each series, whose points stand for whose, the columns of the chart.
Leaves: pieces that cover, of every series, each step of the chart's range once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from naiad_proto.steps import MAX_MICRO_STEP
from naiad_store.selects.rolled import Rolled, Series, Stretch
from naiad_store.selects.rolling import TIERS

# Tiers from which is gathered what is less than a bucket of another one: each of them is a read.
_FOR_ENDS = (0, 5)
# Reads of points at different steps, at the most.
_READS = 12


class Rows(NamedTuple):
    """Rows of `rollups` with buckets [low, high) of 2**k micro-steps."""

    place: int
    path: str
    run: int
    k: int
    edition: int
    low: int
    high: int
    # Each of them is a column, and nothing else is in it.
    whole: bool


class Points(NamedTuple):
    """Points with micro-steps [begin, end). Of those of several pieces with one step that of the
    least `depth` counts; where nothing else can be there, `shared` is False."""

    place: int
    path: str
    run: int
    begin: int
    end: int
    depth: int = 0
    shared: bool = False


class Zone(NamedTuple):
    """Where the points of `run` stand for those of a place: micro-steps [begin, end)."""

    run: int
    begin: int
    end: int
    depth: int
    shared: bool


def zones(
    sources: Sequence[tuple[int, int]], path: str, own_lowest: Mapping[Series, int]
) -> Iterator[Zone]:
    """`sources`: (run, until) from the run itself back to its oldest ancestor. `own_lowest`: of
    descendants that have points where an ancestor's count too."""
    shared_from, shared_to = MAX_MICRO_STEP + 1, 0
    for (run, _), (_, until) in itertools.pairwise(sources):
        lowest = own_lowest.get((run, path))
        if lowest is not None and lowest <= until:
            shared_from, shared_to = min(shared_from, lowest), max(shared_to, until + 1)
    for depth, (run, until) in enumerate(sources):
        begin = sources[depth + 1][1] + 1 if depth + 1 < len(sources) else 0
        end = until + 1
        if shared_from >= shared_to:
            yield Zone(run, begin, end, depth, False)
            continue
        # Before, in and behind what they share.
        yield Zone(run, begin, min(end, shared_from), depth, False)
        yield Zone(run, shared_from, min(end, shared_to), depth, True)
        yield Zone(run, max(begin, shared_to), end, depth, False)


class _At(NamedTuple):
    """Of whose columns is spoken, and in which stretch."""

    place: int
    path: str
    zone: Zone
    stretch: Stretch
    # Nothing of the place is behind the stretch.
    last: bool


@dataclass(slots=True)
class Pieces:
    """Of the columns of 2**k micro-steps in [begin, end), which lie on their edges."""

    k: int
    begin: int
    end: int
    rows: list[Rows]
    points: list[Points]

    def add(
        self,
        place: int,
        path: str,
        zone: Zone,
        known: Rolled | None,
        last: int | None,
        *,
        alone: bool = False,
    ) -> None:
        """`last`: of the source's series the highest step, where that is known. `alone`: it is
        the only zone of the place."""
        begin, end = max(zone.begin, self.begin), min(zone.end, self.end)
        if begin >= end:
            return
        if zone.shared or known is None:
            self._points(place, path, zone, begin, end)
            return
        tail = max(begin, known.end)
        if last is not None:
            end = min(end, max(last + 1, known.end))
        if tail < end:
            self._points(place, path, zone, tail, end)
        for stretch in known.stretches:
            if stretch.begin >= end:
                break
            inside = max(begin, stretch.begin), min(end, stretch.end)
            if inside[0] < inside[1]:
                nothing_behind = alone and stretch.end == known.end >= end
                at = _At(place, path, zone, stretch, nothing_behind)
                self._stretch(at, inside, known.dirty)

    def _points(self, place: int, path: str, zone: Zone, begin: int, end: int) -> None:
        if begin < end:
            self.points.append(Points(place, path, zone.run, begin, end, zone.depth, zone.shared))

    def _stretch(self, at: _At, inside: tuple[int, int], dirty: Sequence[tuple[int, int]]) -> None:
        begin, end = inside
        tier = self.k - at.stretch.k
        if tier < 0:
            self._points(at.place, at.path, at.zone, begin, end)
            return
        tier = min(tier, TIERS[-1])
        for dirty_begin, dirty_end in dirty:
            low, high = max(begin, dirty_begin), min(end, dirty_end)
            if low < high:
                self._clean(at, begin, low, tier)
                self._points(at.place, at.path, at.zone, low, high)
                begin = high
        self._clean(at, begin, end, tier)

    def _clean(self, at: _At, begin: int, end: int, tier: int | None) -> None:
        """From coarse to fine: what no whole bucket of a tier covers is left to a finer one."""
        if begin >= end:
            return
        if tier is None:
            self._points(at.place, at.path, at.zone, begin, end)
            return
        stretch = at.stretch
        finer = max((one for one in _FOR_ENDS if one < tier), default=None)
        k = stretch.k + tier
        low, high = begin >> k, end >> k
        cut = low << k < begin
        if cut and begin != stretch.since:
            # Of this bucket the edition has more than these points.
            low += 1
            cut = False
        # Of the bucket in which the edition ends it has no more than these.
        ends = high << k < end and end == stretch.until
        if ends:
            high += 1
        if low >= high:
            self._clean(at, begin, end, finer)
            return
        if cut:
            self._rows(at, k, low, low + 1, False)
            low += 1
        else:
            self._clean(at, begin, low << k, finer)
        whole = k == self.k
        if ends and not at.last and low < high:
            self._rows(at, k, high - 1, high, False)
            self._rows(at, k, low, high - 1, whole)
        else:
            self._rows(at, k, low, high, whole)
        if not ends:
            self._clean(at, high << k, end, finer)

    def _rows(self, at: _At, k: int, low: int, high: int, whole: bool) -> None:
        if low < high:
            edition = at.stretch.edition
            self.rows.append(Rows(at.place, at.path, at.zone.run, k, edition, low, high, whole))


def neighbours(pieces: Sequence[Points], most: int = _READS) -> list[list[Points]]:
    """Pieces that begin and end at about the same steps together, since one read goes from the
    first beginning to the last end; `most` groups or fewer."""
    groups: list[list[Points]] = []
    begin = end = 0
    for piece in sorted(pieces, key=lambda one: (one.begin, one.end)):
        length = piece.end - piece.begin
        apart = piece.begin > end or piece.begin - begin > 4 * length
        if not groups or apart or piece.end - begin > 4 * max(length, end - begin):
            groups.append([])
            begin, end = piece.begin, piece.end
        groups[-1].append(piece)
        end = max(end, piece.end)
    while len(groups) > most:
        # The closest ones.
        at = min(
            range(len(groups) - 1), key=lambda one: groups[one + 1][-1].end - groups[one][0].begin
        )
        groups[at : at + 2] = [groups[at] + groups[at + 1]]
    return groups
