"""The loop: see what is due, roll it, rest for longer than that took."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from naiad_consumers import metrics
from naiad_consumers.roller.planning import Growth, Plan, grown, plan, rows_of
from naiad_consumers.writer.marks import Claim, Due, Marks, OpenMark
from naiad_consumers.writer.tenure import COUNT_BITS
from naiad_proto.steps import MAX_MICRO_STEP
from naiad_store import Store, StoreUnavailable
from naiad_store.selects import rolled as rolled_
from naiad_store.selects import rolling
from naiad_store.selects.rolled import Mark, Series, Stretch

log = logging.getLogger(__name__)

# Between two looks at what is due, in seconds.
PAUSE = 1.0
# The share of the time that statements, of one thread each, may take.
SHARE = 0.2
# What was marked is rolled again when nothing more came for so many seconds, or at the latest
# after so many.
QUIET, LONGEST = 5.0, 60.0
# Between two looks at runs that have ended, in seconds, and how long they have been silent.
_ENDED = 3.0
# Of one statement: series, and rows that are to be rolled.
_MOST_SERIES = 500
_MOST_ROWS = 4_000_000
# A series in more pieces than this is rolled as a whole once more.
_MOST_STRETCHES = 24


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A series, and how it is to be rolled: with the part of it that is not over, or as a whole."""

    due: Due
    rest: bool
    stretches: Sequence[Stretch] = ()
    # Beginnings of stretches that the store has.
    begins: frozenset[int] = frozenset()

    @property
    def series(self) -> Series:
        return (self.due.run, self.due.path)

    @property
    def end(self) -> int:
        return self.stretches[-1].end if self.stretches else 0


