"""Rules tested as data: fabricated batches in, occurrences in a real store out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support_alert_bench import QUIET, Bench, threshold
from support_envelopes import FINISHED, KILLED, Pen, now_ms, seal

from naiad_consumers.alerter import AlertConfig, HeartbeatRule, NonFiniteRule
from naiad_consumers.alerter import book as book_module
from naiad_consumers.alerter.observation import UnknownVersion
from naiad_eventlog import Record
from naiad_proto.v1 import records_pb2
from naiad_store import Store, run_key

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def bench(store: Store) -> Callable[..., Bench]:
    return lambda **config: Bench(store, AlertConfig(**{"heartbeat": QUIET, **config}))


def test_one_occurrence_per_transition_into_nan(bench: Callable[..., Bench]) -> None:
    b, pen = bench(), Pen()
    b.append(pen.metrics({"loss": [1, NAN, NAN, 2, INF], "acc": [0, 0, 0, 0, 0]}))
    assert b.step() == [
        "firing non-finite loss",
        "resolved non-finite loss",
        "firing non-finite loss",
    ]
    b.append(pen.metrics({"loss": [NAN, -INF]}, first_step=5), pen.metrics({"loss": [3]}))
    assert b.step() == ["resolved non-finite loss"]
    rows = b.rows("path", "step", "value", "open", "message", "run", "sinks")
    assert [float(row["step"]) for row in rows] == [1.0, 4.0]
    assert np.isnan(rows[0]["value"])
    assert rows[1]["value"] == INF
    assert rows[0]["message"] == "loss became NaN at step 1"
    assert {row["open"] for row in rows} == {0}
    assert {row["run"] for row in rows} == {run_key(pen.project, pen.run_id)}
    assert rows[0]["sinks"] == ["log"]


def test_each_metric_and_run_on_its_own(bench: Callable[..., Bench]) -> None:
    b = bench()
    one, two = Pen(run_id="one"), Pen(run_id="two")
    b.append(one.metrics({"a": [NAN], "b": [NAN], "c": [1]}), two.metrics({"a": [NAN]}))
    b.step()
    found = {(row["run_id"], row["path"]) for row in b.rows("run_id", "path")}
    assert found == {("one", "a"), ("one", "b"), ("two", "a")}


def test_rejected_points_and_previews_raise_nothing(bench: Callable[..., Bench]) -> None:
    b, pen = bench(), Pen()
    batch = pen.metrics({"a": [NAN, 1], "b": [1, 1]})
    rejection = records_pb2.Rejection(group_index=0, path_index=0, row_index=0)
    key = b"k"
    b.log.append(Record("naiad.records", 0, 0, key, seal(batch, rejections=[rejection]), 0))
    b.append(pen.metrics({"a": [NAN]}, preview=True))
    assert b.step() == []
    whole = records_pb2.Rejection(group_index=0)
    batch = pen.metrics({"a": [NAN]})
    batch.groups[0].values = b"short"
    b.log.append(Record("naiad.records", 0, 2, key, seal(batch, rejections=[whole]), 0))
    b.append(pen.metrics({"b": [NAN]}))
    assert b.step() == ["firing non-finite b"]


def test_what_cannot_be_read_is_passed_over_and_named(
    bench: Callable[..., Bench], caplog: pytest.LogCaptureFixture
) -> None:
    b = bench()
    b.log.append(Record("naiad.records", 0, 0, b"k", b"\xff\xff\xff", 0))
    b.append(Pen().metrics({"a": [NAN]}))
    assert b.step() == ["firing non-finite a"]
    assert "naiad.records/0 offset 0 can't be read" in caplog.text


def test_a_record_of_a_newer_naiad_stops_it(bench: Callable[..., Bench]) -> None:
    b = bench()
    value = seal(Pen().metrics({"a": [NAN]}), min_reader_version=3)
    b.log.append(Record("naiad.records", 0, 0, b"k", value, 0))
    with pytest.raises(UnknownVersion, match="offset 0 a record of version 3"):
        b.step()


def test_groups_of_a_batch_are_put_in_the_order_of_logging(bench: Callable[..., Bench]) -> None:
    """Alternating key-sets make two groups that share a metric."""
    b, pen = bench(), Pen()
    odd = pen.metrics({"loss": [NAN, 1], "x": [0, 0]})
    even = pen.metrics({"loss": [1, NAN]})
    odd.groups[0].first_record, even.groups[0].first_record = 1, 2
    two_apart = np.array([0, 2], "<u4").tobytes()
    odd.groups[0].record_offsets = even.groups[0].record_offsets = two_apart
    odd.groups.extend(even.groups)
    b.append(odd)
    # In order: NaN (1), 1 (2), 1 (3), NaN (4).
    b.step()
    rows = b.rows("record", "open")
    assert sorted((row["record"], row["open"]) for row in rows) == [(2, 0), (4, 1)]


@pytest.mark.parametrize("commit_after", [0, 1, 2, 3])
def test_a_restart_raises_nothing_again(bench: Callable[..., Bench], commit_after: int) -> None:
    b, pen = bench(thresholds=[threshold(value=5, for_points=2)]), Pen()
    series = [[1, NAN], [2, 9], [9, 9, NAN]]
    for values in series:
        b.append(pen.metrics({"loss": values}))
    for number in range(3):
        if number == commit_after:
            b.commit()
        b.step(most=1)
    before, told = b.rows(), list(b.told)
    ids = [row["occurrence"] for row in before]
    assert len(ids) == 3
    for _ in range(2):
        b.start()
        b.step()
    assert b.told == told
    assert [str(row) for row in b.rows()] == [str(row) for row in before]
    # It goes on from the true state: NaN is still open, and so is the threshold.
    b.append(pen.metrics({"loss": [3]}))
    assert sorted(b.step()) == ["resolved non-finite loss", "resolved t loss"]


def test_a_resend_cut_differently_raises_nothing_again(bench: Callable[..., Bench]) -> None:
    b, pen = bench(), Pen()
    first = Pen(writer_id=pen.writer_id)
    b.append(pen.metrics({"loss": [1, NAN, NAN, 2]}))
    assert len(b.step()) == 2
    b.append(first.metrics({"loss": [1, NAN]}), first.metrics({"loss": [NAN, 2]}, first_step=2))
    assert b.step() == []
    # The same once no process remembers it.
    b.commit()
    b.start()
    again = Pen(writer_id=pen.writer_id)
    b.append(again.metrics({"loss": [1, NAN]}), again.metrics({"loss": [NAN, 2]}, first_step=2))
    assert b.step(most=1) == []
    assert b.step() == []
    assert len(b.rows()) == 1


def test_a_resend_of_what_came_before_resolves_nothing(bench: Callable[..., Bench]) -> None:
    b, pen = bench(), Pen()
    early = pen.metrics({"loss": [NAN, 2]})
    b.append(early, pen.metrics({"loss": [NAN]}, first_step=2))
    assert b.step()[-1] == "firing non-finite loss"
    b.append(early)
    assert b.step() == []


def test_a_resend_does_not_count_twice(bench: Callable[..., Bench]) -> None:
    b, pen = bench(thresholds=[threshold(value=5, for_points=3)]), Pen()
    twice = pen.metrics({"loss": [9, 9]})
    b.append(twice, twice)
    assert b.step() == []
    b.append(pen.metrics({"loss": [9]}))
    assert b.step() == ["firing t loss"]


def test_a_whole_log_read_again_raises_nothing_again(bench: Callable[..., Bench]) -> None:
    b, pen = bench(), Pen()
    for values in ([1, NAN], [NAN], [2], [NAN, 3], [NAN]):
        b.append(pen.metrics({"loss": values}))
    b.step()
    before, told = b.rows(), len(b.told)
    b.committed = 0
    b.start()
    while b.read < len(b.log):
        b.step(most=1)
    assert len(b.told) == told
    assert b.rows("occurrence", "open") == [
        {"occurrence": row["occurrence"], "open": row["open"]} for row in before
    ]


def test_a_new_log_under_an_old_store_is_heard(bench: Callable[..., Bench]) -> None:
    b, pen = bench(), Pen()
    b.append(*(pen.metrics({"loss": [1]}) for _ in range(5)), pen.metrics({"loss": [NAN]}))
    assert b.step() == ["firing non-finite loss"]
    b.log.clear()
    b.read = b.committed = 0
    b.start()
    b.append(pen.metrics({"loss": [1]}))
    assert b.step() == ["resolved non-finite loss"]


def test_a_flapping_metric_is_no_flood(
    bench: Callable[..., Bench],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(book_module, "MAX_PER_RUN_AND_HOUR", 10)
    b, pen = bench(), Pen()
    b.append(pen.metrics({"loss": [NAN, 1] * 500}), Pen(run_id="other").metrics({"loss": [NAN]}))
    b.step()
    b.append(pen.metrics({"loss": [NAN, 1] * 500}))
    b.step()
    assert len(b.rows("occurrence")) == 11
    assert caplog.text.count("raised 10 alerts for run run-1") == 1


@pytest.mark.parametrize(
    ("op", "value", "series", "steps"),
    [
        (">", 5, [5, 6, 7, 5, 8], [1, 4]),
        (">=", 5, [4, 5, 6], [1]),
        ("<", 0, [0, -0.0, -1e-9], [2]),
        ("<=", 0, [1, 0], [1]),
        (">", 5, [NAN, INF], [1]),
        (">", 5, [6, NAN, 7, 8], [0]),
        ("<", INF, [INF, NAN], []),
    ],
)
def test_thresholds(
    bench: Callable[..., Bench], op: str, value: float, series: list[float], steps: list[int]
) -> None:
    rule = threshold(op=op, value=value)
    b = bench(thresholds=[rule], non_finite=NonFiniteRule(enabled=False))
    b.append(Pen().metrics({"loss": series}))
    b.step()
    assert [int(row["step"]) for row in b.rows("step")] == steps


def test_for_points_counts_across_batches(bench: Callable[..., Bench]) -> None:
    b, pen = bench(thresholds=[threshold(value=5, for_points=4, message="look")]), Pen()
    for values in ([9, 9, 9], [1], [9, 9], [9], [8, 9]):
        b.append(pen.metrics({"loss": values}, first_step=pen.record))
        b.step()
    (row,) = b.rows("step", "message", "severity")
    assert row["step"] == 7
    assert row["message"] == "look: loss is 8 at step 7, > 5 for 4 points in a row"
    assert row["severity"] == "warning"


def test_rules_look_only_where_they_are_told_to(bench: Callable[..., Bench]) -> None:
    b = bench(
        thresholds=[
            threshold(name="p", project="team/*", path="*/loss", value=0),
            threshold(name="r", run="run-?", path="val/loss", value=0),
            threshold(name="e", experiment="big-*", path="val/loss", value=0),
        ]
    )
    big, small = Pen(run_id="run-1"), Pen(run_id="run-12")
    other = Pen(project="others/x", run_id="run-3")
    b.append(big.experiment("big-one"), small.experiment("small-one"))
    for pen in (big, small, other):
        b.append(pen.metrics({"val/loss": [1], "loss": [1], "val/lossy": [1]}))
    b.step()
    rows = b.rows("rule", "project", "run_id", "path", "experiment")
    assert {row["path"] for row in rows} == {"val/loss"}
    found = {(row["rule"], row["project"], row["run_id"]) for row in rows}
    assert found == {
        ("p", "team/vision", "run-1"),
        ("p", "team/vision", "run-12"),
        ("r", "team/vision", "run-1"),
        ("r", "others/x", "run-3"),
        ("e", "team/vision", "run-1"),
    }
    assert {row["experiment"] for row in rows if row["run_id"] == "run-1"} >= {"big-one"}


def test_an_experiment_said_before_the_restart_is_read_from_the_store(
    bench: Callable[..., Bench], store: Store
) -> None:
    pen = Pen()
    store.command(
        "INSERT INTO attributes (project, path, type, run, text, version)"
        " VALUES ({p:String}, 'sys/name', 'string', {r:UInt64}, 'big-one', 1)",
        {"p": pen.project, "r": run_key(pen.project, pen.run_id)},
    )
    b = bench(thresholds=[threshold(experiment="big-*", value=0)])
    b.append(pen.metrics({"loss": [1]}))
    assert b.step() == ["firing t loss"]
    assert b.rows("experiment") == [{"experiment": "big-one"}]


def test_a_rule_that_was_removed_leaves_nothing_open(bench: Callable[..., Bench]) -> None:
    b = bench(thresholds=[threshold(value=0)])
    b.append(Pen().metrics({"loss": [1]}))
    b.step()
    b.commit()
    b.config = AlertConfig(heartbeat=QUIET)
    b.start()
    assert b.told[-1] == ("t", "loss", "resolved")
    assert b.rows("open") == [{"open": 0}]


def beating(bench: Callable[..., Bench]) -> Bench:
    return bench(heartbeat=HeartbeatRule(silent_after=60))


def test_silence_is_raised_once_and_resolved_by_the_next_word(
    bench: Callable[..., Bench],
) -> None:
    b, pen, other = beating(bench), Pen(), Pen(run_id="other")
    b.append(pen.status(), other.status())
    assert b.step() == []
    for _ in range(3):
        b.append(other.heartbeat())
        assert b.step(25) == [] or b.told[-1][1] == pen.writer_id
    assert b.told == [("heartbeat", pen.writer_id, "firing")]
    b.append(other.metrics({"a": [1]}))
    b.step(30)
    assert len(b.told) == 1
    (row,) = b.rows("message", "severity", "step", "writer_id", "open")
    assert (
        f"writer {pen.writer_id[:8]} on box (process 7) has said nothing for 60 s" in row["message"]
    )
    assert (row["severity"], row["step"], row["open"]) == ("critical", None, 1)
    b.append(pen.heartbeat(), other.heartbeat())
    assert b.step(1) == [f"resolved heartbeat {pen.writer_id}"]
    # Silent a second time: another occurrence.
    for _ in range(3):
        b.append(other.heartbeat())
        b.step(25)
    assert b.told[-1] == ("heartbeat", pen.writer_id, "firing")
    assert len({row["occurrence"] for row in b.rows("occurrence")}) == 2


@pytest.mark.parametrize("state", [FINISHED, KILLED])
def test_who_has_ended_may_be_silent(bench: Callable[..., Bench], state: int) -> None:
    b, pen = beating(bench), Pen()
    start, middle = pen.status(), pen.metrics({"a": [1]})
    b.append(start, middle, pen.status(state))
    assert b.step() == []
    # A resend, and a batch that was overtaken by the end.
    b.append(start, middle)
    b.step()
    assert b.step(200) == []


def test_an_end_resolves_silence(bench: Callable[..., Bench]) -> None:
    b, pen = beating(bench), Pen()
    b.append(pen.status())
    b.step()
    assert b.step(61) == [f"firing heartbeat {pen.writer_id}"]
    b.append(pen.status(FINISHED))
    assert b.step() == [f"resolved heartbeat {pen.writer_id}"]
    assert b.step(200) == []


def test_a_silent_writer_is_raised_once_across_restarts(bench: Callable[..., Bench]) -> None:
    b, pen = beating(bench), Pen()
    b.append(pen.status())
    b.step()
    b.step(61)
    for committed in (0, 1):
        b.committed = committed
        b.start()
        b.step()
        assert b.step(200) == []
    assert len(b.rows()) == 1
    b.append(pen.heartbeat())
    assert b.step() == [f"resolved heartbeat {pen.writer_id}"]


def keep_writer(store: Store, pen: Pen, state: str = "running", *, said: bool = True) -> None:
    """As the writer stage would have stored it."""
    run = run_key(pen.project, pen.run_id)
    parameters = {
        "p": pen.project,
        "r": run,
        "i": pen.run_id,
        "w": pen.writer_id,
        "s": state,
        "v": int(said),
    }
    store.command(
        "INSERT INTO runs (project, run_id, run) VALUES ({p:String}, {i:String}, {r:UInt64})",
        parameters,
    )
    store.command(
        "INSERT INTO writers (project, run, writer_id, host, pid, state, last_seen_at,"
        " state_version, row_version) VALUES ({p:String}, {r:UInt64}, {w:String}, 'box', 7,"
        " {s:String}, now64(3) - 86400, {v:UInt128}, 1)",
        parameters,
    )


def test_time_while_the_server_was_down_is_nobodys_silence(
    bench: Callable[..., Bench], store: Store
) -> None:
    alive, dead = Pen(run_id="alive"), Pen(run_id="dead")
    for pen in (alive, dead):
        keep_writer(store, pen)
    b = beating(bench)
    # A day has passed since they were last heard, but the server wasn't there to listen.
    assert b.step(55) == []
    b.append(alive.heartbeat())
    assert b.step() == []
    # Who keeps silent with the server there is found, though this process never heard it.
    b.step(10)
    assert b.told == [("heartbeat", dead.writer_id, "firing")]


def test_a_writer_that_the_store_knows_to_have_ended_is_left_alone(
    bench: Callable[..., Bench], store: Store
) -> None:
    pen = Pen()
    keep_writer(store, pen, "finished")
    b = beating(bench)
    b.append(pen.status())
    b.step()
    assert b.step(200) == []


def test_who_never_said_that_it_runs_is_not_missed(
    bench: Callable[..., Bench], store: Store
) -> None:
    """An edit from a command line is a writer too, of one batch."""
    keep_writer(store, Pen(run_id="stored"), said=False)
    b = beating(bench)
    b.append(Pen().metrics({"a": [1]}))
    b.step()
    assert b.step(200) == []


def test_a_writer_stored_only_after_the_restart_is_watched(
    bench: Callable[..., Bench], store: Store
) -> None:
    b, pen = beating(bench), Pen()
    keep_writer(store, pen)
    b.step(45)
    assert b.told == []
    b.step(60)
    assert b.told == [("heartbeat", pen.writer_id, "firing")]


def test_a_writer_stored_long_after_the_restart_is_watched(
    bench: Callable[..., Bench], store: Store
) -> None:
    """By a writer with a backlog: what this alerter committed it doesn't read again."""
    b, pen = beating(bench), Pen()
    b.append(pen.status())
    b.step()
    b.commit()
    b.start()
    assert b.step(200) == []
    keep_writer(store, pen)
    b.stored = b.committed
    b.step(100)
    assert b.told == [("heartbeat", pen.writer_id, "firing")]


