"""What a rule is: something that sees batches and time pass, and tells the book.

The full rule language will bring more of these; the consumer around them stays as it is.
"""

from __future__ import annotations

import abc
import time
from collections import OrderedDict
from collections.abc import Callable

from naiad_consumers.alerter.book import Book
from naiad_consumers.alerter.choosing import Choices
from naiad_consumers.alerter.config import Selection
from naiad_consumers.alerter.observation import Batch

_MAX_RUNS = 10_000
# Seconds until the store is asked again about a run that had no experiment.
_ASK_AGAIN = 30.0


class Experiments:
    """Names of the experiments that runs belong to: heard in the log, else from the store."""

    def __init__(self, look_up: Callable[[str, str], str]) -> None:
        """`look_up(project, run_id)` gives the name or an empty string."""
        self._look_up = look_up
        # Name, and until when to believe that there is none.
        self._names: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        self._now = 0.0

    def at(self, now: float) -> None:
        self._now = now

    def heard(self, project: str, run_id: str, name: str) -> None:
        self._keep((project, run_id), name)

    def name(self, project: str, run_id: str) -> str:
        """Empty for a run without one."""
        key = (project, run_id)
        name, until = self._names.get(key, ("", float("-inf")))
        if not name and self._now >= until:
            name = self._look_up(project, run_id)
            self._keep(key, name)
        return name

    def _keep(self, key: tuple[str, str], name: str) -> None:
        self._names[key] = (name, self._now + _ASK_AGAIN)
        self._names.move_to_end(key)
        if len(self._names) > _MAX_RUNS:
            self._names.popitem(last=False)


class Rule(abc.ABC):
    """A rule under one name; the name is part of the ids of what it raises."""

    def __init__(
        self, name: str, runs: Selection, experiments: Experiments, choices: Choices
    ) -> None:
        self.name = name
        self.experiments = experiments
        self._runs = runs
        self._choices = choices

    @abc.abstractmethod
    def on_batch(self, batch: Batch, now: float, book: Book) -> None:
        """A batch came. `now`: seconds for which the server has been there to take data."""

    def on_time(self, now: float, book: Book) -> None:  # noqa: B027 (most need no clock)
        """Everything in the log has been seen, and it is `now`."""

    def looks_at(self, project: str, run_id: str) -> bool:
        runs = self._runs
        return runs.takes(project, run_id) and (
            not runs.asks_experiment
            or runs.takes_experiment(self.experiments.name(project, run_id))
        )

    def chooses(self, project: str, run_id: str, now: float) -> bool:
        """Whether the rule's filter is true for a run that it looks at. Only what is about to be
        raised is worth the question, which may be the store's."""
        text = self._runs.filter
        return not text or self._choices.take(text, project, run_id, now, time.time())
