"""An alerter's engine over a log that is a list, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from support_envelopes import as_records

from naiad_consumers.alerter import AlertConfig, HeartbeatRule, ThresholdRule
from naiad_consumers.alerter.engine import Engine, Notice
from naiad_eventlog import Record
from naiad_proto.v1 import records_pb2
from naiad_store import Store

QUIET = HeartbeatRule(enabled=False)


@dataclass
class Bench:
    """An engine on a clock of our own, over a log that is a list."""

    store: Store
    config: AlertConfig
    seconds: float = 0.0
    log: list[Record] = field(default_factory=list)
    # How much of the log was read, and how much of that committed.
    read: int = 0
    committed: int = 0
    # How much of it the writer has stored, and how often that was asked for.
    stored: int = 0
    asked: int = 0
    told: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A new process: what wasn't committed is read again."""
        self.engine = Engine(self.store, self.config, lambda: self.seconds)
        self.read = self.committed
        self._tell(self.engine.start({0: self.committed}, {0: len(self.log)}))

    def append(self, *batches: records_pb2.Batch) -> None:
        self.log += as_records(*batches, first_offset=len(self.log))

    def step(self, seconds: float = 0.0, *, most: int | None = None) -> list[str]:
        """Lets time pass, then shows the engine what is new; returns what was told."""
        while seconds > 0:
            # The serving clock takes at most two seconds at a time for served.
            self.seconds += min(seconds, 1.0)
            seconds -= 1.0
            self._work([], caught_up=False)
        end = len(self.log) if most is None else self.read + most
        records, self.read = self.log[self.read : end], min(end, len(self.log))
        before = len(self.told)
        self._work(records, caught_up=self.read == len(self.log))
        return [f"{event} {rule} {what}" for rule, what, event in self.told[before:]]

    def commit(self) -> None:
        self.committed = self.read

    def rows(self, *columns: str) -> list[dict[str, Any]]:
        names = ", ".join(columns) or "*"
        rows: list[dict[str, Any]] = self.store.query(
            f"SELECT {names} FROM alerts FINAL ORDER BY raised_at, step, path"
        ).to_pylist()
        return rows

    def _work(self, records: Sequence[Record], *, caught_up: bool) -> None:
        stored = None
        if self.engine.asks_what_is_stored:
            stored = {0: self.stored}
            self.asked += 1
        self._tell(self.engine.work(records, caught_up=caught_up, stored=stored))

    def _tell(self, notices: Sequence[Notice]) -> None:
        for occurrence, event in notices:
            subject = occurrence.subject
            what = subject.path or subject.writer_id
            self.told.append((subject.rule, what, str(event)))


def threshold(**fields: object) -> ThresholdRule:
    return ThresholdRule.model_validate({"name": "t", "path": "loss", "op": ">", **fields})