def test_who_is_stored_is_asked_only_until_all_is(bench: Callable[..., Bench]) -> None:
    b, pen = beating(bench), Pen()
    b.append(pen.status(), pen.heartbeat())
    b.step()
    b.commit()
    b.start()
    asked = []
    for b.stored in (0, 1, 2, 2):
        before = b.asked
        b.step(100)
        asked.append(b.asked - before)
    # Every 30 s.
    assert asked == [3, 3, 1, 0]


def test_a_stopped_process_or_a_sleeping_machine_heard_nobody(
    bench: Callable[..., Bench],
) -> None:
    b, pen = beating(bench), Pen()
    b.append(pen.status())
    b.step()
    b.seconds += 3600
    assert b.step() == []


def test_silence_is_not_judged_with_a_backlog(bench: Callable[..., Bench]) -> None:
    b, pen, other = beating(bench), Pen(), Pen(run_id="other")
    b.append(pen.status())
    b.step()
    b.append(other.heartbeat(), pen.heartbeat())
    assert b.step(100, most=1) == []
    assert b.step(most=1) == []


def test_received_at_is_when_it_was_raised(bench: Callable[..., Bench]) -> None:
    b, pen = bench(), Pen()
    moment = now_ms() - 5_000
    value = seal(pen.metrics({"loss": [NAN]}), received_at=moment)
    b.log.append(Record("naiad.records", 0, 0, b"k", value, 0))
    b.step()
    (row,) = b.rows("toUnixTimestamp64Milli(raised_at) AS at")
    assert row["at"] == moment
