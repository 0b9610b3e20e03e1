"""The store made from the log again: equal to the live one, or told how it differs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support_histories import History
from support_kafka import until
from support_ledger import append, contents, offsets, write
from support_naiad import LONGER

from naiad_consumers import Writer
from naiad_consumers.rebuild import LogGap, Rebuild, TablesDiffer, WritersRun, rewind
from naiad_consumers.writer import GROUP
from naiad_eventlog import EventLog, StartFrom, TopicPartition, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, DEAD, PROGRESS, RECORDS
from naiad_store import Store
from naiad_store.contents import DERIVED, FROM_LOG, OWN, PASSING
from naiad_store.snapshot_places import Folder
from naiad_store.snapshots import restore_snapshot, take_snapshot
from naiad_store.swapping import finish_swaps

LATER = 1 << 42


def seeds(count: int) -> list[object]:
    """One here, all in CI."""
    return [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, count + 1))]


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EventLog]:
    async with await open_event_log(f"sqlite:///{tmp_path / 'log.db'}") as log:
        await log.create_topics(ALL_TOPICS)
        yield log


async def count(log: EventLog, topic: str) -> int:
    async with await log.subscribe(topic, "count", StartFrom.EARLIEST) as member:
        found = 0
        while records := await member.poll(wait=0):
            found += len(records)
    return found


def test_every_table_is_either_rebuilt_or_known_not_to_be(store: Store) -> None:
    found = store.query(
        "SELECT name FROM system.tables WHERE database = {d:String} AND engine LIKE '%MergeTree'",
        {"d": store.database},
    )
    assert sorted(found.column(0).to_pylist()) == sorted([*FROM_LOG, *OWN, *DERIVED, *PASSING])


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(n, marks=pytest.mark.long) for n in range(2, 8))]
)
async def test_a_rebuilt_store_is_the_live_one(log: EventLog, store: Store, seed: int) -> None:
    history = History(seed)
    # In several lives, the last of which dies between its insert and its commit.
    for _ in range(3):
        await append(log, history, 15)
        await write(log, store)
    behind = await log.committed(RECORDS.name, GROUP)
    await append(log, history, 5)
    await write(log, store)
    async with await log.subscribe(RECORDS.name, GROUP) as member:
        await member.commit(behind)
    before = contents(store)
    rebuilt = await Rebuild(log, store).run()
    assert contents(store) == before == rebuilt.contents
    assert (rebuilt.records, rebuilt.differences) == (50, [])
    assert before["points"].rows > 100
    assert sum((await log.lag(RECORDS.name, GROUP)).values()) == 0
    # The live writer has nothing to catch up with now, and a replay says nothing.
    said = await count(log, PROGRESS.name)
    assert (await Rebuild(log, store).run()).records == 50
    assert await count(log, PROGRESS.name) == said


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(n, marks=pytest.mark.long) for n in range(2, 6))]
)
async def test_from_a_snapshot_and_the_log_after_it(
    log: EventLog, store: Store, tmp_path: Path, seed: int
) -> None:
    history, place = History(seed + 100), Folder(tmp_path / "snapshot")
    await append(log, history, 20)
    await write(log, store)
    marks = await offsets(log)
    # Stored while the tables are copied.
    await append(log, history, 10)
    await write(log, store)
    take_snapshot(store, place, marks)
    await append(log, history, 20)
    await write(log, store)
    # What the snapshot holds is gone from the log.
    async with await log.subscribe(RECORDS.name, "keeper") as member:
        await member.commit(
            {TopicPartition(RECORDS.name, n): offset for n, offset in marks[RECORDS.name].items()}
        )
    assert await log.retain(RECORDS.name, before=LATER) == 20
    before = contents(store)
    with pytest.raises(LogGap, match=r"partition \d of naiad.records begins at offset \d+"):
        await Rebuild(log, store).run()
    rebuilt = await Rebuild(log, store, place).run()
    assert contents(store) == before
    assert rebuilt.records == 30


async def test_a_gap_behind_the_snapshot_is_named(
    log: EventLog, store: Store, tmp_path: Path
) -> None:
    history, place = History(7), Folder(tmp_path / "snapshot")
    await append(log, history, 10)
    await write(log, store)
    take_snapshot(store, place, await offsets(log))
    await append(log, history, 10)
    await write(log, store)
    assert await log.retain(RECORDS.name, before=LATER) == 20
    before = contents(store)
    with pytest.raises(LogGap, match="what stood between is in neither"):
        await Rebuild(log, store, place).run()
    assert contents(store) == before
    assert not databases_beside(store)


async def test_another_log_is_told_from_the_snapshots(
    log: EventLog, store: Store, tmp_path: Path
) -> None:
    place = Folder(tmp_path / "snapshot")
    await append(log, History(8), 10)
    await write(log, store)
    take_snapshot(store, place, await offsets(log))
    async with await open_event_log(f"sqlite:///{tmp_path / 'new.db'}") as new:
        await new.create_topics(ALL_TOPICS)
        with pytest.raises(LogGap, match="not the log beside which it was taken"):
            await Rebuild(new, store, place).run()


async def test_a_damaged_store_is_named_and_replaced_when_asked(
    log: EventLog, store: Store
) -> None:
    await append(log, History(9), 30)
    await write(log, store)
    before = contents(store)
    store.command("ALTER TABLE points DELETE WHERE path = 'loss' SETTINGS mutations_sync = 2")
    store.command("ALTER TABLE attributes UPDATE integer = 77 WHERE 1 SETTINGS mutations_sync = 2")
    damaged = contents(store)
    with pytest.raises(TablesDiffer) as told:
        await Rebuild(log, store).run()
    assert "points: " in str(told.value)
    assert "rows live" in str(told.value)
    assert "attributes: " in str(told.value)
    assert "not with the same content" in str(told.value)
    assert "writers" not in str(told.value)
    assert contents(store) == damaged
    assert not databases_beside(store)
    rebuilt = await Rebuild(log, store, accept=True).run()
    assert [difference.table for difference in rebuilt.differences] == ["points", "attributes"]
    assert contents(store) == before


async def test_writers_have_to_stop_for_the_end(log: EventLog, store: Store) -> None:
    history, stop = History(10), asyncio.Event()
    await append(log, history, 20)
    writing = asyncio.create_task(Writer(log, store).run(stop))
    async with asyncio.timeout(30 * LONGER):
        while sum((await log.lag(RECORDS.name, GROUP)).values()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    with pytest.raises(WritersRun, match="1 writers are at work"):
        await Rebuild(log, store).run()
    said: list[str] = []
    rebuilding = asyncio.create_task(
        Rebuild(log, store, patience=60 * LONGER, on_progress=said.append).run()
    )
    await until(lambda: any("waiting for 1 writers" in line for line in said))
    # Written while it waits.
    await append(log, history, 10)
    stop.set()
    await writing
    rebuilt = await rebuilding
    assert rebuilt.records == 30


async def test_records_that_cannot_be_read_are_not_put_aside_again(
    log: EventLog, store: Store
) -> None:
    await append(log, History(11), 10)
    await log.append(RECORDS.name, b"team/history/run-0", b"\xff not an envelope")
    await write(log, store)
    assert await count(log, DEAD.name) == 1
    rebuilt = await Rebuild(log, store).run()
    assert rebuilt.put_aside == 1
    assert await count(log, DEAD.name) == 1


@pytest.mark.long
@pytest.mark.parametrize("done", [0, 1, 4])
async def test_a_swap_that_was_cut_off_is_finished_by_who_comes_next(
    log: EventLog, store: Store, done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await append(log, History(12), 20)
    await write(log, store)
    before = contents(store)
    command, exchanged = store.command, 0

    def until_cut_off(sql: str, *arguments: object) -> object:
        nonlocal exchanged
        if sql.startswith("EXCHANGE"):
            exchanged += 1
            if exchanged > done:
                raise KeyboardInterrupt
        return command(sql, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(store, "command", until_cut_off)
        # As SIGKILL would, it leaves what stands beside.
        patch.setattr("naiad_consumers.rebuild.rebuild.discard", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            await Rebuild(log, store).run()
    assert databases_beside(store)
    finish_swaps(store)
    assert not databases_beside(store)
    assert contents(store) == before
    # Whoever writes next does so into the fresh tables.
    await append(log, History(13), 5)
    await write(log, store)
    await Rebuild(log, store).run()


async def test_a_restored_store_goes_on_where_the_snapshot_ends(
    log: EventLog, store: Store, tmp_path: Path
) -> None:
    history, place = History(14), Folder(tmp_path / "snapshot")
    await append(log, history, 20)
    await write(log, store)
    take_snapshot(store, place, await offsets(log))
    await append(log, history, 20)
    await write(log, store)
    before = contents(store)
    for table in FROM_LOG:
        store.command(f"TRUNCATE TABLE {table}")
    await rewind(log, restore_snapshot(store, place))
    assert sum((await log.lag(RECORDS.name, GROUP)).values()) == 20
    await write(log, store)
    assert contents(store) == before


def databases_beside(store: Store) -> list[str]:
    found = store.query(
        "SELECT name FROM system.databases WHERE startsWith(name, {prefix:String})",
        {"prefix": f"{store.database}_"},
    )
    return list(found.column(0).to_pylist())
