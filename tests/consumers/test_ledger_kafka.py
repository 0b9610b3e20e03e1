"""Audit, snapshot and rebuild on Apache Kafka, with a prefix and partitions of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from support_eventlog import next_offsets
from support_histories import PROJECT, History
from support_kafka import fresh, kafka_url
from support_ledger import append, contents, offsets, write
from support_naiad import LONGER

from naiad_consumers.audit import audit
from naiad_consumers.rebuild import LogGap, Rebuild
from naiad_consumers.writer import GROUP
from naiad_eventlog import StartFrom, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS
from naiad_store import Store
from naiad_store.snapshot_places import Folder
from naiad_store.snapshots import take_snapshot

__all__ = ["kafka_url"]
pytestmark = pytest.mark.long
# Seconds: the group may still count a writer that ended while the machine stood still.
PATIENCE = 30 * LONGER


async def test_from_the_first_record_and_from_a_snapshot(
    kafka_url: str, store: Store, tmp_path: Path
) -> None:
    history, place = History(21, writers=5, runs=4), Folder(tmp_path / "snapshot")
    async with await open_event_log(fresh(kafka_url)) as log:
        await log.create_topics(ALL_TOPICS)
        await append(log, history, 60)
        await write(log, store)
        assert not (await audit(log, store, PROJECT)).gaps
        before = contents(store)
        assert (await Rebuild(log, store, patience=PATIENCE).run()).records == 60
        assert contents(store) == before
        take_snapshot(store, place, await offsets(log))
        assert await log.retain(RECORDS.name, before=1 << 42, needed_by=[GROUP]) == 60
        await append(log, history, 40)
        await write(log, store)
        before = contents(store)
        with pytest.raises(LogGap, match="no longer whole"):
            await Rebuild(log, store).run()
        assert (await Rebuild(log, store, place, patience=PATIENCE).run()).records == 40
        assert contents(store) == before
        answer = await audit(log, store, PROJECT)
        assert not answer.gaps
        assert all(run.log_is_partial for run in answer.runs)
        # Reading it left nothing behind that would hold the log.
        assert await log.retain(RECORDS.name, before=1 << 42, needed_by=[GROUP]) == 40
        async with await log.subscribe(RECORDS.name, "look", StartFrom.EARLIEST) as member:
            assert next_offsets(await member.poll(wait=0)) == {}
