"""The book of what is open: which occurrence stands for which subject, and what changed.

Rules ask it how things stand and tell it what they see; it decides whether that is news.
Three things make a replay harmless: an occurrence's id comes from the data that began it,
a change at or before the place of the last one is no news, and an id that the store knows
is never raised again.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from naiad_consumers.alerter.occurrence import (
    Occurrence,
    Origin,
    Severity,
    Subject,
    occurrence_id,
)

log = logging.getLogger(__name__)

# A metric that flips between NaN and numbers must not become a flood: of one rule and run
# this many occurrences are raised in an hour (of the server's receiving clock).
MAX_PER_RUN_AND_HOUR = 200
_HOUR = 3_600_000
# Subjects without an open occurrence of which the last change is remembered.
_MAX_CLOSED = 100_000

_Run = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest occurrence of a subject, open or resolved."""

    occurrence: Occurrence
    # The store had it before this alerter raised it, from the same data: say nothing of it.
    repeated: bool = False

    def precedes(self, origin: Origin) -> bool:
        """Whether a batch from `origin` can hold news about the subject."""
        changed = self.occurrence.changed
        return origin.partition != changed.partition or origin.offset > changed.offset


class Book:
    """Not for use by several threads at a time."""

    def __init__(self, sinks: tuple[str, ...]) -> None:
        self._sinks = sinks
        self._open: dict[Subject, Standing] = {}
        self._open_of_run: dict[_Run, dict[Subject, None]] = {}
        self._closed: OrderedDict[Subject, Standing] = OrderedDict()
        self._raised: OrderedDict[_Run, deque[int]] = OrderedDict()
        self._changed: dict[str, Occurrence] = {}
        self._fresh: dict[str, Occurrence] = {}

    def restore(self, occurrences: Iterable[Occurrence]) -> None:
        """Takes up what the store has; of one subject the newest last."""
        for occurrence in occurrences:
            self._put(Standing(occurrence))

    def standing(self, subject: Subject) -> Standing | None:
        return self._open.get(subject) or self._closed.get(subject)

    def open(self) -> list[Occurrence]:
        return [standing.occurrence for standing in self._open.values()]

    def open_subjects(self, rule: str, project: str, run_id: str) -> Collection[Subject]:
        return self._open_of_run.get((rule, project, run_id), ())

    def is_open(self, subject: Subject) -> bool:
        return subject in self._open

    def raised(
        self,
        subject: Subject,
        origin: Origin,
        *,
        began: str,
        record: int = 0,
        severity: Severity,
        experiment: str,
        message: str,
        step: int | None = None,
        value: float | None = None,
        at: int | None = None,
    ) -> None:
        """A rule's condition began to hold. `began` as occurrence_id() takes it; `at` if
        that was not when the data of `origin` came."""
        if subject in self._open or not self._has_room(subject, origin.received_at):
            return
        occurrence = Occurrence(
            id=occurrence_id(subject, began),
            subject=subject,
            severity=severity,
            experiment=experiment,
            step=step,
            value=value,
            message=message,
            raised_at=origin.received_at if at is None else at,
            sinks=self._sinks,
            changed=origin,
            record=record,
        )
        self._changed[occurrence.id] = self._fresh[occurrence.id] = occurrence
        self._put(Standing(occurrence))

    def resolved(self, subject: Subject, origin: Origin, record: int = 0) -> None:
        """A rule's condition holds no more."""
        standing = self._open.get(subject)
        if standing is None:
            return
        occurrence = standing.occurrence.resolved(origin, record)
        if not standing.repeated:
            self._changed[occurrence.id] = occurrence
        self._put(Standing(occurrence, standing.repeated))

    @property
    def fresh(self) -> list[str]:
        """Ids raised since the last `take`."""
        return list(self._fresh)

    def take(self, known: Collection[str]) -> tuple[list[Occurrence], set[str]]:
        """What changed since the last call, as it stands now, and which of that was raised
        since. `known`: those of `fresh` that the store has from before; they're left out."""
        for repeated in known:
            occurrence = self._fresh.pop(repeated)
            self._changed.pop(repeated)
            standing = self._open.get(occurrence.subject)
            if standing and standing.occurrence.id == repeated:
                self._put(Standing(standing.occurrence, repeated=True))
        changed, fresh = list(self._changed.values()), set(self._fresh)
        self._changed, self._fresh = {}, {}
        return changed, fresh

    def _put(self, standing: Standing) -> None:
        subject = standing.occurrence.subject
        run = (subject.rule, subject.project, subject.run_id)
        if standing.occurrence.is_open:
            self._closed.pop(subject, None)
            self._open[subject] = standing
            self._open_of_run.setdefault(run, {})[subject] = None
            return
        if self._open.pop(subject, None):
            of_run = self._open_of_run[run]
            del of_run[subject]
            if not of_run:
                del self._open_of_run[run]
        self._closed[subject] = standing
        self._closed.move_to_end(subject)
        if len(self._closed) > _MAX_CLOSED:
            self._closed.popitem(last=False)

    def is_full(self, rule: str, project: str, run_id: str, at: int) -> bool:
        """Whether nothing more is raised of the run at `at` (milliseconds), so that there is
        no use in looking closer."""
        times = self._raised.get((rule, project, run_id))
        if times is None:
            return False
        while times and at - times[0] >= _HOUR:
            times.popleft()
        return len(times) >= MAX_PER_RUN_AND_HOUR

    def _has_room(self, subject: Subject, at: int) -> bool:
        run = (subject.rule, subject.project, subject.run_id)
        if self.is_full(*run, at):
            return False
        times = self._raised.setdefault(run, deque())
        self._raised.move_to_end(run)
        if len(self._raised) > _MAX_CLOSED:
            self._raised.popitem(last=False)
        times.append(at)
        if len(times) == MAX_PER_RUN_AND_HOUR:
            log.error(
                "rule %s raised %d alerts for run %s of %s within an hour; for the rest of that"
                " hour it raises no more of that run: look at the run itself",
                subject.rule,
                MAX_PER_RUN_AND_HOUR,
                subject.run_id,
                subject.project,
                extra={
                    "project": subject.project, "run": subject.run_id, "rule": subject.rule,
                },
            )  # fmt: skip
        return True
