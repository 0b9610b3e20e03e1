"""The ledger: silent when all is there, and otherwise it names what is missing, and where."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support_envelopes import Pen, seal
from support_histories import PROJECT, History
from support_ledger import write

from naiad_consumers.audit import audit
from naiad_consumers.audit.comparing import split, subtract
from naiad_consumers.writer import GROUP
from naiad_eventlog import EventLog, TopicPartition, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS, run_key
from naiad_proto.v1 import query_pb2, records_pb2
from naiad_proto.versions import version
from naiad_store import Store
from naiad_store import run_key as key_of

LATER = 1 << 42


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
async def log(file: Path) -> AsyncIterator[EventLog]:
    async with await open_event_log(f"sqlite:///{file}") as log:
        await log.create_topics(ALL_TOPICS)
        yield log


async def append(
    log: EventLog, batch: records_pb2.Batch, rejections: list[records_pb2.Rejection] | None = None
) -> int:
    value = seal(batch, rejections=rejections or [], received_at=5000)
    key = run_key(batch.project, batch.run_id)
    return (await log.append(RECORDS.name, key, value)).offset


class Client:
    """One writer of one run that logs three calls a batch."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.pen = Pen(PROJECT, "r", "ab" * 16)
        self.points = self.attributes = 0

    def batch(self, first_step: float = 0) -> records_pb2.Batch:
        batch = self.pen.metrics({"a": [1, 2, 3], "b": [4, 5, 6]}, first_step=first_step)
        self.points += 6
        return self.counted(batch)

    def value(self) -> records_pb2.Batch:
        self.attributes += 1
        return self.counted(self.pen.experiment("x"))

    def counted(self, batch: records_pb2.Batch) -> records_pb2.Batch:
        batch.counts.through = self.pen.record
        batch.counts.acknowledged = batch.records.first - 1 if batch.records.last else 0
        batch.counts.points, batch.counts.attributes = self.points, self.attributes
        return batch

    async def log_some(self, count: int = 4) -> list[int]:
        return [await append(self.log, self.batch(3 * number)) for number in range(count)]


@pytest.fixture
def client(log: EventLog) -> Client:
    return Client(log)


async def gaps(log: EventLog, store: Store) -> list[tuple[str, int, int, str]]:
    """(stage, first record, last record, message) of the run's gaps."""
    answer = await audit(log, store, PROJECT, "r")
    return [
        (
            query_pb2.AuditStage.Name(gap.stage).removeprefix("AUDIT_STAGE_"),
            gap.first_record,
            gap.last_record,
            gap.message,
        )
        for gap in answer.gaps
    ]


def truth(history: list[tuple[records_pb2.Batch, list[records_pb2.Rejection]]]) -> dict[str, int]:
    """The same counts in plain Python, point by point."""
    seen: set[tuple[str, int, str]] = set()
    accepted = rejected = resent = 0
    points: set[tuple[str, str, int]] = set()
    for batch, rejections in history:
        left_out = {(r.path_index, r.row_index) for r in rejections}
        fresh = set()
        for group in batch.groups:
            steps = memoryview(group.steps).cast("q")
            for p, path in enumerate(group.paths):
                for row, step in enumerate(steps):
                    one = (batch.writer_id, group.first_record + row, path)
                    if one in seen:
                        resent += 1
                    elif (p, row) in left_out:
                        rejected += 1
                    else:
                        accepted += 1
                    if (p, row) not in left_out:
                        points.add((batch.run_id, path, step))
                    fresh.add(one)
        for series in batch.string_series:
            for row, step in enumerate(memoryview(series.steps).cast("q")):
                one = (batch.writer_id, series.first_record + row, series.path)
                resent += one in seen
                accepted += one not in seen
                points.add((batch.run_id, series.path, step))
                fresh.add(one)
        seen |= fresh
    return {"accepted": accepted, "rejected": rejected, "resent": resent, "stored": len(points)}


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(n, marks=pytest.mark.long) for n in range(2, 9))]
)
async def test_resends_overwrites_and_rejections_balance(
    log: EventLog, store: Store, seed: int
) -> None:
    history = History(seed, writers=4).more(120)
    for batch, rejections in history:
        await append(log, batch, rejections)
    await write(log, store)
    answer = await audit(log, store, PROJECT)
    assert not answer.gaps
    total = {
        name: sum(getattr(run, f"{name}_points") for run in answer.runs)
        for name in ("accepted", "rejected", "resent", "stored")
    }
    assert total == truth(history)
    assert all(r.accepted_points == r.stored_points + r.overwritten_points for r in answer.runs)
    assert sum(r.overwritten_points for r in answer.runs) > 0
    # The store's own rows, counted by the store.
    count = store.query(
        "SELECT (SELECT count() FROM points FINAL) + (SELECT count() FROM string_points FINAL)"
    )
    assert total["stored"] == count.column(0)[0].as_py()
    one = await audit(log, store, PROJECT, "run-1")
    assert [run.run_id for run in one.runs] == ["run-1"]
    assert one.runs[0] == answer.runs[1]


