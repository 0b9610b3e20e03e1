"""Records that can't be stored, of every kind: each is put aside with its reason, stops nobody,
and can be looked at, replayed and let go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support_envelopes import Pen, append, seal
from support_naiad import LONGER

from naiad_consumers.writer import GROUP, TooManyDeadLetters, Writer
from naiad_consumers.writer.dead import REVIEW_GROUP, DeadLetters
from naiad_consumers.writer.deadbox import DeadBox, Letter, NoSuchLetter
from naiad_consumers.writer.parsing import Poison
from naiad_eventlog import EventLog, Record, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, DEAD, RECORDS, run_key
from naiad_proto.v1.log_pb2 import Envelope
from naiad_store import RowsRefused, Store


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EventLog]:
    async with await open_event_log(f"sqlite:///{tmp_path / 'log.db'}") as log:
        await log.create_topics(ALL_TOPICS)
        yield log


async def stored(log: EventLog, store: Any) -> None:
    """Runs a writer until it has committed all."""
    stop = asyncio.Event()
    task = asyncio.create_task(Writer(log, store).run(stop))
    try:
        async with asyncio.timeout(30 * LONGER):
            while sum((await log.lag(RECORDS.name, GROUP)).values()):
                assert not task.done() or task.result()
                await asyncio.sleep(0.02)
    finally:
        stop.set()
        await task


def truncated_batch(pen: Pen) -> bytes:
    whole = pen.metrics({"a": [1.0]}).SerializeToString()
    return Envelope(min_reader_version=1, batch=whole[:-3]).SerializeToString()


def lengths_that_lie(pen: Pen) -> bytes:
    """Says that it is far larger than it is."""
    return b"\x7a\xff\xff\xff\xff\x07" + b"x" * 20


def without_a_writer(pen: Pen) -> bytes:
    batch = pen.metrics({"a": [1.0]})
    batch.writer_id = ""
    return seal(batch)


def odd_column(pen: Pen) -> bytes:
    batch = pen.metrics({"a": [1.0]})
    batch.groups[0].values += b"x"
    return seal(batch)


def unknown_item(pen: Pen) -> bytes:
    """Of a later release that forgot to say that older readers have to stop."""
    batch = pen._batch(1)
    # Field 999, with an empty message.
    batch.items.add(record=pen.record, timestamp=1).MergeFromString(b"\xba\x3e\x00")
    return seal(batch)


@pytest.mark.parametrize(
    "made",
    [
        truncated_batch, lengths_that_lie, without_a_writer, odd_column, unknown_item,
    ],
)  # fmt: skip
async def test_one_that_can_not_be_stored_stops_nobody(
    log: EventLog, store: Store, made: Callable[[Pen], bytes]
) -> None:
    good, bad = Pen(), Pen()
    await append(log, good.metrics({"a": [1.0, 2.0]}))
    value = made(bad)
    await log.append(RECORDS.name, run_key(bad.project, bad.run_id), value)
    await append(log, good.metrics({"a": [3.0]}, first_step=2))
    await stored(log, store)
    found = store.query(
        "SELECT value FROM points FINAL WHERE path = 'a' AND step >= 0 ORDER BY step"
    )
    assert found.column(0).to_pylist() == [1.0, 2.0, 3.0]
    (letter,) = await DeadBox(log).waiting()
    assert (letter.value, letter.run_id, letter.origin.topic) == (value, bad.run_id, RECORDS.name)
    assert letter.reason


class Refusing:
    """`store`, but it takes no rows of the path `refused`: what a store really refuses is known
    only when it does."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def insert(self, table: str, rows: Any) -> None:
        if table == "points" and "refused" in rows.column("path").to_pylist():
            raise RowsRefused("Code: 1. the store takes no such path")
        self._store.insert(table, rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_one_that_the_store_refuses_is_found_among_many(log: EventLog, store: Store) -> None:
    good, bad = Pen(), Pen(run_id="run-2")
    for step in range(20):
        await append(log, good.metrics({"a": [float(step)]}, first_step=step))
        if step in (3, 11):
            await append(log, bad.metrics({"refused": [1.0]}, first_step=step))
    await stored(log, Refusing(store))
    found = store.query("SELECT count() AS n FROM points FINAL WHERE path = 'a'")
    assert found.to_pylist() == [{"n": 20}]
    box = DeadBox(log)
    letters = await box.waiting()
    assert [(one.run_id, one.consumer) for one in letters] == [("run-2", GROUP)] * 2
    assert all("no such path" in one.reason for one in letters)

    # Mended, it takes them.
    assert await box.replay() == letters
    assert await box.waiting() == []
    await stored(log, store)
    found = store.query("SELECT toInt64(step) AS s FROM points FINAL WHERE path = 'refused'")
    assert sorted(found.column(0).to_pylist()) == [3, 11]
    assert await box.waiting() == []


async def letters_in(log: EventLog, count: int) -> list[Letter]:
    dead = DeadLetters(log, GROUP)
    for number in range(count):
        record = Record(RECORDS.name, 2, 100 + number, b"team/p/r%d" % number, b"\xff", 1)
        await dead.put([Poison(record, f"reason {number}")])
    return await DeadBox(log).waiting()


async def test_letters_are_dealt_with_in_any_order(log: EventLog, store: Store) -> None:
    letters = await letters_in(log, 5)
    assert [one.run_id for one in letters] == ["r0", "r1", "r2", "r3", "r4"]
    box = DeadBox(log)
    assert await box.discard([letters[3].number, letters[1].number]) == [letters[1], letters[3]]
    # Those before the last of them wait behind it now.
    left = await box.waiting()
    assert sorted((one.run_id, one.reason, one.at) for one in left) == [
        (one.run_id, one.reason, one.at) for one in letters if one.run_id not in {"r1", "r3"}
    ]
    assert {one.origin for one in left} == {letters[n].origin for n in (0, 2, 4)}
    with pytest.raises(NoSuchLetter, match=str(letters[1].number)):
        await box.replay([left[0].number, letters[1].number])
    assert await box.waiting() == left
    assert sum((await log.lag(DEAD.name, REVIEW_GROUP)).values()) == 3
    await box.discard()
    assert await box.waiting() == []
    assert sum((await log.lag(DEAD.name, REVIEW_GROUP)).values()) == 0


async def test_one_that_was_put_aside_twice_is_one(log: EventLog) -> None:
    await letters_in(log, 2)
    again = await letters_in(log, 1)
    assert [len(one.numbers) for one in again] == [1, 2]
    box = DeadBox(log)
    await box.discard([again[1].numbers[0]])
    assert [one.run_id for one in await box.waiting()] == ["r1"]


async def test_the_limit_is_of_all_writers_together(log: EventLog) -> None:
    one, other = (DeadLetters(log, name, most=5) for name in ("one", "other"))
    poison = [Poison(Record(RECORDS.name, 0, n, b"k", b"\xff", 1), "bad") for n in range(3)]
    await one.put(poison)
    with pytest.raises(TooManyDeadLetters, match=r"3 records .* and 3 more"):
        await other.put(poison)
    await other.put(poison[:2])
    with pytest.raises(TooManyDeadLetters):
        await one.put(poison[:1])
    # Who deals with them makes room.
    await DeadBox(log).discard()
    await one.put(poison)
