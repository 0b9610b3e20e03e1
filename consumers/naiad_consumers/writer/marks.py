"""What the writer tells the roller, and the other way round, so that no rollup is ever wrong.

The roller makes rows of `rollups` from stretches of points that stand still, as a rule. The rule
has exceptions: a point that overwrites another, one that comes late, all of what is replayed after
a crash. So before points go in that lie below a series' **frontier**, up to where it is rolled or
being rolled, the stretch they lie in is marked dirty in the store; readers take it from the points
until the roller has done it again.

Both work at the same time, so it matters what each of them knows when:

- The roller raises the frontier first. Then it waits for the inserts that had begun before
  (`claim`): those after it see the new frontier. Only then does it read points.
- It takes the marks it will deal with at the same moment, so the points of each are in by then.
  A mark that is made later has a higher generation, and stays.

All of it is of one tenure (see `tenure`). A new owner first takes over what is rolled, under its
own epoch: what the earlier one may still say of it counts no more, and what points it may still
insert come again from the log, below a frontier of ours or above it.

A run whose records stand in two partitions, once some were added, has two owners that don't know
of each other. It is marked as a whole, and read from its points.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from naiad_consumers.writer.names import NameGroup
from naiad_consumers.writer.tenure import row_versions
from naiad_eventlog.partitioning import partition_of
from naiad_eventlog.topics import run_key
from naiad_proto.steps import MAX_MICRO_STEP
from naiad_store import Store
from naiad_store.selects.rolled import MARKS, Series, frontiers, take_over

# Points from which on a series is long: it is rolled, and so is as much more of it each time.
LONG = 8192
# Series that are remembered at once, about.
_MOST = 1_000_000
# Runs that the store is asked about at a time.
_RUNS = 1000


@dataclass(frozen=True, slots=True)
class Touch:
    """Committed points of a block: some series of one run, over the same steps."""

    project: str
    run_id: str
    run: int
    partition: int
    names: NameGroup
    paths: tuple[str, ...]
    lowest: int
    highest: int
    rows: int


@dataclass(slots=True)
class OpenMark:
    """What of a series is marked, both ends in, that no roll has taken up."""

    begin: int
    end: int
    generation: int
    first_at: float
    last_at: float


@dataclass(frozen=True, slots=True)
class Tenure:
    """From one sharing out of the partitions to the next. Epoch 0 is before the first."""

    epoch: int
    owned: frozenset[int]
    # How many there are.
    partitions: int
    # Ascending, for versions, editions and generations: each number once.
    numbers: Iterator[int]


@dataclass(frozen=True, slots=True)
class Claim:
    """`marked`: what of the claimed series was. A mark below `number` that isn't among them is of
    points that are in, and one above of points that may come."""

    marked: Mapping[Series, OpenMark]
    number: int


@dataclass(slots=True)
class _Run:
    project: str
    partition: int
    # Whether it is ours to roll.
    ours: bool
    numbers: dict[str, int] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    # Of each path: rolled or being rolled up to there, and rows that came since.
    frontier: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(8, np.int64))
    fresh: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(8, np.int64))
    # No frontier is beyond `top`, no count of fresh rows above `most`.
    top: int = 0
    most: int = 0
    groups: dict[int, npt.NDArray[np.intp]] = field(default_factory=dict)
    touched_at: float = 0.0

    def number(self, path: str, known: Mapping[Series, int], run: int) -> int:
        number = self.numbers.get(path)
        if number is None:
            number = self.numbers[path] = len(self.paths)
            self.paths.append(path)
            if number == len(self.frontier):
                self.frontier = np.concatenate([self.frontier, np.zeros(number, np.int64)])
                self.fresh = np.concatenate([self.fresh, np.zeros(number, np.int64)])
            self.raise_to(number, known.get((run, path), 0))
        return number

    def group(self, touch: Touch, known: Mapping[Series, int]) -> npt.NDArray[np.intp]:
        """Numbers of its paths."""
        group = self.groups.get(touch.names.serial)
        if group is None:
            group = self.groups[touch.names.serial] = np.array(
                [self.number(path, known, touch.run) for path in touch.paths], np.intp
            )
        return group

    def raise_to(self, number: int, frontier: int) -> None:
        self.frontier[number] = max(int(self.frontier[number]), frontier)
        self.top = max(self.top, frontier)


@dataclass(frozen=True, slots=True)
class Due:
    """A series that may be worth a roll."""

    project: str
    run: int
    path: str
    partition: int
    fresh: int
    # Since when its run has been given nothing.
    rests_since: float
    mark: OpenMark | None


class Marks:
    """Shared by the writer and the roller of a process, and by their threads."""

    def __init__(
        self, store: Store, *, long: int = LONG, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.long = long
        self._store = store
        self._clock = clock
        # Held for each roll.
        self.rolling = threading.Lock()
        self._changed = threading.Condition()
        self._tickets = itertools.count()
        self._inserting: set[int] = set()
        # Frontiers as the store had them when a run was met.
        self._known: dict[Series, int] = {}
        self._runs: dict[int, _Run] = {}
        self._marks: dict[Series, OpenMark] = {}
        # Runs that may have a series with `long` fresh rows, and those that are being rolled.
        self._ripe: set[int] = set()
        self._claimed: set[int] = set()
        self.tenure = Tenure(0, frozenset(), 1, row_versions(0))

    # --- of the writer ------------------------------------------------------------------------

    def begin(self, epoch: int, owned: Iterable[int], partitions: int) -> None:
        """A tenure over the partitions `owned` among so many. Raises StoreError."""
        tenure = Tenure(epoch, frozenset(owned), partitions, row_versions(epoch))
        take_over(self._store, tenure.owned, epoch, next(tenure.numbers))
        with self._changed:
            self.tenure = tenure
            self._runs, self._known, self._marks = {}, {}, {}
            self._ripe, self._claimed = set(), set()

    @contextlib.contextmanager
    def inserting(self, touches: Sequence[Touch]) -> Iterator[None]:
        """While these points are inserted: what they make dirty is marked by then, and when they
        are in they count as fresh. Raises StoreError, before anything."""
        self._meet([(one.project, one.run_id, one.run, one.partition) for one in touches])
        with self._changed:
            ticket = next(self._tickets)
            self._inserting.add(ticket)
            marks = self._dirtied(touches)
        try:
            if marks:
                self._store.insert("dirty_stretches", self._table(marks))
                with self._changed:
                    self._marks |= {series: mark for series, (_, _, mark) in marks.items()}
            yield
            # Not before: a roll that can't see them yet would take them for done.
            with self._changed:
                self._count(touches)
        finally:
            with self._changed:
                self._inserting.discard(ticket)
                self._changed.notify_all()

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """While nothing is rolled."""
        with self.rolling:
            yield

    def _meet(self, runs: Iterable[tuple[str, str, int, int]]) -> None:
        """Asks the store about (project, run id, run, partition) that are new to this tenure, and
        marks those runs as a whole that are not ours alone."""
        new = {one[2]: one for one in runs if one[2] not in self._runs}
        for at in range(0, len(new), _RUNS):
            self._meet_new(dict(list(new.items())[at : at + _RUNS]))

    def _meet_new(self, new: Mapping[int, tuple[str, str, int, int]]) -> None:
        known, said_by = frontiers(self._store, new)
        ours = {
            run: self.home(project, run_id) == partition
            for run, (project, run_id, _, partition) in new.items()
        }
        others = {run for run, number in said_by if number != new[run][3]}
        rows = [
            {"project": project, "path": "", "run": run, "generation": next(self.tenure.numbers),
             "log_partition": partition, "begin": 0, "end": MAX_MICRO_STEP}
            for run, (project, _, _, partition) in new.items()
            if run in others or not ours[run]
        ]  # fmt: skip
        self._store.insert("dirty_stretches", pa.Table.from_pylist(rows, schema=MARKS))
        with self._changed:
            self._known |= known
            now = self._clock()
            for run, (project, _, _, partition) in new.items():
                self._runs.setdefault(run, _Run(project, partition, ours[run], touched_at=now))
            self._forget(new)

    def _forget(self, needed: Mapping[int, object]) -> None:
        """Runs that were given nothing for long; they are asked for again."""
        if sum(len(run.paths) for run in self._runs.values()) <= _MOST:
            return
        kept = {*needed, *self._ripe, *self._claimed, *(run for run, _ in self._marks)}
        oldest = sorted(self._runs, key=lambda key: self._runs[key].touched_at)
        for key in set(oldest[: len(oldest) // 2]) - kept:
            del self._runs[key]

    def _dirtied(self, touches: Sequence[Touch]) -> dict[Series, tuple[str, int, OpenMark]]:
        """Returns what has to be marked: project and partition of each."""
        found: dict[Series, tuple[str, int, OpenMark]] = {}
        now = self._clock()
        for one in touches:
            run = self._runs[one.run]
            run.touched_at = now
            # First, since paths that are new here may raise `top`.
            group = run.group(one, self._known)
            if one.lowest >= run.top or not run.ours:
                continue
            frontiers_ = run.frontier[group]
            for place in np.flatnonzero(frontiers_ > one.lowest).tolist():
                series = (one.run, one.paths[place])
                end = min(one.highest, int(frontiers_[place]) - 1)
                before = found[series][2] if series in found else self._marks.get(series)
                mark = _marked(before, one.lowest, end, int(frontiers_[place]) - 1, now)
                if mark is not before:
                    mark.generation = next(self.tenure.numbers)
                    found[series] = (one.project, one.partition, mark)
        return found

    def _count(self, touches: Sequence[Touch]) -> None:
        now = self._clock()
        for one in touches:
            # The roller, too, has runs forgotten.
            if run := self._runs.get(one.run):
                run.touched_at = now
                run.fresh[run.group(one, self._known)] += one.rows
                run.most += one.rows
                if run.most >= self.long:
                    self._ripe.add(one.run)

    def _table(self, marks: Mapping[Series, tuple[str, int, OpenMark]]) -> pa.Table:
        rows = [
            {"project": project, "path": path, "run": run, "generation": mark.generation,
             "log_partition": partition, "begin": mark.begin, "end": mark.end}
            for (run, path), (project, partition, mark) in marks.items()
        ]  # fmt: skip
        return pa.Table.from_pylist(rows, schema=MARKS)

    # --- of the roller ------------------------------------------------------------------------

    def found(
        self,
        series: Iterable[tuple[str, str, int, str, int]],
        marks: Iterable[tuple[str, str, int, str, int, int, int]],
    ) -> None:
        """What stood in the store before this tenure, or was left: (project, run id, run, path,
        rows that are not rolled) and (project, run id, run, path, begin, end, generation), of
        which only those count that are ours."""
        owned = self.tenure.owned
        fresh = [one for one in series if self.home(one[0], one[1]) in owned]
        old = [one for one in marks if self.home(one[0], one[1]) in owned]
        runs = {one[2]: (one[0], one[1]) for one in fresh}
        runs |= {one[2]: (one[0], one[1]) for one in old}
        self._meet((*names, run, self.home(*names)) for run, names in runs.items())
        with self._changed:
            for _, _, key, path, rows in fresh:
                if run := self._runs.get(key):
                    number = run.number(path, self._known, key)
                    run.fresh[number] = max(int(run.fresh[number]), rows)
                    run.most = max(run.most, rows)
                    if run.most >= self.long:
                        self._ripe.add(key)
            now = self._clock()
            for _, _, key, path, begin, end, generation in old:
                if run := self._runs.get(key):
                    run.number(path, self._known, key)
                    mark = self._marks.get((key, path))
                    if mark is None:
                        self._marks[key, path] = OpenMark(begin, end, generation, now, now)
                    else:
                        mark.begin, mark.end = min(begin, mark.begin), max(end, mark.end)
                        mark.generation = max(generation, mark.generation)

    def home(self, project: str, run_id: str) -> int:
        """The partition to which a run's records go now."""
        return partition_of(run_key(project, run_id), self.tenure.partitions)

    def due(self) -> list[Due]:
        """Long series with many fresh rows, and those with marks."""
        with self._changed:
            found = {}
            for key in list(self._ripe):
                run = self._runs[key]
                count = len(run.paths)
                run.most = int(run.fresh[:count].max(initial=0))
                if run.most < self.long or not run.ours:
                    self._ripe.discard(key)
                    continue
                for number in np.flatnonzero(run.fresh[:count] >= self.long).tolist():
                    found[key, run.paths[number]] = self._due(key, run, run.paths[number])
            for series in self._marks:
                run = self._runs[series[0]]
                if run.ours:
                    found[series] = self._due(series[0], run, series[1])
            return list(found.values())

    def _due(self, key: int, run: _Run, path: str) -> Due:
        number = run.numbers.get(path)
        fresh = 0 if number is None else int(run.fresh[number])
        mark = self._marks.get((key, path))
        return Due(run.project, key, path, run.partition, fresh, run.touched_at, mark)

    def rests(self) -> list[Due]:
        """Series that are rolled in part, with rows that aren't."""
        with self._changed:
            return [
                self._due(key, run, run.paths[number])
                for key, run in self._runs.items()
                if run.ours and run.top and run.most
                for number in np.flatnonzero(
                    (run.fresh[: len(run.paths)] > 0) & (run.frontier[: len(run.paths)] > 0)
                ).tolist()
            ]

    def claim(self, tenure: Tenure, series: Mapping[Series, int]) -> Claim | None:
        """These are rolled up to there now. All points of inserts that have begun, below or not,
        are in the store when this returns, and of later ones those below are marked. None if the
        tenure is over.

        `rolled` has to follow, also where the roll did not come about."""
        marked = {}
        with self._changed:
            if tenure is not self.tenure:
                return None
            for one, frontier in series.items():
                run = self._runs.get(one[0])
                if run is None:
                    continue
                run.raise_to(run.number(one[1], self._known, one[0]), frontier)
                self._claimed.add(one[0])
                if mark := self._marks.pop(one, None):
                    marked[one] = mark
            number = next(tenure.numbers)
            waiting = set(self._inserting)
            self._changed.wait_for(lambda: not waiting & self._inserting)
        return Claim(marked, number)

    def rolled(self, rows: Mapping[Series, tuple[int, int]], claimed: Mapping[Series, int]) -> None:
        """Of these series so many fresh rows are no more, and so many are left after all; what
        was claimed is done."""
        with self._changed:
            self._claimed -= {run for run, _ in claimed}
            for (key, path), (done, left) in rows.items():
                run = self._runs.get(key)
                if run and (number := run.numbers.get(path)) is not None:
                    run.fresh[number] = max(left, int(run.fresh[number]) - done)


def _marked(before: OpenMark | None, begin: int, end: int, highest: int, now: float) -> OpenMark:
    """`before` itself where it says enough. One that has to grow grows far, so that points that
    come late one after the other make few marks."""
    if before is None:
        return OpenMark(begin, end, 0, now, now)
    before.last_at = now
    if before.begin <= begin and end <= before.end:
        return before
    if begin < before.begin:
        begin = max(0, min(begin, 2 * before.begin - before.end))
    return OpenMark(
        min(begin, before.begin), highest if end > before.end else before.end, 0,
        before.first_at, now,
    )  # fmt: skip
