"""The rules with their book, between the log's records and the table of alerts.

Everything here blocks and runs in one worker thread at a time.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from naiad_consumers.alerter.book import Book
from naiad_consumers.alerter.choosing import Choices
from naiad_consumers.alerter.config import AlertConfig
from naiad_consumers.alerter.deleted import Deleted
from naiad_consumers.alerter.metrics import NonFinite, Threshold
from naiad_consumers.alerter.observation import Batch, Decoder
from naiad_consumers.alerter.occurrence import (
    Event,
    Occurrence,
    Origin,
    from_row,
    to_rows,
)
from naiad_consumers.alerter.rule import Experiments, Rule
from naiad_consumers.alerter.silence import ServingClock, Silence
from naiad_consumers.metrics import ALERTS_RAISED
from naiad_eventlog import Record
from naiad_store import Store
from naiad_store.keys import run_key
from naiad_store.lookups import tombstones
from naiad_store.selects import alerts as selects
from naiad_store.selects.filters import which_hold

log = logging.getLogger(__name__)


class Notice(NamedTuple):
    """What sinks are to be told."""

    occurrence: Occurrence
    event: Event


class Engine:
    def __init__(
        self,
        store: Store,
        config: AlertConfig,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clock = ServingClock(monotonic)
        self._decoder = Decoder()
        self._experiments = Experiments(
            lambda project, run_id: selects.experiment_name(
                store, project, run_key(project, run_id)
            )
        )
        self._choices = Choices(
            (rule.filter for rule in (*config.thresholds, config.non_finite, config.heartbeat)),
            lambda project, run_id, text: which_hold(store, project, run_id, text),
        )
        self._book = Book(config.sinks)
        known = (self._experiments, self._choices)
        self._rules: list[Rule] = [Threshold(t, *known) for t in config.thresholds]
        if config.non_finite.enabled:
            self._rules.append(NonFinite(config.non_finite, *known))
        self._silence: Silence | None = None
        if config.heartbeat.enabled:
            self._silence = Silence(
                config.heartbeat,
                *known,
                lambda writer_ids: selects.ended_writers(store, writer_ids),
            )
            self._rules.append(self._silence)
        # When to read the running writers from the store once more, and until where of the log,
        # by partition, these have to be stored by then: what this alerter had read before a
        # restart, the writer may store long after it.
        self._reads_again_after = config.heartbeat.silent_after / 2
        self._read_again: float | None = self._reads_again_after
        self._read_to: dict[int, int] = {}
        self._deleted = Deleted()

    def start(self, committed: Mapping[int, int], ends: Mapping[int, int]) -> list[Notice]:
        """Takes up what the store knows. `committed` is where the log is going to be read
        from and `ends` where it ends, by partition. Returns what there is to tell."""
        occurrences = [from_row(row) for row in selects.standing(self._store, committed)]
        # Offsets past the end belong to a log that is no more: they would make news of
        # this one look old.
        occurrences = [
            o if o.changed.offset < ends.get(o.changed.partition, 0) else _without_place(o)
            for o in occurrences
        ]
        self._book.restore(occurrences)
        self._deleted.restore(tombstones(self._store))
        now = self._clock.look()
        self._read_to = {
            partition: min(offset, ends.get(partition, 0))
            for partition, offset in committed.items()
        }
        if self._silence:
            self._silence.restore(selects.running_writers(self._store), now)
        self._close_orphans()
        return self._settle()

    @property
    def asks_what_is_stored(self) -> bool:
        """Whether `work` wants to know how far the log is stored."""
        again = self._read_again
        return bool(self._silence) and again is not None and self._clock.now >= again

    def work(
        self,
        records: Sequence[Record],
        *,
        caught_up: bool,
        hearing: bool = True,
        stored: Mapping[int, int] | None = None,
    ) -> list[Notice]:
        """Shows `records` to all rules, then, if these were the newest there are, the time,
        which stands still while nobody could be heard. `stored`: the offset, by partition, below
        which the store had everything before this was called.

        What changed is in the store when this returns. Raises UnknownVersion, and what the
        store raises; the work is done again from the last commit then.
        """
        now = self._clock.look(counts=hearing)
        self._experiments.at(now)
        for record in records:
            batch = self._decoder.decode(record)
            if batch is None:
                continue
            if batch.experiment:
                self._experiments.heard(batch.project, batch.run_id, batch.experiment)
            if batch.changes:
                self._change(batch, now)
            elif not self._deleted.has(batch):
                self._choices.hear(batch)
                for rule in self._rules:
                    rule.on_batch(batch, now, self._book)
        if self._silence and stored is not None:
            self._silence.restore(selects.running_writers(self._store), now)
            behind = any(stored.get(where, 0) < offset for where, offset in self._read_to.items())
            self._read_again = now + self._reads_again_after if behind else None
        if caught_up:
            for rule in self._rules:
                rule.on_time(now, self._book)
        return self._settle()

    def _change(self, batch: Batch, now: float) -> None:
        """A run was deleted, or is there again."""
        self._deleted.change(batch)
        if "restore_run" in batch.changes:
            # Its writers are waited for again, once the store shows them.
            self._read_again = now + self._reads_again_after
            self._read_to[batch.origin.partition] = batch.origin.offset + 1
        if "delete_run" not in batch.changes:
            return
        self._choices.forget(batch.project, batch.run_id)
        if self._silence:
            self._silence.forget(batch.project, batch.run_id)
        for occurrence in self._book.open():
            subject = occurrence.subject
            if (subject.project, subject.run_id) == (batch.project, batch.run_id):
                self._book.resolved(subject, batch.origin)

    def _settle(self) -> list[Notice]:
        fresh = self._book.fresh
        changed, raised = self._book.take(selects.known(self._store, fresh) if fresh else ())
        if not changed:
            return []
        self._store.insert("alerts", to_rows(changed))
        notices = [
            Notice(occurrence, event)
            for occurrence in changed
            for event in occurrence.events
            if event is Event.RESOLVED or occurrence.id in raised
        ]
        for occurrence, event in notices:
            if event is Event.FIRING:
                ALERTS_RAISED.labels(occurrence.subject.rule).inc()
        return notices

    def _close_orphans(self) -> None:
        """Resolves what a rule left open that isn't configured any more."""
        names = {rule.name for rule in self._rules}
        now = time.time_ns() // 1_000_000
        for occurrence in self._book.open():
            rule = occurrence.subject.rule
            if rule in names:
                continue
            log.info("alert %s is closed: there is no rule %s any more", occurrence.id, rule)
            changed = occurrence.changed
            self._book.resolved(
                occurrence.subject,
                Origin(changed.partition, changed.offset, changed.writer_id, now),
                occurrence.record,
            )


def _without_place(occurrence: Occurrence) -> Occurrence:
    changed = dataclasses.replace(occurrence.changed, partition=-1, offset=-1)
    return dataclasses.replace(occurrence, changed=changed)
