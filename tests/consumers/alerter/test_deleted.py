"""Nobody is woken for a run that was deleted."""

from __future__ import annotations

import pyarrow as pa
from support_changes import change_batch
from support_envelopes import Pen, as_records

from naiad_consumers.alerter import AlertConfig, HeartbeatRule
from naiad_consumers.alerter.engine import Engine
from naiad_eventlog import Record
from naiad_proto.v1 import records_pb2 as pb
from naiad_store import Store, run_key

NAN = float("nan")
LATER = 1_800_000_000_000_000
DELETE = {"delete_run": pb.DeleteRun()}
RESTORE = {"restore_run": pb.RestoreRun()}


class Bench:
    """An engine on a clock of our own, over a log that is a list."""

    def __init__(self, store: Store) -> None:
        self.seconds = 0.0
        self.log: list[Record] = []
        self.offset = 0
        config = AlertConfig(heartbeat=HeartbeatRule(silent_after=30))
        self.engine = Engine(store, config, lambda: self.seconds)
        self.engine.start({}, {})

    def append(self, *batches: pb.Batch) -> None:
        self.log += as_records(*batches, first_offset=self.offset)
        self.offset += len(batches)

    def step(self, seconds: int = 0) -> list[str]:
        notices = []
        for _ in range(seconds):
            self.seconds += 1
            notices += self.engine.work([], caught_up=False)
        records, self.log = self.log, self.log[:0]
        notices += self.engine.work(records, caught_up=True)
        return [
            f"{event.value} {occurrence.subject.rule} {occurrence.subject.path}"
            for occurrence, event in notices
        ]


def test_a_deleted_run_raises_nothing_and_what_it_raised_is_over(store: Store) -> None:
    here, pen = Bench(store), Pen()
    here.append(pen.status(), pen.metrics({"loss": [NAN]}))
    assert here.step() == ["firing non-finite loss"]
    here.append(change_batch(pen.project, pen.run_id, LATER, **DELETE))
    assert here.step() == ["resolved non-finite loss"]
    here.append(pen.metrics({"acc": [NAN]}))
    assert here.step() == []
    # It is silent, and nobody waits for it.
    assert here.step(60) == []
    here.append(change_batch(pen.project, pen.run_id, LATER + 1, **RESTORE))
    here.append(pen.metrics({"lr": [NAN]}))
    assert here.step() == ["firing non-finite lr"]


def test_a_new_run_under_its_id_is_another(store: Store) -> None:
    here, pen = Bench(store), Pen()
    here.append(pen.status(), change_batch(pen.project, pen.run_id, LATER, **DELETE))
    new = Pen(epoch=LATER + 1)
    here.append(new.status(), new.metrics({"loss": [NAN]}))
    assert here.step() == ["firing non-finite loss"]


def test_what_was_deleted_before_is_known_from_the_store(store: Store) -> None:
    pen = Pen()
    row = {
        "project": pen.project, "run_id": pen.run_id, "until": LATER, "incarnation": 0,
        "run": run_key(pen.project, pen.run_id), "next": 7, "state": "trash",
        "version": (1 << 100).to_bytes(16, "little"),
    }  # fmt: skip
    schema = pa.schema(
        [("project", pa.string()), ("run_id", pa.string()), ("until", pa.uint64()),
         ("incarnation", pa.uint32()), ("run", pa.uint64()), ("next", pa.uint32()),
         ("state", pa.string()), ("version", pa.binary(16))]
    )  # fmt: skip
    store.insert("tombstones", pa.Table.from_pylist([row], schema=schema))
    here = Bench(store)
    here.append(pen.status(), pen.metrics({"loss": [NAN]}))
    assert here.step() == []
    assert here.step(60) == []