async def test_nothing_known_is_nothing_found(log: EventLog, store: Store) -> None:
    answer = await audit(log, store, PROJECT, "r")
    assert not answer.runs
    assert not answer.gaps


async def test_lost_by_the_log(log: EventLog, store: Store, client: Client, file: Path) -> None:
    offsets = await client.log_some()
    await write(log, store)
    drop(file, offsets[1])
    assert await gaps(log, store) == [
        (
            "LOG", 4, 6,
            "records 4 to 6 were acknowledged and are not in the log (the store has them)",
        )
    ]  # fmt: skip


async def test_lost_by_the_log_before_it_was_stored(
    log: EventLog, store: Store, client: Client, file: Path
) -> None:
    offsets = await client.log_some()
    drop(file, offsets[2])
    await write(log, store)
    assert await gaps(log, store) == [
        ("LOG", 7, 9, "records 7 to 9 were acknowledged and are not in the log")
    ]


async def test_not_sent_yet(log: EventLog, store: Store, client: Client) -> None:
    await client.log_some(2)
    client.batch(90)
    beat = client.counted(client.pen.heartbeat())
    beat.counts.acknowledged = 6
    await append(log, beat)
    await write(log, store)
    assert await gaps(log, store) == [
        (
            "CLIENT_TO_LOG", 7, 9,
            "records 7 to 9 were logged and have not arrived: they wait in the client's spool",
        )
    ]  # fmt: skip


async def test_a_batch_that_arrived_with_less_than_was_logged(
    log: EventLog, store: Store, client: Client
) -> None:
    await client.log_some(2)
    batch = client.batch(30)
    del batch.groups[0].paths[1:]
    batch.groups[0].values = batch.groups[0].values[:24]
    offset = await append(log, batch)
    await append(log, client.batch(40))
    await write(log, store)
    ((stage, first, last, message),) = await gaps(log, store)
    assert (stage, first, last) == ("LOG", 7, 9)
    assert "hold 3 points in the log" in message
    assert f"offset {offset}" in message
    assert "the client counted 6" in message


async def test_a_client_that_counts_wrongly(log: EventLog, store: Store, client: Client) -> None:
    await append(log, client.value())
    client.attributes += 1
    await append(log, client.value())
    await write(log, store)
    ((stage, first, last, message),) = await gaps(log, store)
    assert (stage, first, last) == ("LOG", 2, 2)
    assert "record 2 holds 1 attributes" in message
    assert "the client counted 2" in message


async def test_put_aside_and_dropped_by_the_client(
    log: EventLog, store: Store, client: Client
) -> None:
    await client.log_some(1)
    client.batch(10)
    batch = client.batch(20)
    batch.counts.acknowledged = 6
    batch.counts.set_aside.add(first=4, last=6)
    batch.counts.dropped = 17
    await append(log, batch)
    await write(log, store)
    found = await gaps(log, store)
    assert [gap[:3] for gap in found] == [("CLIENT", 4, 6), ("CLIENT", 0, 0)]
    assert "naiad sync --rejected" in found[0][3]
    assert found[1][3] == "17 calls found no room in the client's spool"
    # Sent again after all: naiad sync --again.
    again = Pen(PROJECT, "r", "ab" * 16, record=3).metrics({"a": [1, 2, 3], "b": [4, 5, 6]})
    await append(log, again)
    await write(log, store)
    assert [gap[:3] for gap in await gaps(log, store)] == [("CLIENT", 0, 0)]


