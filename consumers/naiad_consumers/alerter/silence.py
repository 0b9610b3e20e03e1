"""The rule about writers that fell silent without having ended."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from naiad_consumers.alerter.book import Book
from naiad_consumers.alerter.choosing import Choices
from naiad_consumers.alerter.config import HEARTBEAT, HeartbeatRule
from naiad_consumers.alerter.observation import Batch
from naiad_consumers.alerter.occurrence import Origin, Subject
from naiad_consumers.alerter.rule import Experiments, Rule
from naiad_proto.limits import shorten
from naiad_proto.v1 import records_pb2

# Writers remembered as ended, against batches of theirs that come late or again.
_MAX_ENDED = 100_000
# No log partition has this number: what the store tells has no place in the log.
_FROM_STORE = -1


@dataclass(slots=True)
class _Writer:
    project: str
    run_id: str
    host: str
    pid: int
    # The last batch or heartbeat of it.
    origin: Origin
    # Seconds of the serving clock when that was.
    heard: float


class ServingClock:
    """Seconds during which the server could have heard someone.

    Time counts only while this process runs: it begins at zero with the process, and a gap
    between two looks at the clock that is longer than `longest` (a stopped process, a
    sleeping laptop, a blocked loop) counts as `longest`.
    """

    def __init__(self, monotonic: Callable[[], float], longest: float = 2.0) -> None:
        self._monotonic = monotonic
        self._longest = longest
        self._seen = monotonic()
        self.now = 0.0

    def look(self, *, counts: bool = True) -> float:
        """`counts`: whether anybody could have been heard since the last look."""
        seen = self._monotonic()
        if counts:
            self.now += min(seen - self._seen, self._longest)
        self._seen = seen
        return self.now


class Silence(Rule):
    """A writer said that it runs, hasn't said that it ended, and says nothing any more.

    Its next batch, heartbeat or end resolves that. `ended_of(writer_ids)` asks the store
    which of them ended.
    """

    def __init__(
        self,
        config: HeartbeatRule,
        experiments: Experiments,
        choices: Choices,
        ended_of: Callable[[Sequence[str]], set[str]],
    ) -> None:
        super().__init__(HEARTBEAT, config, experiments, choices)
        self._config = config
        self._ended_of = ended_of
        self._running: dict[str, _Writer] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._next_look = 0.0

    def restore(self, rows: Iterable[Mapping[str, Any]], now: float) -> None:
        """Takes up writers that run as far as the store knows (rows of
        `naiad_store.selects.alerts.running_writers`). Their silence counts from `now`."""
        for row in rows:
            writer_id = row["writer_id"]
            if writer_id in self._running or writer_id in self._ended:
                continue
            origin = Origin(_FROM_STORE, _FROM_STORE, writer_id, row["last_seen_at_ms"])
            self._running[writer_id] = _Writer(
                row["project"], row["run_id"], row["host"], row["pid"], origin, now
            )

    def forget(self, project: str, run_id: str) -> None:
        """Nobody waits for the run's writers."""
        for writer_id, writer in list(self._running.items()):
            if (writer.project, writer.run_id) == (project, run_id):
                del self._running[writer_id]

    def on_batch(self, batch: Batch, now: float, book: Book) -> None:
        writer_id = batch.origin.writer_id
        for _, status in batch.states:
            self._state(batch, status, now)
        writer = self._running.get(writer_id)
        if writer:
            writer.heard, writer.origin = now, batch.origin
        subject = Subject(self.name, batch.project, batch.run_id, writer_id=writer_id)
        if book.is_open(subject):
            standing = book.standing(subject)
            if standing and standing.precedes(batch.origin):
                book.resolved(subject, batch.origin)

    def on_time(self, now: float, book: Book) -> None:
        if now < self._next_look:
            return
        self._next_look = now + min(1.0, self._config.silent_after / 10)
        silent = {
            writer_id: writer
            for writer_id, writer in self._running.items()
            if now - writer.heard >= self._config.silent_after
            and not book.is_open(self._subject(writer_id, writer))
        }
        if not silent:
            return
        # A late or repeated batch may have made a writer look alive that ended long ago.
        for writer_id in self._ended_of(list(silent)):
            self._end(writer_id)
            del silent[writer_id]
        for writer_id, writer in silent.items():
            if not self.looks_at(writer.project, writer.run_id) or not self.chooses(
                writer.project, writer.run_id, now
            ):
                # Until it speaks again hardly anything changes about that.
                writer.heard = now
                continue
            book.raised(
                self._subject(writer_id, writer),
                writer.origin,
                began=f"{writer_id}/{writer.origin.received_at}",
                severity=self._config.severity,
                experiment=self.experiments.name(writer.project, writer.run_id),
                message=self._message(writer_id, writer),
                at=time.time_ns() // 1_000_000,
            )

    def _state(self, batch: Batch, status: records_pb2.WriterStatus, now: float) -> None:
        writer_id = batch.origin.writer_id
        if status.state == records_pb2.WRITER_STATE_RUNNING:
            if writer_id not in self._ended:
                self._running[writer_id] = _Writer(
                    batch.project, batch.run_id, status.host, status.pid, batch.origin, now
                )
        elif status.state != records_pb2.WRITER_STATE_UNSPECIFIED:
            self._end(writer_id)

    def _end(self, writer_id: str) -> None:
        self._running.pop(writer_id, None)
        self._ended[writer_id] = None
        self._ended.move_to_end(writer_id)
        if len(self._ended) > _MAX_ENDED:
            self._ended.popitem(last=False)

    def _subject(self, writer_id: str, writer: _Writer) -> Subject:
        return Subject(self.name, writer.project, writer.run_id, writer_id=writer_id)

    def _message(self, writer_id: str, writer: _Writer) -> str:
        place = f" on {shorten(writer.host)}" if writer.host else ""
        if writer.pid:
            place += f" (process {writer.pid})"
        return (
            f"run {shorten(writer.run_id)}: its writer {writer_id[:8]}{place} has said nothing"
            f" for {self._config.silent_after:g} s and has not ended; it may have been killed"
            " with its machine or container, or be cut off from the network"
        )
