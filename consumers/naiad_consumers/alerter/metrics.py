"""Rules about the points of a metric: it became NaN or infinite, it crossed a value."""

from __future__ import annotations

import abc
import math
import operator
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from naiad_consumers.alerter.book import Book
from naiad_consumers.alerter.choosing import Choices
from naiad_consumers.alerter.config import (
    NON_FINITE,
    MetricSelection,
    NonFiniteRule,
    ThresholdRule,
)
from naiad_consumers.alerter.observation import Batch, Points
from naiad_consumers.alerter.occurrence import Severity, Subject
from naiad_consumers.alerter.rule import Experiments, Rule
from naiad_consumers.alerter.transitions import transitions
from naiad_proto.limits import shorten
from naiad_proto.steps import from_micro

# Runs whose unfinished streaks are remembered.
_MAX_RUNS = 10_000

_OPERATORS: dict[str, Callable[[NDArray[np.float64], float], NDArray[np.bool_]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@dataclass(frozen=True, slots=True)
class _Streak:
    """Points in a row that meet the condition, up to a record of a writer."""

    length: int
    writer_id: str
    record: int


class MetricRule(Rule):
    """A condition on single points that has to hold `need` times in a row."""

    def __init__(
        self,
        name: str,
        selection: MetricSelection,
        severity: Severity,
        need: int,
        experiments: Experiments,
        choices: Choices,
    ) -> None:
        super().__init__(name, selection, experiments, choices)
        self._selection = selection
        self._severity = severity
        self._need = need
        # Only where more than none and fewer than `need`, or where nothing could be raised.
        self._streaks: OrderedDict[tuple[str, str], dict[str, _Streak]] = OrderedDict()

    @abc.abstractmethod
    def meets(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """For each value, of any shape: does it meet the condition?"""

    def counts(self, points: Points) -> Points:
        """The points that say something about the condition, one way or the other."""
        return points

    @abc.abstractmethod
    def message(self, path: str, step: int, value: float) -> str:
        """What happened, for people."""

    def on_batch(self, batch: Batch, now: float, book: Book) -> None:
        if not batch.groups or not self.looks_at(batch.project, batch.run_id):
            return
        for path in sorted(self._interesting(batch, book)):
            points = batch.points(path)
            if len(points.values):
                self._look_closer(batch, path, points, now, book)

    def _interesting(self, batch: Batch, book: Book) -> set[str]:
        """Paths of the batch where something may begin or end."""
        paths: set[str] = set()
        run = (self.name, batch.project, batch.run_id)
        full = book.is_full(*run, batch.origin.received_at)
        for group in () if full else batch.groups:
            rows = group.paths.matching(self.name, self._selection.takes_path)
            if not len(rows):
                continue
            everything = len(rows) == len(group.paths.names)
            met = self.meets(group.values if everything else group.values[rows])
            if group.valid is not None:
                met &= group.valid if everything else group.valid[rows]
            hits = np.flatnonzero(met.any(axis=1))
            paths.update(group.paths.names[row] for row in rows[hits])
        begun: Iterable[str] = self._streaks.get((batch.project, batch.run_id), ())
        opened = book.open_subjects(*run)
        for path in (*begun, *(subject.path for subject in opened)):
            if any(group.paths.row(path) is not None for group in batch.groups):
                paths.add(path)
        return paths

    def _look_closer(self, batch: Batch, path: str, points: Points, now: float, book: Book) -> None:
        subject = Subject(self.name, batch.project, batch.run_id, path)
        origin = batch.origin
        standing = book.standing(subject)
        if standing:
            if not standing.precedes(origin):
                return
            # A resend stands at another place in the log but has the same record numbers.
            last = standing.occurrence
            if last.changed.writer_id == origin.writer_id:
                points = points.where(points.records > last.record)
        streak = self._streak(batch, path)
        if streak and streak.writer_id == origin.writer_id:
            points = points.where(points.records > streak.record)
        points = self.counts(points)
        found, length = transitions(
            self.meets(points.values),
            holds=book.is_open(subject),
            streak=streak.length if streak else 0,
            need=self._need,
        )
        for at, begins in found:
            record = int(points.records[at])
            if not begins:
                book.resolved(subject, origin, record)
                continue
            if not self.chooses(batch.project, batch.run_id, now):
                # It is asked again for the next point that is like this one.
                continue
            step, value = int(points.steps[at]), float(points.values[at])
            book.raised(
                subject,
                origin,
                began=f"{origin.writer_id}/{record}",
                record=record,
                severity=self._severity,
                experiment=self.experiments.name(batch.project, batch.run_id),
                message=self.message(path, step, value),
                step=step,
                value=value,
            )
        if len(points.values):
            unfinished = self._need > 1 and not book.is_open(subject)
            newest = _Streak(length if unfinished else 0, origin.writer_id, int(points.records[-1]))
            self._keep(batch, path, newest)

    def _streak(self, batch: Batch, path: str) -> _Streak | None:
        return self._streaks.get((batch.project, batch.run_id), {}).get(path)

    def _keep(self, batch: Batch, path: str, streak: _Streak) -> None:
        run = (batch.project, batch.run_id)
        if streak.length:
            self._streaks.setdefault(run, {})[path] = streak
            self._streaks.move_to_end(run)
            if len(self._streaks) > _MAX_RUNS:
                self._streaks.popitem(last=False)
        elif run in self._streaks:
            self._streaks[run].pop(path, None)
            if not self._streaks[run]:
                del self._streaks[run]


class NonFinite(MetricRule):
    """A metric became NaN or infinite; the next finite point resolves it."""

    def __init__(self, config: NonFiniteRule, experiments: Experiments, choices: Choices) -> None:
        super().__init__(NON_FINITE, config, config.severity, 1, experiments, choices)

    def meets(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        return ~np.isfinite(values)

    def message(self, path: str, step: int, value: float) -> str:
        return f"{shorten(path)} became {_text(value)} at step {_text(from_micro(step))}"


class Threshold(MetricRule):
    """A metric is on the wrong side of a value.

    NaN is on no side: it neither begins, continues nor ends anything.
    """

    def __init__(self, config: ThresholdRule, experiments: Experiments, choices: Choices) -> None:
        super().__init__(
            config.name, config, config.severity, config.for_points, experiments, choices
        )
        self._config = config

    def meets(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        return _OPERATORS[self._config.op](values, self._config.value)

    def counts(self, points: Points) -> Points:
        return points.where(~np.isnan(points.values))

    def message(self, path: str, step: int, value: float) -> str:
        config = self._config
        text = (
            f"{shorten(path)} is {_text(value)} at step {_text(from_micro(step))},"
            f" {config.op} {_text(config.value)}"
        )
        if config.for_points > 1:
            text += f" for {config.for_points} points in a row"
        return f"{config.message}: {text}" if config.message else text


def _text(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    # Whole steps up to 1e12 as such; values as short as they can be.
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)