async def test_not_stored_yet(log: EventLog, store: Store, client: Client) -> None:
    await client.log_some(2)
    await write(log, store)
    await append(log, client.batch(30))
    assert await gaps(log, store) == [
        (
            "LOG_TO_STORE", 7, 9,
            "records 7 to 9 are in the log; the writer has not come to them",
        )
    ]  # fmt: skip


async def test_skipped_by_the_writer(log: EventLog, store: Store, client: Client) -> None:
    await client.log_some(2)
    await write(log, store)
    offset = await append(log, client.batch(30))
    await append(log, client.batch(40))
    # A fault of the group's offsets.
    async with await log.subscribe(RECORDS.name, GROUP) as member:
        partition = next(iter(await log.committed(RECORDS.name, GROUP))).partition
        await member.commit({TopicPartition(RECORDS.name, partition): offset + 1})
    await write(log, store)
    found = await gaps(log, store)
    assert found[0][:3] == ("STORE", 7, 9)
    assert f"offset {offset}" in found[0][3]
    assert "does not say that they are stored" in found[0][3]
    # Its points too: 6 fewer than the log holds.
    assert any("counts 18 points, and the log holds 24" in gap[3] for gap in found)
    rows = [gap for gap in found if "are not in table points" in gap[3]]
    assert [gap[:3] for gap in rows] == [("STORE", 7, 9)] * 2


async def test_rows_that_the_store_has_lost(log: EventLog, store: Store, client: Client) -> None:
    offsets = await client.log_some()
    await write(log, store)
    store.command(
        "ALTER TABLE points DELETE WHERE path = 'b' AND step IN (4, 5) SETTINGS mutations_sync = 2"
    )
    ((stage, first, last, message),) = await gaps(log, store)
    assert (stage, first, last) == ("STORE", 5, 6)
    assert "2 points of 'b' are not in table points: steps 4 to 5" in message
    assert f"offset {offsets[1]}" in message


async def test_rows_that_nobody_logged(log: EventLog, store: Store, client: Client) -> None:
    await client.log_some(1)
    await write(log, store)
    plant(store, "a", 77, record=2)
    ((stage, first, last, message),) = await gaps(log, store)
    assert (stage, first, last) == ("STORE", 2, 2)
    assert "1 points of 'a' are in table points and were never in the log: steps 77" in message


async def test_a_row_that_an_older_one_has_replaced(
    log: EventLog, store: Store, client: Client
) -> None:
    await client.log_some(1)
    # The same steps once more.
    await append(log, client.batch(0))
    await write(log, store)
    store.command("ALTER TABLE points DELETE WHERE path = 'a' SETTINGS mutations_sync = 2")
    for step, record in ((0, 4), (1, 2), (2, 6)):
        plant(store, "a", step, record)
    ((stage, first, last, message),) = await gaps(log, store)
    assert (stage, first, last) == ("STORE", 5, 5)
    assert "1 points of 'a' are in table points with another version" in message


async def test_doubled_rows_with_one_key_are_one(
    log: EventLog, store: Store, client: Client
) -> None:
    await client.log_some(1)
    await write(log, store)
    store.command("INSERT INTO points SELECT * FROM points")
    assert not await gaps(log, store)


async def test_values_and_tags(log: EventLog, store: Store, client: Client) -> None:
    await append(log, client.value())
    batch = client.pen._batch(1)
    batch.items.add(record=2, timestamp=1).update_string_set.CopyFrom(
        records_pb2.UpdateStringSet(path="sys/tags", add=["x", "y"])
    )
    client.attributes += 1
    await append(log, client.counted(batch))
    await write(log, store)
    assert not await gaps(log, store)
    store.command("ALTER TABLE attributes DELETE WHERE 1 SETTINGS mutations_sync = 2")
    store.command("ALTER TABLE string_sets DELETE WHERE element = 'y' SETTINGS mutations_sync = 2")
    assert [(gap[1], gap[3]) for gap in await gaps(log, store)] == [
        (1, "value 'sys/name' (string) is not in table attributes"),
        (2, "element 'sys/tags' (y) is not in table string_sets"),
    ]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("points", "points + 5", "the store's writer counts 17 points, and the log holds 12"),
        ("rejected", "3", "the store's writer counts 3 rejected items, and the log holds 0"),
        ("stored", "[(1, 3)]", "records 4 to 6 are in the log"),
        ("stored", "[(1, 9)]", "records 7 to 9 are called stored and were never in the log"),
    ],
)
async def test_wrong_counts_of_the_writer(
    log: EventLog, store: Store, client: Client, column: str, value: str, said: str
) -> None:
    await client.log_some(2)
    await write(log, store)
    store.command(
        f"INSERT INTO writers SELECT * REPLACE ({value} AS {column}, row_version + 1 AS"
        " row_version) FROM writers FINAL"
    )
    ((stage, _, _, message),) = await gaps(log, store)
    assert stage == "STORE"
    assert message.startswith(said)


