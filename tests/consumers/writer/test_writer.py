"""The writer with a real log and a real store: rows, replays, poison."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_clickhouse import emptied
from support_naiad import LONGER

from naiad_consumers.writer import ReaderTooOld, TooManyDeadLetters, Writer
from naiad_consumers.writer.block import Block
from naiad_consumers.writer.dead import DeadLetters
from naiad_consumers.writer.intervals import inside, merge
from naiad_consumers.writer.parsing import Parcel
from naiad_consumers.writer.pending import Pending
from naiad_consumers.writer.runbook import RunBook
from naiad_consumers.writer.writerbook import WriterBook
from naiad_eventlog import EventLog, Record, StartFrom, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, DEAD, PROGRESS, RECORDS, run_key
from naiad_proto.series import build_group, build_string_series
from naiad_proto.v1 import records_pb2 as pb
from naiad_proto.v1.log_pb2 import DeadLetter, Envelope, WriterProgress
from naiad_store import Store

PROJECT = "team/project"
WRITER = "ab" * 16


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EventLog]:
    async with await open_event_log(f"sqlite:///{tmp_path / 'log.db'}") as log:
        await log.create_topics(ALL_TOPICS)
        yield log


def batch_of(
    *items: pb.Item, groups=(), strings=(), first: int = 1, last: int = 1, run: str = "r",
    writer: str = WRITER, epoch: int = 10,
) -> pb.Batch:  # fmt: skip
    return pb.Batch(
        project=PROJECT, run_id=run, writer_id=writer, epoch=epoch,
        records=pb.RecordInterval(first=first, last=last), groups=groups, string_series=strings,
        items=items,
    )  # fmt: skip


def attribute(record: int, path: str, **value) -> pb.Item:
    return pb.Item(
        record=record, timestamp=1000,
        set_attribute=pb.SetAttribute(path=path, value=pb.Value(**value)),
    )  # fmt: skip


async def append(log: EventLog, batch: pb.Batch, rejections=()) -> None:
    envelope = Envelope(
        min_reader_version=1, received_at=5000, principal="ann", rejections=rejections,
        batch=batch.SerializeToString(),
    )  # fmt: skip
    await log.append(
        RECORDS.name, run_key(batch.project, batch.run_id), envelope.SerializeToString()
    )


@contextlib.asynccontextmanager
async def writing(log: EventLog, store: Store) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    task = asyncio.create_task(Writer(log, store).run(stop))
    try:
        yield task
    finally:
        stop.set()
        await task


async def drained(log: EventLog, store: Store) -> None:
    """Runs a writer until it has committed everything."""
    async with writing(log, store) as task:
        async with asyncio.timeout(30 * LONGER):
            while await lag(log):
                assert not task.done() or task.result()
                await asyncio.sleep(0.02)


async def lag(log: EventLog) -> int:
    return sum((await log.lag(RECORDS.name, "naiad.writer")).values())


async def progress(log: EventLog) -> dict[str, WriterProgress]:
    found = {}
    async with await log.subscribe(PROGRESS.name, "test", StartFrom.EARLIEST) as topic:
        while records := await topic.poll(wait=0):
            for record in records:
                if record.value:
                    writer, _, _ = record.key.decode().partition("/")
                    found[writer] = WriterProgress.FromString(record.value)
    return found


async def test_every_kind_of_record_becomes_rows(log: EventLog, store: Store) -> None:
    group = build_group(
        ["loss", "acc"], steps=[0, 1_500_000, 3_000_000], timestamps=[1, 2, 3],
        values=[[math.nan, math.inf, 1.0], [0.1, 0.2, 0.3]], first_record=2,
    )  # fmt: skip
    preview = build_group(
        ["loss"], steps=[4_000_000], timestamps=[4], values=[[9.0]], first_record=5,
        preview=True, completions=[0.25],
    )  # fmt: skip
    words = build_string_series(
        "out", ["a", "b\n"], steps=[0, 1_000_000], timestamps=[1, 2], first_record=6
    )
    file = pb.FileReference(key="k", size_bytes=3, mime_type="text/plain", sha256="f", name="n")
    histogram = pb.Histogram(edges=[0, 1, 2], counts=pb.DoubleList(values=[3, 4]))
    items = [
        pb.Item(record=1, timestamp=1, create_run=pb.CreateRun(created_at=777)),
        attribute(8, "lr", float_value=0.1),
        attribute(9, "n", int_value=2**62),
        attribute(10, "name", string_value="ü"),
        attribute(11, "on", bool_value=True),
        attribute(12, "when", datetime_value=1_700_000_000_123),
        attribute(13, "model", file_value=file),
        pb.Item(
            record=14, timestamp=1,
            update_string_set=pb.UpdateStringSet(path="sys/tags", add=["x", "y"], remove=["z"]),
        ),
        pb.Item(
            record=15, timestamp=1,
            histogram_point=pb.HistogramPoint(path="h", step=0, histogram=histogram),
        ),
        pb.Item(record=16, timestamp=1, file_point=pb.FilePoint(path="f", step=7, file=file)),
        pb.Item(
            record=17, timestamp=60,
            writer_status=pb.WriterStatus(
                state=pb.WRITER_STATE_RUNNING, started_at=55, host="box", pid=42
            ),
        ),
        pb.Item(
            record=18, timestamp=99,
            writer_status=pb.WriterStatus(state=pb.WRITER_STATE_FAILED, reason="Boom"),
        ),
    ]  # fmt: skip
    batch = batch_of(*items, groups=[group, preview], strings=[words], first=1, last=18)
    await append(log, batch)
    await drained(log, store)

    (run,) = store.query("SELECT *, toInt64(created_at) AS s FROM runs FINAL").to_pylist()
    assert (run["project"], run["run_id"], run["owner"]) == (PROJECT, "r", "ann")
    assert run["created_at"].microsecond == 777_000
    points = store.query(
        "SELECT path, toInt64(step * 1000000) AS step, toString(value) AS v, completion,"
        " toUnixTimestamp64Milli(ts) AS t FROM points FINAL ORDER BY path, step"
    ).to_pylist()
    assert [(p["path"], p["step"], p["v"], p["completion"], p["t"]) for p in points] == [
        ("acc", 0, "0.1", 1, 1),
        ("acc", 1_500_000, "0.2", 1, 2),
        ("acc", 3_000_000, "0.3", 1, 3),
        ("loss", 0, "nan", 1, 1),
        ("loss", 1_500_000, "inf", 1, 2),
        ("loss", 3_000_000, "1", 1, 3),
        ("loss", 4_000_000, "9", 0.25, 4),
    ]
    attributes = store.query(
        "SELECT path, type, number, integer, text, file.key AS key FROM attributes FINAL"
    ).to_pylist()
    by_path = {a.pop("path"): tuple(a.values()) for a in attributes}
    assert by_path == {
        "lr": ("float", 0.1, 0, "", ""),
        "n": ("int", float(2**62), 2**62, "", ""),
        "name": ("string", 0, 0, "ü", ""),
        "on": ("bool", 1, 1, "", ""),
        "when": ("datetime", 1_700_000_000.123, 1_700_000_000_123, "", ""),
        "model": ("file", 0, 0, "n", "k"),
    }
    tags = store.query("SELECT element, present FROM string_sets FINAL ORDER BY element")
    assert tags.to_pydict() == {"element": ["x", "y", "z"], "present": [1, 1, 0]}
    (h,) = store.query("SELECT kind, edges, bins FROM histogram_points FINAL").to_pylist()
    assert h == {"kind": "COUNTING", "edges": [0, 1, 2], "bins": [3, 4]}
    (f,) = store.query("SELECT file.name AS n, file.size_bytes AS s FROM file_points").to_pylist()
    assert f == {"n": "n", "s": 3}
    series = store.query(
        "SELECT path, type, number AS n, text AS t, committed AS c FROM series FINAL ORDER BY path"
    ).to_pylist()
    assert [tuple(s.values()) for s in series] == [
        ("acc", "float_series", 0.3, "", 1),
        ("f", "file_series", 0, "n", 1),
        ("h", "histogram_series", 0, "", 1),
        # The preview is further on but not the last of a series that has committed points.
        ("loss", "float_series", 1.0, "", 1),
        ("out", "string_series", 0, "b\n", 1),
    ]
    (writer,) = store.query(
        "SELECT *, toUnixTimestamp64Milli(ended_at) AS e FROM writers FINAL"
    ).to_pylist()
    assert (writer["host"], writer["pid"], writer["state"]) == ("box", 42, "failed")
    assert (writer["reason"], writer["e"], writer["points"]) == ("Boom", 99, 11)
    assert [tuple(pair.values()) for pair in writer["stored"]] == [(1, 18)]
    assert [(i.first, i.last) for i in (await progress(log))[WRITER].stored] == [(1, 18)]


async def test_a_replay_changes_nothing(log: EventLog, store: Store) -> None:
    group = build_group(
        ["a", "b"], steps=[0, 1], timestamps=[1, 1], values=[[1, 2], [3, 4]], first_record=1
    )
    for _ in range(2):
        await append(log, batch_of(groups=[group], first=1, last=2))
        await drained(log, store)
    # Cut differently: records 2 to 3, of which 2 is stored already.
    more = build_group(
        ["a", "b"], steps=[1, 2], timestamps=[1, 1], values=[[2, 5], [4, 6]], first_record=2
    )
    await append(log, batch_of(groups=[more], first=2, last=3))
    await drained(log, store)
    (writer,) = store.query("SELECT points, stored FROM writers FINAL").to_pylist()
    assert writer["points"] == 6
    assert [tuple(pair.values()) for pair in writer["stored"]] == [(1, 3)]
    found = store.query("SELECT value FROM points FINAL ORDER BY path, step")
    assert found.to_pydict() == {"value": [1, 2, 5, 3, 4, 6]}


async def test_rejected_parts_are_left_out(log: EventLog, store: Store) -> None:
    group = build_group(
        ["a", "b"], steps=[0, 1, 2], timestamps=[1, 1, 1], values=[[1, 2, 3], [4, 5, 6]],
        first_record=1,
    )  # fmt: skip
    broken = pb.SeriesGroup(paths=["c"], steps=b"odd")
    words = build_string_series("s", ["x", "y"], steps=[0, 1], timestamps=[1, 1], first_record=4)
    rejections = [
        pb.Rejection(group_index=0, path_index=1, row_index=2),
        pb.Rejection(group_index=0, row_index=0),
        pb.Rejection(group_index=1),
        pb.Rejection(string_series_index=0, row_index=1),
        pb.Rejection(item_index=0),
    ]
    batch = batch_of(
        attribute(6, "bad", int_value=1), attribute(7, "good", int_value=1),
        groups=[group, broken], strings=[words], first=1, last=7,
    )  # fmt: skip
    await append(log, batch, rejections)
    await drained(log, store)
    points = store.query("SELECT path, value FROM points FINAL ORDER BY path, step")
    assert points.to_pydict() == {"path": ["a", "a", "b"], "value": [2, 3, 5]}
    assert store.query("SELECT value FROM string_points").to_pydict() == {"value": ["x"]}
    assert store.query("SELECT path FROM attributes").to_pydict() == {"path": ["good"]}
    last = store.query(
        "SELECT path, number AS n FROM series FINAL WHERE type = 'float_series' ORDER BY path"
    )
    assert last.to_pydict() == {"path": ["a", "b"], "n": [3, 5]}
    (writer,) = store.query("SELECT points, rejected FROM writers FINAL").to_pylist()
    assert writer == {"points": 4, "rejected": 5}


async def test_a_second_type_is_kept_and_warned_of_once(log: EventLog, store: Store) -> None:
    await append(log, batch_of(attribute(1, "x", int_value=1)))
    await drained(log, store)
    await append(log, batch_of(attribute(2, "x", string_value="one"), first=2, last=2))
    await append(log, batch_of(attribute(3, "x", string_value="two"), first=3, last=3))
    await drained(log, store)
    warnings = (await progress(log))[WRITER].warnings
    assert [(w.path, w.record) for w in warnings] == [("x", 2)]
    assert "int" in warnings[0].message
    assert "string" in warnings[0].message
    # A later life of the writer goes on saying it.
    await append(log, batch_of(attribute(4, "y", int_value=1), first=4, last=4))
    await drained(log, store)
    assert len((await progress(log))[WRITER].warnings) == 1
    types = store.query("SELECT type FROM attributes FINAL WHERE path = 'x' ORDER BY type")
    assert types.to_pydict() == {"type": ["int", "string"]}


async def test_a_run_is_named_before_its_creation_came(log: EventLog, store: Store) -> None:
    await append(log, batch_of(attribute(2, "x", int_value=1), first=2, last=2))
    await drained(log, store)
    assert store.query("SELECT run_id FROM runs FINAL").to_pydict() == {"run_id": ["r"]}
    later = pb.Item(record=1, timestamp=1, create_run=pb.CreateRun(created_at=2222))
    first = pb.Item(record=1, timestamp=1, create_run=pb.CreateRun(created_at=1111))
    await append(log, batch_of(later, epoch=20, writer="cd" * 16))
    await append(log, batch_of(first, epoch=10))
    await append(log, batch_of(later, epoch=20, writer="cd" * 16))
    await drained(log, store)
    born = store.query("SELECT toUnixTimestamp64Milli(created_at) AS t FROM runs FINAL")
    assert born.to_pydict() == {"t": [1111]}


async def test_heartbeats_only_move_the_last_sight(log: EventLog, store: Store) -> None:
    await append(log, batch_of(attribute(1, "x", int_value=1)))
    await append(log, pb.Batch(project=PROJECT, run_id="r", writer_id=WRITER, epoch=10))
    await drained(log, store)
    (writer,) = store.query("SELECT * FROM writers FINAL").to_pylist()
    assert [tuple(pair.values()) for pair in writer["stored"]] == [(1, 1)]


async def test_poison_is_put_aside_and_the_rest_goes_on(log: EventLog, store: Store) -> None:
    await log.append(RECORDS.name, b"k", b"\xff not an envelope")
    unread = pb.Batch(project=PROJECT, run_id="r", writer_id=WRITER, epoch=1)
    unread.groups.add(paths=["c"], steps=b"odd")
    await append(log, unread)
    await append(log, batch_of(attribute(1, "x", int_value=1)))
    await drained(log, store)
    assert store.query("SELECT path FROM attributes").to_pydict() == {"path": ["x"]}
    async with await log.subscribe(DEAD.name, "test", StartFrom.EARLIEST) as topic:
        letters = [DeadLetter.FromString(r.value) for r in await topic.poll(wait=1)]
    assert [letter.value for letter in letters][:1] == [b"\xff not an envelope"]
    assert len(letters) == 2
    assert all(letter.reason and letter.topic == RECORDS.name for letter in letters)


async def test_too_many_dead_letters_stop_it_before_it_commits(log: EventLog, store: Store) -> None:
    for _ in range(3):
        await log.append(RECORDS.name, b"k", b"\xff")
    writer = Writer(log, store)
    writer._dead = DeadLetters(log, "naiad.writer", most=2)
    with pytest.raises(TooManyDeadLetters):
        await asyncio.wait_for(writer.run(asyncio.Event()), 30 * LONGER)
    assert await lag(log)


async def test_a_newer_record_stops_it(log: EventLog, store: Store) -> None:
    envelope = Envelope(min_reader_version=99, batch=batch_of().SerializeToString())
    await log.append(RECORDS.name, b"k", envelope.SerializeToString())
    with pytest.raises(ReaderTooOld, match="99"):
        await asyncio.wait_for(Writer(log, store).run(asyncio.Event()), 30 * LONGER)
    assert await lag(log)


# --- any order, any cut, any number of times ------------------------------------------------

CALLS = st.lists(
    st.tuples(
        st.sampled_from(["one", "two"]),  # writer
        st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3, unique=True),
        st.integers(0, 4),  # step
        st.booleans(),  # preview
    ),
    min_size=1,
    max_size=20,
)


@settings(
    max_examples=12, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(calls=CALLS, data=st.data())
def test_rows_are_those_of_a_plain_model(
    store: Store, calls: list[tuple[str, list[str], int, bool]], data: st.DataObject
) -> None:
    """Whatever is resent, doubled and reordered, of each point the highest version stays."""
    emptied(store, "points", "series", "writers", "runs")
    epochs = {"one": 10, "two": 20}
    expected: dict[tuple[str, int], tuple[tuple, float]] = {}
    batches: list[pb.Batch] = []
    numbers = {"one": 0, "two": 0}
    for value, (writer, paths, step, preview) in enumerate(calls):
        numbers[writer] += 1
        record = numbers[writer]
        for path in paths:
            rank = (not preview, epochs[writer], record)
            if expected.get((path, step), ((), 0))[0] < rank:
                expected[path, step] = (rank, float(value))
        group = build_group(
            paths, steps=[step], timestamps=[1], values=[[value]] * len(paths),
            first_record=record, preview=preview,
        )  # fmt: skip
        batches.append(
            batch_of(groups=[group], first=record, last=record, writer=writer, epoch=epochs[writer])
        )
    sent = data.draw(st.permutations(batches + data.draw(st.lists(st.sampled_from(batches)))))
    cut = data.draw(st.integers(0, len(sent)))
    for part in (sent[:cut], sent[cut:]):
        # Fresh books each time, as after a restart.
        writers = WriterBook(store)
        pending = Pending(store, writers)
        for some in (part[::2], part[1::2]):
            parcel = Parcel()
            parcel.add(
                Record("t", 0, n, b"", Envelope(batch=b.SerializeToString()).SerializeToString(), 0)
                for n, b in enumerate(some)
            )
            block = Block(RunBook(store), writers, pending.projects, pending.paths)
            block.add(parcel.parsed)
            assert not parcel.poison
            assert not block.refused
            for table, rows in block.tables():
                store.insert(table, rows)
            block.settle()
            pending.take(block, 0)
        pending.insert()
    found = store.query(
        "SELECT path, toInt64(step * 1000000) AS step, value FROM points FINAL"
    ).to_pylist()
    assert {(p["path"], p["step"]): p["value"] for p in found} == {
        key: value for key, (_, value) in expected.items()
    }
    last: dict[str, tuple] = {}
    for (path, step), (rank, value) in expected.items():
        key = (rank[0], step, rank)
        last[path] = max(last.get(path, ()), (*key, value))
    series = store.query("SELECT path, number AS n FROM series FINAL").to_pylist()
    assert {s["path"]: s["n"] for s in series} == {path: best[-1] for path, best in last.items()}
    counted = store.query("SELECT writer_id, points FROM writers FINAL").to_pylist()
    assert {w["writer_id"]: w["points"] for w in counted} == {
        writer: sum(len(c[1]) for c in calls if c[0] == writer) for writer in {c[0] for c in calls}
    }


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5))), st.integers(1, 50))
def test_intervals_are_sets(pairs: list[tuple[int, int]], number: int) -> None:
    import numpy as np

    intervals = merge((first, first + length) for first, length in pairs)
    members = {n for first, length in pairs for n in range(first, first + length + 1)}
    assert {n for first, last in intervals for n in range(first, last + 1)} == members
    assert all(a[1] + 1 < b[0] for a, b in itertools.pairwise(intervals))
    assert inside(intervals, np.array([number], np.uint64))[0] == (number in members)
