"""The janitor: runs go when it is time, and what purged ones have left goes after them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import REGISTRY
from support_changes import change_batch, points_batch, sealed
from support_kafka import until
from support_ledger import write
from support_query import Spool
from support_rolling import Owner, assert_nothing_superseded, rows_of

from naiad_consumers.janitor import Janitor
from naiad_consumers.janitor.janitor import FILES_STAY_MS
from naiad_eventlog import EventLog, StartFrom, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, EPOCHS, RECORDS, run_key
from naiad_files import LocalFileStore
from naiad_proto.v1 import records_pb2 as pb
from naiad_proto.v1.log_pb2 import WriterProgress
from naiad_store import Store
from naiad_store import run_key as key_of
from naiad_store.collecting import Collector
from naiad_store.purging import leftovers
from naiad_store.selects.runs import Which, select_runs

PROJECT = "team/kept"
DAY = 24 * 3600
# When what is logged here was heard, in Unix seconds.
THEN = 1_700_000_000


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EventLog]:
    async with await open_event_log(f"sqlite:///{tmp_path / 'log.db'}") as log:
        await log.create_topics(ALL_TOPICS)
        yield log


async def append(log: EventLog, *batches: pb.Batch, at: float = THEN) -> None:
    for batch in batches:
        key = run_key(batch.project, batch.run_id)
        await log.append(RECORDS.name, key, sealed(batch, at=round(at * 1000)))


def seen(store: Store, *, in_trash: bool = False) -> list[str]:
    return sorted(run.run_id for run in select_runs(store, PROJECT, Which(in_trash=in_trash)))


def retain(days: int, trash_days: int, epoch: int = 1) -> pb.Batch:
    said = pb.SetRetention(days=days, trash_days=trash_days)
    return change_batch(PROJECT, "", epoch, set_retention=said)


async def test_runs_go_when_it_is_time(log: EventLog, store: Store) -> None:
    now = [THEN + 29 * DAY]
    janitor = Janitor(log, store, clock=lambda: now[0])
    await append(log, retain(30, 7), points_batch(PROJECT, "old", 1, [0]))
    # A clock that stands far ahead is no way out.
    await append(log, points_batch(PROJECT, "ahead", 1 << 60, [0]))
    await append(log, points_batch(PROJECT, "young", 1, [0]), at=THEN + 20 * DAY)
    await append(log, points_batch("team/other", "old", 1, [0]))
    await write(log, store)

    async def after(days: float) -> tuple[list[str], list[str]]:
        now[0] = THEN + days * DAY
        await janitor.round()
        await write(log, store)
        return seen(store), seen(store, in_trash=True)

    assert await after(29) == (["ahead", "old", "young"], [])
    assert await after(31) == (["young"], ["ahead", "old"])
    # The old one is heard of by a new writer, which ingest has told of the deletion.
    epochs = []
    async with await log.subscribe(EPOCHS.name, "test", StartFrom.EARLIEST) as topic:
        while records := await topic.poll(wait=0):
            epochs += [WriterProgress.FromString(record.value).epoch for record in records]
    assert len(epochs) == 2
    assert max(epochs) == (1 << 60) + 1
    assert await after(37) == (["young"], ["ahead", "old"])
    assert await after(39) == (["young"], [])
    assert await after(51) == ([], ["young"])
    assert leftovers(store, PROJECT, [key_of(PROJECT, "old"), key_of(PROJECT, "ahead")]) == {}
    rows = store.query("SELECT deleted_by, state FROM tombstones FINAL WHERE run_id = 'old'")
    assert rows.to_pylist() == [{"deleted_by": "retention", "state": "purged"}]
    # Nothing was said of the other project.
    assert [run.run_id for run in select_runs(store, "team/other", Which())] == ["old"]


async def test_a_run_that_is_heard_of_meanwhile_stays(log: EventLog, store: Store) -> None:
    await append(log, retain(30, 0), points_batch(PROJECT, "old", 1, [0]))
    await write(log, store)
    # Before the writer comes to the deletion.
    await append(log, points_batch(PROJECT, "old", 1, [1], first=3), at=THEN + 31 * DAY)
    await Janitor(log, store, clock=lambda: THEN + 31 * DAY).round()
    await write(log, store)
    assert seen(store) == ["old"]


async def test_nothing_goes_where_nothing_was_said(log: EventLog, store: Store) -> None:
    await append(log, points_batch(PROJECT, "old", 1, [0]))
    await append(log, retain(30, 7), retain(0, 0, epoch=2))
    await append(log, change_batch(PROJECT, "old", 2, delete_run=pb.DeleteRun()))
    await write(log, store)
    await Janitor(log, store, clock=lambda: THEN + 1000 * DAY).round()
    await write(log, store)
    assert seen(store, in_trash=True) == ["old"]


async def test_rows_that_came_again_go_again(log: EventLog, store: Store) -> None:
    await append(
        log,
        points_batch(PROJECT, "a", 1, [0]),
        change_batch(PROJECT, "a", 2, delete_run=pb.DeleteRun()),
        change_batch(PROJECT, "a", 3, purge_run=pb.PurgeRun()),
    )
    await write(log, store)
    key = key_of(PROJECT, "a")
    # As an owner of the partition does that was stopped in the middle and wakes.
    store.command(
        "INSERT INTO points (project, path, run) VALUES ({p:String}, 'loss', {run:UInt64})",
        {"p": PROJECT, "run": key},
    )
    assert leftovers(store, PROJECT, [key]) == {"points": 1}
    await Janitor(log, store, clock=lambda: THEN + DAY).round()
    assert leftovers(store, PROJECT, [key]) == {}
    masked = store.query(
        "SELECT sum(has_lightweight_delete) AS n FROM system.parts WHERE active"
        " AND database = currentDatabase()"
    )
    assert masked.column(0)[0].as_py() == 0


async def put(files: LocalFileStore, content: bytes) -> pb.FileReference:
    async def pieces() -> AsyncIterator[bytes]:
        yield content

    return await files.put(pieces(), name="f", mime_type="text/plain")


def with_file(run_id: str, epoch: int, file: pb.FileReference) -> pb.Batch:
    batch = points_batch(PROJECT, run_id, epoch, [0])
    value = pb.SetAttribute(path="f", value=pb.Value(file_value=file))
    batch.items.append(pb.Item(record=3, timestamp=1, set_attribute=value))
    batch.records.last = 3
    return batch


async def test_files_go_when_nothing_refers_to_them(
    log: EventLog, store: Store, tmp_path: Path
) -> None:
    files = LocalFileStore(tmp_path / "files")
    alone, shared, again = [await put(files, content) for content in (b"1", b"22", b"333")]
    await append(
        log, *(with_file(name, 1, file) for name, file in
               (("a", alone), ("b", shared), ("c", shared), ("d", again))),
        *(change_batch(PROJECT, name, 2, delete_run=pb.DeleteRun()) for name in "abd"),
        *(change_batch(PROJECT, name, 3, purge_run=pb.PurgeRun()) for name in "abd"),
    )  # fmt: skip
    await write(log, store)
    now = [time.time() + FILES_STAY_MS / 1000 - 60]
    janitor = Janitor(log, store, files.remove, clock=lambda: now[0])
    await janitor.round()
    assert [await files.exists(one.key) for one in (alone, shared, again)] == [True] * 3
    now[0] += 120
    # Put once more, and not yet referred to.
    later = now[0] - 1
    os.utime(tmp_path / "files" / again.key[:2] / again.key[2:], (later, later))
    await janitor.round()
    assert [await files.exists(one.key) for one in (alone, shared, again)] == [False, True, True]


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"naiad_janitor_{name}", labels) or 0.0


async def test_what_the_roller_has_left_goes(log: EventLog, store: Store) -> None:
    owner = Owner(store)
    spool = Spool(PROJECT, "rolled").create()
    spool.metrics({"v": list(np.arange(6000, dtype=float))})
    for step in (0, 100, 2000):
        owner.write(spool)
        owner.roll()
        spool.metrics({"v": [1e6] * 200}, steps=list(range(step, step + 200)))
    # Of another owner nothing is under way.
    Owner(store).roll()
    rows, removed = len(rows_of(store, PROJECT)), counted("removed_total", what="rollups")
    janitor = Janitor(log, store, collector=Collector(store, delay=0.0, share=0.0))
    assert await janitor.round()
    assert len(rows_of(store, PROJECT)) == rows
    assert await janitor.round()
    assert_nothing_superseded(store, PROJECT)
    left = len(rows_of(store, PROJECT))
    assert counted("removed_total", what="rollups") - removed == rows - left > 0
    freed = counted("freed_bytes_total", where="store")
    assert await janitor.round()
    masked = store.query(
        "SELECT sum(has_lightweight_delete) AS n FROM system.parts WHERE active"
        " AND database = currentDatabase()"
    )
    assert masked.column(0)[0].as_py() == 0
    assert counted("freed_bytes_total", where="store") >= freed


async def test_its_metrics_tell_how_it_gets_on(
    log: EventLog, store: Store, tmp_path: Path, stop: asyncio.Event
) -> None:
    files = LocalFileStore(tmp_path / "files")
    file = await put(files, b"12345")
    await append(
        log, retain(30, 7), points_batch(PROJECT, "old", 1, [0]), with_file("a", 2, file),
        change_batch(PROJECT, "a", 3, delete_run=pb.DeleteRun()),
        change_batch(PROJECT, "a", 4, purge_run=pb.PurgeRun()),
    )  # fmt: skip
    await write(log, store)
    away = [True]

    async def remove(key: str, unless_since: float) -> int:
        if away[0]:
            raise OSError("the bucket is away")
        return await files.remove(key, unless_since)

    names = (
        ("runs_total", {"change": "delete"}), ("removed_total", {"what": "files"}),
        ("freed_bytes_total", {"where": "files"}), ("failures_total", {}), ("seconds_count", {}),
    )  # fmt: skip

    def now() -> list[float]:
        return [counted(name, **labels) for name, labels in names]

    def since() -> list[float]:
        return [after - before for after, before in zip(now(), began, strict=True)]

    began = now()
    clock = [time.time() + FILES_STAY_MS / 1000 + 60]
    janitor = Janitor(log, store, remove, every=0.05, clock=lambda: clock[0])
    task = asyncio.create_task(janitor.run(stop))
    await until(lambda: since()[3] >= 2)
    assert counted("success_timestamp_seconds") <= clock[0]
    assert since()[:3] == [since()[0], 0, 0]
    assert since()[0] >= 1
    clock[0] += 100
    away[0] = False
    await until(lambda: counted("success_timestamp_seconds") == clock[0])
    assert since()[1:3] == [1, 5]
    assert since()[4] >= 3
    stop.set()
    await task


@pytest.fixture
def stop() -> Iterator[asyncio.Event]:
    event = asyncio.Event()
    yield event
    event.set()


async def test_one_of_several_works_and_another_follows(
    log: EventLog, store: Store, stop: asyncio.Event
) -> None:
    rounds: list[str] = []

    class Counting(Janitor):
        def __init__(self, name: str) -> None:
            super().__init__(log, store, every=0.02)
            self._name = name

        async def round(self) -> None:
            rounds.append(self._name)

    first_stop = asyncio.Event()
    first = asyncio.create_task(Counting("first").run(first_stop))
    await until(lambda: rounds)
    second = asyncio.create_task(Counting("second").run(stop))
    await until(lambda: len(rounds) >= 5)
    assert set(rounds) == {"first"}
    first_stop.set()
    await first
    await until(lambda: "second" in rounds)
    stop.set()
    await second
