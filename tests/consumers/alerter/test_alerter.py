"""The alerter as a whole: a real log, a real store, real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from support_envelopes import Pen, append, now_ms, seal
from support_naiad import LONGER
from support_webhook import Receiver, running_receiver

from naiad_consumers.alerter import (
    GROUP,
    AlertConfig,
    Alerter,
    HeartbeatRule,
    ThresholdRule,
    Webhook,
)
from naiad_consumers.alerter import alerter as alerter_module
from naiad_consumers.alerter import delivery as delivery_module
from naiad_consumers.alerter import outbox as outbox_module
from naiad_consumers.alerter.engine import Engine
from naiad_consumers.writer import GROUP as WRITER
from naiad_consumers.writer import Writer
from naiad_eventlog import EventLog, StartFrom, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS, run_key
from naiad_proto.v1 import records_pb2
from naiad_store import Store, StoreError

NAN = float("nan")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses between attempts; and a stop that sees to everything, also on a machine that
    stands still meanwhile: what was cut off there is sent again, as promised."""
    monkeypatch.setattr(outbox_module, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(outbox_module, "_LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(alerter_module, "_DRAIN", 20 * LONGER)
    monkeypatch.setattr(delivery_module, "_GRACE", 20 * LONGER)


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """By which silence is measured: the test turns it, so that who speaks only late because the
    machine stands still is not silent."""
    clock = Clock()
    monkeypatch.setattr(alerter_module, "Engine", functools.partial(Engine, monotonic=clock))
    return clock


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EventLog]:
    async with await open_event_log(f"sqlite:///{tmp_path}/log.db") as log:
        await log.create_topics(ALL_TOPICS)
        yield log


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


def told_to(receiver: Receiver, **config: object) -> AlertConfig:
    # One that isn't answered in time may have been taken, and is sent again.
    webhook = Webhook(name="team", url=receiver.url, timeout=60)
    return AlertConfig(**{"webhooks": (webhook,), "log": False, **config})


@contextlib.asynccontextmanager
async def running(alerter: Alerter | Writer) -> AsyncIterator[asyncio.Task[None]]:
    """Stops it in order; what it raises comes out here."""
    stop = asyncio.Event()
    task = asyncio.create_task(alerter.run(stop))
    try:
        yield task
        stop.set()
        await asyncio.wait_for(task, 60 * LONGER)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(receiver: Receiver, condition: Callable[[Receiver], object], what: str) -> None:
    await asyncio.to_thread(receiver.wait, condition, what)


async def settled(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds * LONGER):
        # Another thread's or engine's doing: nothing there to wait on but asking.
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert condition(), what


async def heard(log: EventLog, *batches: records_pb2.Batch) -> None:
    """Appends them; returns when an alerter has dealt with them."""
    await append(log, *batches)
    await all_read(log, GROUP)


async def all_read(log: EventLog, group: str) -> None:
    async with asyncio.timeout(30 * LONGER):
        while sum((await log.lag(RECORDS.name, group)).values()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def deliveries(store: Store) -> list[tuple[str, str]]:
    rows = store.query("SELECT event, outcome FROM alert_deliveries FINAL ORDER BY event")
    return [(row["event"], row["outcome"]) for row in rows.to_pylist()]


async def test_from_the_log_to_the_webhook(log: EventLog, store: Store, receiver: Receiver) -> None:
    config = told_to(receiver, dashboard_url="http://naiad.example:8501/")
    pen = Pen()
    async with running(Alerter(log, store, config)):
        await append(log, pen.experiment("big"), pen.metrics({"train/loss": [1, NAN, NAN]}))
        await until(receiver, lambda r: r.taken, "the alert")
        await append(log, pen.metrics({"train/loss": [2]}))
        await until(receiver, lambda r: len(r.taken) == 2, "the end of it")
    firing, resolved = receiver.taken
    assert {key: value for key, value in firing.items() if key not in ("id", "raised_at")} == {
        "state": "firing",
        "rule": "non-finite",
        "severity": "warning",
        "project": "team/vision",
        "run_id": "run-1",
        "experiment": "big",
        "path": "train/loss",
        "writer_id": None,
        "step": 1.0,
        "value": "NaN",
        "message": "train/loss became NaN at step 1",
        "resolved_at": None,
        "url": "http://naiad.example:8501/run?project=team%2Fvision&run_id=run-1",
    }
    assert (resolved["id"], resolved["state"]) == (firing["id"], "resolved")
    assert resolved["resolved_at"] >= firing["raised_at"]
    assert receiver.headers[0]["Idempotency-Key"] == f"{firing['id']}-firing"
    assert deliveries(store) == [("firing", "delivered"), ("resolved", "delivered")]


async def test_the_log_gets_one_readable_line(
    log: EventLog, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "naiad.alerts")
    rule = ThresholdRule(name="loss too high", path="*loss", op=">", value=10)
    async with running(Alerter(log, store, AlertConfig(thresholds=(rule,)))):
        await append(log, Pen().metrics({"loss": [12.5]}))
        await settled(lambda: "loss too high" in caplog.text, "the line")
    (line,) = [r.getMessage() for r in caplog.records if r.name == "naiad.alerts"]
    assert line.startswith(
        "alert [warning] loss too high: loss is 12.5 at step 0, > 10"
        " (project team/vision, run run-1, id "
    )


async def test_a_replay_from_the_start_says_nothing_twice(
    log: EventLog, store: Store, receiver: Receiver
) -> None:
    pen = Pen()
    config = told_to(receiver)
    async with running(Alerter(log, store, config)):
        await append(log, pen.metrics({"a": [1, NAN], "b": [NAN, NAN]}))
        await append(log, pen.metrics({"a": [1], "b": [NAN]}), pen.metrics({"a": [NAN], "b": [1]}))
        await until(receiver, lambda r: len(r.taken) == 5, "three raised, two resolved")
    before = list(receiver.taken)
    assert len(set(receiver.ids())) == 3
    async with await log.subscribe(RECORDS.name, "naiad.alerter", StartFrom.EARLIEST) as rewound:
        first = dict.fromkeys(await log.end_offsets(RECORDS.name), 0)
        await rewound.commit(first)
    async with running(Alerter(log, store, config)):
        # Something new shows that the replay is through.
        await append(log, pen.metrics({"c": [NAN]}))
        await until(receiver, lambda r: len(r.taken) > 5, "the new one")
    assert receiver.taken[:5] == before
    assert [body["path"] for body in receiver.taken[5:]] == ["c"]


async def test_it_commits_what_it_has_dealt_with(log: EventLog, store: Store) -> None:
    for number in range(20):
        await append(log, Pen(run_id=f"run-{number}").metrics({"a": [1]}))
    async with running(Alerter(log, store)):
        pass
    async with await log.subscribe(RECORDS.name, "naiad.alerter") as subscription:
        assert await subscription.poll(wait=0) == []
        assert sum((await subscription.lag()).values()) == 0


async def test_nothing_is_committed_that_could_not_be_stored(
    log: EventLog, store: Store, receiver: Receiver
) -> None:
    config = told_to(receiver)
    task = asyncio.create_task(Alerter(log, store, config).run(asyncio.Event()))
    await append(log, Pen(run_id="first").metrics({"a": [NAN]}))
    await until(receiver, lambda r: r.taken, "the first")
    # Or the next one would not know that.
    await settled(lambda: deliveries(store), "marked")
    store.command("RENAME TABLE alerts TO hidden")
    await append(log, Pen(run_id="second").metrics({"a": [NAN]}))
    with pytest.raises(StoreError, match="alerts"):
        await asyncio.wait_for(task, 30 * LONGER)
    store.command("RENAME TABLE hidden TO alerts")
    async with running(Alerter(log, store, config)):
        await until(receiver, lambda r: len(r.taken) == 2, "the second")
    assert [body["run_id"] for body in receiver.taken] == ["first", "second"]


async def test_a_webhook_that_was_down_gets_everything_later(
    log: EventLog, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with running_receiver() as gone:
        pass
    config = told_to(gone)
    pen = Pen()
    async with running(Alerter(log, store, config)):
        await append(log, pen.metrics({"a": [NAN]}), pen.metrics({"b": [NAN]}))
        await settled(lambda: "wait in the store until it can be reached" in caplog.text, "said")
        # Reading goes on meanwhile.
        await append(log, pen.metrics({"a": [1]}))
        await settled(
            lambda: store.query("SELECT 1 FROM alerts FINAL WHERE open = 0").num_rows, "resolved"
        )
        with running_receiver(port=gone.port) as back:
            await until(back, lambda r: len(r.taken) == 3, "all of it")
            assert [(b["path"], b["state"]) for b in back.taken if b["path"] == "a"] == [
                ("a", "firing"),
                ("a", "resolved"),
            ]
            await settled(lambda: len(deliveries(store)) == 3, "marked")
    assert caplog.text.count("wait in the store until it can be reached") == 1
    assert "team takes alerts again" in caplog.text


async def test_what_was_not_delivered_is_sent_by_the_next_process(
    log: EventLog, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with running_receiver() as gone:
        pass
    pen = Pen()
    async with running(Alerter(log, store, told_to(gone))):
        await append(log, *(pen.metrics({f"m{n}": [NAN]}) for n in range(7)))
        await settled(lambda: store.query("SELECT 1 FROM alerts FINAL").num_rows == 7, "all raised")
        # A stop waits for one that was not tried yet.
        await settled(lambda: "until it can be reached" in caplog.text, "tried")
    raised = store.query("SELECT occurrence FROM alerts FINAL")["occurrence"].to_pylist()
    with running_receiver(port=gone.port) as back:
        async with running(Alerter(log, store, told_to(back))):
            await until(back, lambda r: len(r.taken) == 7, "all of them")
        assert sorted(back.ids()) == sorted(raised)


async def test_more_than_fits_in_memory_waits_in_the_store(
    log: EventLog, store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "MAX_WAITING", 5)
    closed = threading.Event()
    receiver.answer = lambda body: 200 if closed.is_set() else 503
    pen = Pen()
    async with running(Alerter(log, store, told_to(receiver))):
        for number in range(30):
            await append(log, pen.metrics({f"m{number}": [NAN]}))
        await settled(
            lambda: store.query("SELECT 1 FROM alerts FINAL").num_rows == 30, "all raised"
        )
        assert len({body["id"] for body in receiver.seen}) <= 5
        closed.set()
        await until(receiver, lambda r: len(r.taken) >= 30, "all of them")
        await settled(lambda: len(deliveries(store)) == 30, "marked")
    assert len(receiver.taken) == len(set(receiver.ids())) == 30


async def test_a_refused_alert_is_given_up_and_recorded(
    log: EventLog, store: Store, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answer = lambda body: 400 if body["path"] == "bad" else 200
    webhook = Webhook(name="team", url=receiver.url, attempts=3, timeout=60)
    pen = Pen()
    async with running(Alerter(log, store, AlertConfig(webhooks=(webhook,), log=False))):
        await append(log, pen.metrics({"bad": [NAN], "good": [NAN]}))
        await settled(lambda: len(deliveries(store)) == 2, "both marked")
    tries = [body["path"] for body in receiver.seen]
    assert (tries.count("bad"), tries.count("good")) == (3, 1)
    rows = store.query("SELECT * FROM alert_deliveries FINAL WHERE outcome = 'refused'")
    (row,) = rows.to_pylist()
    assert (row["sink"], row["attempts"]) == ("team", 3)
    assert "400" in row["detail"]
    assert "is given up for team after 3 attempts: it answered 400" in caplog.text
    # Given up means given up, across restarts too.
    async with running(Alerter(log, store, AlertConfig(webhooks=(webhook,), log=False))):
        await append(log, pen.metrics({"other": [NAN]}))
        await until(receiver, lambda r: r.seen[-1]["path"] == "other", "the next one")
    assert [body["path"] for body in receiver.seen].count("bad") == 3


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_receiver_that_says_later_is_asked_again(
    log: EventLog, store: Store, receiver: Receiver, status: int
) -> None:
    receiver.answer = lambda body: 200 if len(receiver.seen) >= 7 else status
    async with running(Alerter(log, store, told_to(receiver))):
        await append(log, Pen().metrics({"a": [NAN]}))
        await until(receiver, lambda r: r.taken, "taken in the end")
    assert len(receiver.seen) == 8
    assert len({body["id"] for body in receiver.seen}) == 1


async def test_a_webhook_that_hangs_holds_up_nothing(
    log: EventLog, store: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody waits for the one that hangs.
    monkeypatch.setattr(delivery_module, "_GRACE", 0.1)
    hanging = asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hanging.set()
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = AlertConfig(
        log=False,
        webhooks=(
            Webhook(name="hangs", url=f"http://127.0.0.1:{port}", timeout=300),
            Webhook(name="team", url=receiver.url, timeout=60),
        ),
    )
    pen = Pen()
    async with server, running(Alerter(log, store, config)):
        await append(log, pen.metrics({"a": [NAN]}))
        await asyncio.wait_for(hanging.wait(), 30 * LONGER)
        for number in range(10):
            await append(log, pen.metrics({f"m{number}": [NAN]}))
        await until(receiver, lambda r: len(r.taken) == 11, "the other one gets all")
    marked = store.query("SELECT DISTINCT sink FROM alert_deliveries")["sink"].to_pylist()
    assert marked == ["team"]


async def test_what_a_webhook_does_not_take_holds_up_nothing_else(
    log: EventLog, store: Store, receiver: Receiver
) -> None:
    # More than are sent at a time.
    stuck = [f"stuck{number}" for number in range(6)]
    receiver.answer = lambda body: 503 if body["path"] in stuck else 200
    pen = Pen()
    async with running(Alerter(log, store, told_to(receiver))):
        await append(log, pen.metrics({path: [NAN] for path in stuck}))
        await until(receiver, lambda r: r.seen, "one was tried")
        await append(log, pen.metrics({"fine": [NAN, 1.0]}))
        await until(receiver, lambda r: len(r.taken) == 2, "both events of the other one")
        assert [(b["path"], b["state"]) for b in receiver.taken] == [
            ("fine", "firing"),
            ("fine", "resolved"),
        ]
        receiver.answer = lambda body: 200
        await until(receiver, lambda r: len(r.taken) == 8, "the rest")


async def test_silence_and_recovery(
    log: EventLog, store: Store, receiver: Receiver, clock: Clock
) -> None:
    config = told_to(receiver, heartbeat=HeartbeatRule(silent_after=1.0))
    pen, lively = Pen(), Pen(run_id="lively")

    async with running(Alerter(log, store, config)):
        await append(log, pen.status())
        for word in (lively.status(), lively.heartbeat()):
            await heard(log, word)
            clock.seconds += 0.6
        await until(receiver, lambda r: r.taken, "silence")
        await append(log, pen.heartbeat())
        await until(receiver, lambda r: r.ids("resolved"), "speech")
    firing, resolved = receiver.taken
    assert firing["rule"] == resolved["rule"] == "heartbeat"
    assert firing["id"] == resolved["id"]
    assert (firing["run_id"], firing["writer_id"]) == ("run-1", pen.writer_id)
    assert firing["path"] is firing["step"] is firing["value"] is None


async def test_a_restart_accuses_nobody_who_speaks_again(
    log: EventLog, store: Store, receiver: Receiver, clock: Clock
) -> None:
    """Together with the real writer, from whose table the next alerter learns who runs."""
    alive, dead = Pen(run_id="alive"), Pen(run_id="dead")
    config = told_to(receiver, heartbeat=HeartbeatRule(silent_after=1.5))
    patient = told_to(receiver, heartbeat=HeartbeatRule(silent_after=3600))
    hour_ago = now_ms() - 3_600_000
    async with running(Writer(log, store)), running(Alerter(log, store, patient)):
        for pen in (alive, dead):
            value = seal(pen.status(), received_at=hour_ago)
            await log.append(RECORDS.name, run_key(pen.project, pen.run_id), value)
        # A writer that is asked to stop reads no more; an alerter does.
        await all_read(log, WRITER)
    assert receiver.taken == []
    async with running(Alerter(log, store, config)):
        for _ in range(2):
            await heard(log, alive.heartbeat())
            # Counted from the start of the server, not from an hour ago.
            assert not store.query("SELECT 1 FROM alerts").num_rows
            clock.seconds += 0.9
        await until(receiver, lambda r: r.taken, "who is really silent")
    assert [body["run_id"] for body in receiver.taken] == ["dead"]
    assert "on box (process 7)" in receiver.taken[0]["message"]


async def test_sinks_that_are_gone_are_named(
    log: EventLog, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with running_receiver() as gone:
        pass
    async with running(Alerter(log, store, told_to(gone))):
        await append(log, Pen().metrics({"a": [NAN]}))
        await settled(lambda: "until it can be reached" in caplog.text, "raised and tried")
    async with running(Alerter(log, store, AlertConfig(log=False))):
        pass
    assert "1 alert events wait for team, which is not among the sinks any more" in caplog.text