class Roller:
    """The consumer that rolls. `run` once per instance."""

    def __init__(
        self,
        store: Store,
        marks: Marks,
        *,
        pause: float = PAUSE,
        share: float = SHARE,
        quiet: float = QUIET,
        longest: float = LONGEST,
    ) -> None:
        """`marks`: those of the writer of this process."""
        self._store = store
        self._marks = marks
        self._pause = pause
        self._share = share
        self._quiet = quiet
        self._longest = longest
        # The tenure that is rolled for, and the first edition of ours in it.
        self._tenure = marks.tenure
        self._oldest = 0
        self._begun = False
        self._looked_for_ended = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Rolls until `stop`, waiting where the store is unavailable. Raises StoreError when it
        is broken; what was not finished is done again."""
        while not stop.is_set():
            try:
                took = await asyncio.to_thread(self._look, stop)
            except StoreUnavailable as error:
                log.warning("the store can't be asked for rollups: %s; trying again", error)
                self._begun, took = False, 0.0
            rest = max(self._pause, took * (1 / self._share - 1))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), rest)

    def roll_all(self) -> None:
        """All that is due now, and the rests, without a pause: for tests and benchmarks."""
        self._begin()
        self._roll(self._due(patient=False))
        self._roll(self._ended(everything=True))

    def _roll(self, wanted: Sequence[_Wanted]) -> None:
        for project, of_project in _by_project(wanted).items():
            for some in _chunks(self._with_stretches(project, of_project)):
                self._roll_chunk(project, some)

    def _look(self, stop: asyncio.Event) -> float:
        """Returns the seconds that it took."""
        if not self._marks.tenure.epoch:
            return 0.0
        if not self._begun or self._marks.tenure is not self._tenure:
            self._begin()
        began = time.monotonic()
        wanted = self._due(patient=True)
        if began - self._looked_for_ended >= _ENDED:
            wanted += self._ended(everything=False)
            self._looked_for_ended = time.monotonic()
        took = time.monotonic() - began
        for project, of_project in _by_project(wanted).items():
            for some in _chunks(self._with_stretches(project, of_project)):
                if stop.is_set() or self._marks.tenure is not self._tenure:
                    return 0.0
                began = time.monotonic()
                self._roll_chunk(project, some)
                took_now = time.monotonic() - began
                # Each of them pays for itself, so that a long list is no burst.
                stop_waiting = took_now * (1 / self._share - 1)
                if stop_waiting > 0:
                    _wait(stop, stop_waiting)
        return took

    def _begin(self) -> None:
        """What the store knows, since no more of what we knew counts."""
        self._tenure = tenure = self._marks.tenure
        self._oldest = next(tenure.numbers)
        if owned := tenure.owned:
            self._marks.found(
                rolling.long_series(self._store, owned, self._marks.long),
                (
                    (row["project"], row["run_id"], row["run"], row["path"], row["begin"],
                     row["end"], row["generation"])
                    for row in rolling.dirty_series(self._store, owned)
                ),
            )  # fmt: skip
        self._begun = True

    # --- what is due --------------------------------------------------------------------------

    def _due(self, *, patient: bool) -> list[_Wanted]:
        now = time.monotonic()
        return [
            _Wanted(due, rest=False)
            for due in self._marks.due()
            if not patient or due.fresh >= self._marks.long or self._is_quiet(due.mark, now)
        ]

    def _is_quiet(self, mark: OpenMark | None, now: float) -> bool:
        return mark is not None and (
            now - mark.last_at >= self._quiet or now - mark.first_at >= self._longest
        )

    def _ended(self, *, everything: bool) -> list[_Wanted]:
        """Of runs that are over what is left."""
        now = time.monotonic()
        rests = [
            due for due in self._marks.rests() if everything or now - due.rests_since >= _ENDED
        ]
        projects: dict[str, set[int]] = {}
        for due in rests:
            projects.setdefault(due.project, set()).add(due.run)
        over: set[int] = set()
        for project, runs in projects.items():
            over |= rolling.runs_at_rest(self._store, project, runs)
        return [_Wanted(due, rest=True) for due in rests if everything or due.run in over]

    # --- rolling ------------------------------------------------------------------------------

    def _with_stretches(self, project: str, wanted: Sequence[_Wanted]) -> list[_Wanted]:
        found = rolled_.stretches(
            self._store, project, sorted({one.due.run for one in wanted}),
            sorted({one.due.path for one in wanted}),
        )  # fmt: skip
        answer = []
        for one in wanted:
            had = found.get(one.series, [])
            kept = had if len(had) <= _MOST_STRETCHES and rolled_.follow(had) else []
            answer.append(
                replace(one, stretches=kept, begins=frozenset(each.begin for each in had))
            )
        return answer

    def _roll_chunk(self, project: str, wanted: Sequence[_Wanted]) -> None:
        with self._marks.rolling:
            self._roll_now(project, wanted)

    def _roll_now(self, project: str, wanted: Sequence[_Wanted]) -> None:
        # Since it was looked at a run may have been purged.
        wanted = self._with_stretches(project, wanted)
        counted = rolling.count(
            self._store,
            project,
            {one.series: (one.end, MAX_MICRO_STEP + 1) for one in wanted if self._grows(one)},
        )
        growths = {
            one.series: growth
            for one in wanted
            if (growth := grown(one.stretches, counted.get(one.series), rest=one.rest))
        }
        frontiers = {one.series: one.end for one in wanted} | {
            series: growth.to for series, growth in growths.items()
        }
        claim = self._marks.claim(self._tenure, frontiers)
        if claim is None:
            return
        plans = self._plans(project, wanted, growths, claim)
        jobs = [job for one in plans for job in one.jobs]
        if jobs:
            began = time.perf_counter()
            rolling.roll(self._store, project, jobs)
            # Above the editions of this roll, below those of the next: by that what nobody makes
            # any more is known (`selects.superseded`).
            version = next(self._tenure.numbers)
            self._store.insert("rolled", rows_of(project, plans, version))
            metrics.ROLL_SECONDS.observe(time.perf_counter() - began)
            metrics.ROLLED_POINTS.inc(sum(growth.rows for growth in growths.values()))
        # A bucket that is not over is left, for the run's end.
        self._marks.rolled(
            {
                one.series: (one.due.fresh, 0 if one.rest else 1)
                for one in wanted
                if self._grows(one)
            },
            frontiers,
        )

    def _grows(self, one: _Wanted) -> bool:
        return one.rest or one.due.fresh >= self._marks.long or not one.stretches

    def _plans(
        self,
        project: str,
        wanted: Sequence[_Wanted],
        growths: Mapping[Series, Growth],
        claim: Claim,
    ) -> list[Plan]:
        marked = {
            series: (mark.begin, min(mark.end, MAX_MICRO_STEP) + 1)
            for series, mark in claim.marked.items()
        }
        counted = rolling.count(self._store, project, marked)
        plans = []
        for one in wanted:
            mark = claim.marked.get(one.series)
            dirty: list[tuple[int, int]] = []
            if mark is not None and one.stretches:
                as_stored = Mark(mark.begin, mark.end, mark.generation, one.due.partition)
                dirty = rolled_.dirty(one.stretches, [as_stored])
            in_marked = counted.get(one.series)
            made = plan(
                one.series,
                one.stretches,
                growths.get(one.series),
                dirty,
                edition=lambda: next(self._tenure.numbers),
                ours=range(self._oldest, (self._tenure.epoch + 1) << COUNT_BITS),
                through=mark.generation if mark else 0,
                number=claim.number,
                lowest=in_marked.lowest if in_marked else None,
                partition=one.due.partition,
            )
            made.replaced = set(one.begins - {each.begin for each in made.stretches})
            if made.stretches:
                plans.append(made)
        return plans


def _by_project(wanted: Sequence[_Wanted]) -> dict[str, list[_Wanted]]:
    found: dict[str, dict[Series, _Wanted]] = {}
    for one in wanted:
        of_project = found.setdefault(one.due.project, {})
        before = of_project.get(one.series)
        of_project[one.series] = replace(one, rest=True) if before and before.rest else one
    return {project: list(some.values()) for project, some in found.items()}


def _chunks(wanted: Sequence[_Wanted]) -> Iterator[list[_Wanted]]:
    """What goes into a statement: series whose unrolled parts begin at about the same step, since
    it reads all of them from the lowest of these on."""
    some: list[_Wanted] = []
    rows = too_much = 0
    for one in sorted(wanted, key=lambda each: each.end):
        had = sum(stretch.points for stretch in one.stretches)
        more = had * (one.end - some[0].end) // max(one.end, 1) if some else 0
        full = len(some) >= _MOST_SERIES or rows + one.due.fresh > _MOST_ROWS
        if some and (full or too_much + more > 100_000 + 2 * rows):
            yield some
            some, rows, too_much, more = [], 0, 0, 0
        some.append(one)
        rows += one.due.fresh
        too_much += more
    if some:
        yield some


def _wait(stop: asyncio.Event, seconds: float) -> None:
    """In a thread, which can't wait for the event itself."""
    until = time.monotonic() + seconds
    while not stop.is_set() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))
