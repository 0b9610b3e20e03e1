"""Rules that look at the runs for which a filter is true."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from support_alert_bench import QUIET, Bench, threshold
from support_envelopes import Pen
from support_filters import Run, Said, filters, runs_of, spool_of
from support_query import BEGIN, Spool, reading

from naiad_consumers.alerter import AlertConfig, AlertConfigError, HeartbeatRule, NonFiniteRule
from naiad_consumers.alerter.choosing import STORE_ASKED_EVERY, Heard, holds
from naiad_proto.filters import ALIASES, every_test, parse_filter
from naiad_proto.v1 import records_pb2
from naiad_store import Store
from naiad_store.selects.filters import which_hold

NAN = math.nan


def config_batch(pen: Pen, path: str, value: Any) -> records_pb2.Batch:
    """`pen`'s next record: a config."""
    batch = pen.experiment("x")
    attribute = batch.items[0].set_attribute
    attribute.path = path
    if isinstance(value, str):
        attribute.value.string_value = value
    else:
        attribute.value.float_value = value
    return batch


def tag_batch(pen: Pen, *, add: str = "", remove: str = "") -> records_pb2.Batch:
    batch = pen.experiment("x")
    update = batch.items[0].update_string_set
    update.path = "sys/tags"
    update.add.extend([add] if add else [])
    update.remove.extend([remove] if remove else [])
    return batch


@pytest.fixture
def bench(store: Store) -> Callable[..., Bench]:
    return lambda **config: Bench(store, AlertConfig(**{"heartbeat": QUIET, **config}))


def test_a_config_of_the_same_batch_decides(bench: Callable[..., Bench]) -> None:
    b = bench(non_finite=NonFiniteRule(filter="lr > 0.5 and not model == 'toy'"))
    for run, lr, model in (("hot", 0.9, "big"), ("cold", 0.1, "big"), ("toy", 0.9, "toy")):
        pen = Pen(run_id=run)
        b.append(config_batch(pen, "lr", lr), config_batch(pen, "model", model))
        b.append(pen.metrics({f"loss of {run}": [NAN]}))
    assert b.step() == ["firing non-finite loss of hot"]


def test_tags_are_as_the_log_has_them_by_then(bench: Callable[..., Bench]) -> None:
    b, pen = bench(non_finite=NonFiniteRule(filter='tags has "prod"')), Pen()
    b.append(pen.metrics({"a": [NAN]}))
    b.append(tag_batch(pen, add="prod"), pen.metrics({"b": [NAN]}))
    b.append(tag_batch(pen, remove="prod"), pen.metrics({"c": [NAN]}))
    assert b.step() == ["firing non-finite b"]
    # What was raised is resolved by the data, whatever the filter says by then.
    b.append(pen.metrics({"b": [1.0]}, first_step=1))
    assert b.step() == ["resolved non-finite b"]


def test_what_the_log_did_not_say_is_asked_of_the_store(store: Store, tmp_path: Path) -> None:
    rules = (threshold(value=1, filter='status == "running" and acc.max > 0.5 and lr < 1'),)
    b = Bench(store, AlertConfig(heartbeat=QUIET, thresholds=rules))
    pen = Pen(run_id="r")
    with reading(store, tmp_path) as server:
        b.append(pen.metrics({"loss": [2.0]}))
        # The store doesn't know the run.
        assert b.step() == []
        run = Spool(pen.project, "r").create().set("lr", 0.1).metrics({"acc": [0.1, 0.7, 0.2]})
        server.write(run.status(records_pb2.WRITER_STATE_RUNNING))
        b.append(pen.metrics({"loss": [2.0]}, first_step=1))
        assert b.step(seconds=2) == ["firing t loss"]
        server.write(run.status(records_pb2.WRITER_STATE_FINISHED, at=BEGIN + 1))
        b.append(pen.metrics({"loss": [0.0, 2.0]}, first_step=2))
        # Its answer is believed for a while, and then it is asked again.
        assert b.step() == ["resolved t loss", "firing t loss"]
        b.append(pen.metrics({"loss": [0.0]}, first_step=4))
        b.step(seconds=STORE_ASKED_EVERY + 1)
        b.append(pen.metrics({"loss": [2.0]}, first_step=5))
        assert b.step() == []


def test_silence_has_a_filter_too(bench: Callable[..., Bench]) -> None:
    b = bench(heartbeat=HeartbeatRule(silent_after=10, filter='stage == "prod"'))
    one, two = Pen(run_id="one"), Pen(run_id="two")
    b.append(one.status(), two.status(), config_batch(two, "stage", "prod"))
    b.step()
    assert b.step(seconds=12) == [f"firing heartbeat {two.writer_id}"]


def test_a_wrong_filter_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "alerts.yaml"
    file.write_text("heartbeat:\n  silent_after: 90\n  filter: lr >> 1\n")
    with pytest.raises(AlertConfigError) as told:
        AlertConfig.load(file)
    assert str(told.value) == (
        f'{file}, line 3: heartbeat.filter: column 5: expected a value: a number, a "text",'
        ' true, false or ago("7d")'
    )


ALONE = [
    Run(run.run_id, run.created, run.experiment, seen=False, singles=run.singles, sets=run.sets)
    for run in runs_of(seed=3, count=40)
]


@settings(max_examples=200, deadline=None)
@given(said=filters)
def test_what_was_heard_means_what_plain_python_says(said: Said) -> None:
    tree = parse_filter(said.text)
    known = {*ALIASES.values(), "sys/forked_from", "sys/failed"} - {"sys/name", "sys/tags"}
    assume(not any(t.operand.stat or t.operand.path in known for t in every_test(tree)))
    nothing = [False] * len(list(every_test(tree)))
    for run in ALONE:
        heard = Heard(elements={path: dict.fromkeys(tags, True) for path, tags in run.sets.items()})
        for (path, kind), value in run.singles.items():
            if isinstance(value, datetime):
                value = round(value.timestamp() * 1000)
            heard.values.setdefault(path, {})[kind] = value
        # `not has` of what nobody ever said is the store's to answer: there all is said.
        for tags in heard.elements.values():
            for tag in ("prod", "old", "ünï", "dam", "") if any(tags.values()) else ():
                tags.setdefault(tag, False)
        assert holds(tree, heard, lambda: nothing, 0.0) == said.holds(run), (run.run_id, said)


RUNS = runs_of(seed=11, count=12)


@settings(max_examples=8, deadline=None)
@given(said=filters)
def test_the_store_says_the_same_of_a_run_alone(drawn: Store, said: Said) -> None:
    tree = parse_filter(said.text)
    for run in RUNS[-2:]:
        found = which_hold(drawn, "team/drawn", run.run_id, said.text)
        assert found is not None
        assert holds(tree, Heard(), lambda found=found: found, 0.0) == said.holds(run)


@pytest.fixture(scope="module")
def drawn(chdb_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from support_clickhouse import migrated

    folder = tmp_path_factory.mktemp("drawn")
    with migrated(f"chdb://{chdb_folder}", "alert_filters") as store:
        with reading(store, folder) as server:
            server.write(*(spool_of("team/drawn", run) for run in RUNS))
        yield store