async def test_dead_letters(log: EventLog, store: Store, client: Client) -> None:
    await client.log_some(1)
    batch = client.batch(10)
    batch.groups[0].values = b"cut off"
    await append(log, batch)
    await append(log, client.batch(20))
    await write(log, store)
    ((stage, first, last, message),) = await gaps(log, store)
    assert (stage, first, last) == ("DEAD_LETTER", 4, 6)
    assert "put aside as a dead letter: " in message
    where = await log.append(RECORDS.name, run_key(PROJECT, "r"), b"\xff nonsense")
    await write(log, store)
    found = await gaps(log, store)
    assert [gap[:3] for gap in found] == [("DEAD_LETTER", 4, 6), ("DEAD_LETTER", 0, 0)]
    assert f"offset {where.offset} can't be read" in found[1][3]


async def test_where_the_log_has_dropped_the_beginning(
    log: EventLog, store: Store, client: Client
) -> None:
    await client.log_some(3)
    await write(log, store)
    assert await log.retain(RECORDS.name, before=LATER) == 3
    await append(log, client.batch(50))
    await write(log, store)
    answer = await audit(log, store, PROJECT, "r")
    assert not answer.gaps
    assert answer.runs[0].log_is_partial
    assert answer.runs[0].records == 3
    # What neither has is still found.
    store.command(
        "INSERT INTO writers SELECT * REPLACE ([(1, 3), (7, 12)] AS stored, row_version + 1 AS"
        " row_version) FROM writers FINAL"
    )
    assert [gap[:3] for gap in await gaps(log, store)] == [("LOG", 4, 6)]


async def test_other_runs_and_projects_have_no_part_in_it(
    log: EventLog, store: Store, client: Client, file: Path
) -> None:
    await client.log_some(1)
    for project, run in ((f"{PROJECT}2", "r"), (PROJECT, "r2"), ("r/r", "r")):
        await append(log, Pen(project, run, "cd" * 16, record=5).metrics({"a": [1.0]}))
    await write(log, store)
    assert not await gaps(log, store)
    answer = await audit(log, store, PROJECT)
    assert [run.run_id for run in answer.runs] == ["r", "r2"]
    assert {gap.run_id for gap in answer.gaps} == {"r2"}


def drop(file: Path, offset: int) -> None:
    """As no code of ours does: without a note that it is gone."""
    connection = sqlite3.connect(file)
    with connection:
        assert connection.execute("DELETE FROM records WHERE offset = ?", (offset,)).rowcount == 1
    connection.close()


def plant(store: Store, path: str, step: float, record: int) -> None:
    number = version(1_700_000_000_000_000, "ab" * 16, record)
    store.command(
        "INSERT INTO points (project, path, run, step, value, completion, version) VALUES"
        f" ('{PROJECT}', '{path}', {key_of(PROJECT, 'r')}, {step}, 1, 1,"
        f" toUInt128('{number}'))"
    )


def test_intervals() -> None:
    assert subtract([(1, 10)], [(3, 4), (8, 20)]) == ((1, 2), (5, 7))
    assert subtract([(1, 3), (5, 9)], [(2, 6)]) == ((1, 1), (7, 9))
    assert subtract([(5, 6)], [(1, 10)]) == ()
    assert subtract([(5, 6)], []) == ((5, 6),)
    assert list(split(((1, 3), (5, 9)), 6)) == [(1, 3), (5, 6), (7, 9)]
