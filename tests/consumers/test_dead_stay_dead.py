"""Nothing raises the dead: not a replay, a rebuild, a restored snapshot or a spool that comes late.
And the ledger balances all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support_changes import change_batch, points_batch, sealed
from support_ledger import contents, offsets, write

from naiad_consumers.audit import audit
from naiad_consumers.rebuild import Rebuild, rewind
from naiad_consumers.writer import GROUP
from naiad_eventlog import EventLog, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS, run_key
from naiad_proto.v1 import records_pb2 as pb
from naiad_store import Store
from naiad_store import run_key as key_of
from naiad_store.contents import FROM_LOG
from naiad_store.purging import leftovers
from naiad_store.selects.runs import Which, select_runs
from naiad_store.snapshot_places import Folder
from naiad_store.snapshots import restore_snapshot, take_snapshot

PROJECT = "team/dead"
DELETE = {"delete_run": pb.DeleteRun()}
PURGE = {"purge_run": pb.PurgeRun()}
RESTORE = {"restore_run": pb.RestoreRun()}


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EventLog]:
    async with await open_event_log(f"sqlite:///{tmp_path / 'log.db'}") as log:
        await log.create_topics(ALL_TOPICS)
        yield log


async def append(log: EventLog, *batches: pb.Batch) -> None:
    for number, batch in enumerate(batches):
        key = run_key(batch.project, batch.run_id)
        await log.append(RECORDS.name, key, sealed(batch, at=5000 + number))


def seen(store: Store, *, in_trash: bool = False) -> list[str]:
    return sorted(run.run_id for run in select_runs(store, PROJECT, Which(in_trash=in_trash)))


FIRST = (
    *(points_batch(PROJECT, run, 1, [0, 1, 2]) for run in ("kept", "trashed", "purged", "back")),
    points_batch(PROJECT, "again", 1, [0, 1, 2]),
)
ENDS = (
    change_batch(PROJECT, "trashed", 10, **DELETE),
    change_batch(PROJECT, "purged", 10, **DELETE),
    change_batch(PROJECT, "purged", 11, **PURGE),
    change_batch(PROJECT, "back", 10, **DELETE),
    change_batch(PROJECT, "back", 11, **RESTORE),
    change_batch(PROJECT, "again", 10, **DELETE),
    change_batch(PROJECT, "again", 11, **PURGE),
    points_batch(PROJECT, "again", 20, [7]),
)
# Of writers from before the ends: spools that were found weeks later, one never heard of.
LATE = (
    *(points_batch(PROJECT, run, 1, [3], first=5) for run in ("trashed", "purged", "again")),
    *(points_batch(PROJECT, run, 2, [4]) for run in ("trashed", "purged", "again")),
)


def check(store: Store) -> None:
    assert seen(store) == ["again", "back", "kept"]
    assert seen(store, in_trash=True) == ["trashed"]
    gone = [key_of(PROJECT, "purged"), key_of(PROJECT, "again")]
    assert leftovers(store, PROJECT, gone) == {}


async def test_a_late_spool_and_a_replay(log: EventLog, store: Store) -> None:
    await append(log, *FIRST, *ENDS)
    await write(log, store)
    check(store)
    await append(log, *LATE)
    await write(log, store)
    check(store)
    before = contents(store)
    await rewind(log, None)
    await write(log, store)
    check(store)
    assert contents(store) == before


async def test_a_rebuild_is_the_same(log: EventLog, store: Store) -> None:
    await append(log, *FIRST, *ENDS, *LATE)
    await write(log, store)
    before = contents(store)
    rebuilt = await Rebuild(log, store).run()
    assert rebuilt.differences == []
    assert contents(store) == before
    check(store)


async def test_a_rebuild_from_a_snapshot_that_is_older_than_the_ends(
    log: EventLog, store: Store, tmp_path: Path
) -> None:
    place = Folder(tmp_path / "snapshot")
    await append(log, *FIRST)
    await write(log, store)
    take_snapshot(store, place, await offsets(log))
    await append(log, *ENDS, *LATE)
    await write(log, store)
    before = contents(store)
    rebuilt = await Rebuild(log, store, place).run()
    assert rebuilt.differences == []
    assert contents(store) == before
    check(store)


@pytest.mark.parametrize("taken", ["before the ends", "after them"])
async def test_a_restored_snapshot(log: EventLog, store: Store, tmp_path: Path, taken: str) -> None:
    place = Folder(tmp_path / "snapshot")
    await append(log, *FIRST)
    if taken == "after them":
        await append(log, *ENDS)
    await write(log, store)
    take_snapshot(store, place, await offsets(log))
    if taken == "before the ends":
        await append(log, *ENDS)
    await append(log, *LATE)
    await write(log, store)
    for table in FROM_LOG:
        store.command(f"TRUNCATE TABLE {table}")
    await rewind(log, restore_snapshot(store, place))
    await write(log, store)
    check(store)


async def test_the_ledger_balances(log: EventLog, store: Store) -> None:
    await append(log, *FIRST, *ENDS, *LATE)
    await write(log, store)
    found = await audit(log, store, PROJECT)
    assert [gap.message for gap in found.gaps] == []
    stored = {(run.run_id, run.stored_points) for run in found.runs}
    # Of the trashed one all that came, of the purged ones nothing, and the new life of "again".
    assert stored == {
        ("kept", 3), ("trashed", 5), ("back", 3), ("purged", 0), ("again", 0), ("again", 1),
    }  # fmt: skip
    # It would say if a purge had left something.
    store.command(
        "INSERT INTO points SELECT * REPLACE ({run:UInt64} AS run)"
        " FROM (SELECT * FROM points WHERE run = {kept:UInt64})",
        {"run": key_of(PROJECT, "purged"), "kept": key_of(PROJECT, "kept")},
    )
    found = await audit(log, store, PROJECT, "purged")
    assert ["3 rows of table points are there" in gap.message for gap in found.gaps] == [True]


async def test_the_log_keeps_an_end_until_it_is_stored(log: EventLog, store: Store) -> None:
    await append(log, *FIRST)
    await write(log, store)
    await append(log, *ENDS)
    # All that is older than a moment ago, but what the writer needs.
    await log.retain(RECORDS.name, before=1 << 42, needed_by=[GROUP])
    await write(log, store)
    check(store)
