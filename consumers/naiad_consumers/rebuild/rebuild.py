"""From a snapshot and the log to fresh tables in the place of the live ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from naiad_consumers.rebuild.replay import Replay
from naiad_consumers.writer.writer import GROUP, Writer
from naiad_eventlog import EventLog, TopicPartition
from naiad_eventlog.topics import RECORDS
from naiad_store import Store, StoreError
from naiad_store.contents import DERIVED, FROM_LOG, Content, content_of
from naiad_store.snapshot_places import Place
from naiad_store.snapshots import Manifest, fill, read_manifest
from naiad_store.swapping import REBUILD, beside, discard, swap

_LOOK_SECONDS = 0.2


class RebuildError(Exception):
    """The store was not rebuilt; it is what it was."""


class LogGap(RebuildError):
    """The log does not hold what follows the snapshot."""


class WritersRun(RebuildError):
    """Writers still work, and have to be stopped for the last stretch."""


class TablesDiffer(RebuildError):
    """The fresh tables are not what the live ones are."""


@dataclass(frozen=True, slots=True)
class Difference:
    table: str
    live: Content
    fresh: Content

    def __str__(self) -> str:
        if self.live.rows != self.fresh.rows:
            return f"{self.table}: {self.live.rows:,} rows live, {self.fresh.rows:,} rebuilt"
        return f"{self.table}: {self.live.rows:,} rows in both, not with the same content"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    # Records of the log that were read.
    records: int
    # Those that could not be stored, as when they were read first.
    put_aside: int
    # What the fresh tables hold.
    contents: dict[str, Content]
    differences: list[Difference]


class Rebuild:
    """One rebuild. `run` once."""

    def __init__(
        self,
        log: EventLog,
        store: Store,
        place: Place | None = None,
        *,
        accept: bool = False,
        patience: float = 0.0,
        on_progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`accept`: the fresh tables count where they differ. `patience`: how many seconds to
        wait for writers to stop."""
        self._log = log
        self._store = store
        self._place = place
        self._accept = accept
        self._patience = patience
        self._say = on_progress
        self._records = self._put_aside = 0

    async def run(self) -> Rebuilt:
        """Raises RebuildError, and what a snapshot, the log and the store raise."""
        manifest = None
        if self._place is not None:
            manifest = await asyncio.to_thread(read_manifest, self._place)
        begins = await begin_in(self._log, manifest)
        try:
            fresh = await asyncio.to_thread(beside, self._store, REBUILD)
            try:
                differences, contents = await self._make(fresh, manifest, begins)
            finally:
                await asyncio.to_thread(fresh.close)
        except BaseException:
            await asyncio.to_thread(discard, self._store, REBUILD)
            raise
        await asyncio.to_thread(swap, self._store, REBUILD, (*FROM_LOG, *DERIVED))
        return Rebuilt(self._records, self._put_aside, contents, differences)

    async def _make(
        self, fresh: Store, manifest: Manifest | None, begins: dict[int, int]
    ) -> tuple[list[Difference], dict[str, Content]]:
        if manifest is not None and self._place is not None:
            await asyncio.to_thread(fill, fresh, self._place, manifest, self._say, FROM_LOG)
        ends = _numbers(await self._log.end_offsets(RECORDS.name))
        begins = await self._replay(fresh, begins, ends)
        await self._without_writers()
        ends = await self._catch_up()
        # Nothing of the log is stored now that does not stand before `ends`.
        await self._replay(fresh, begins, ends)
        live = await asyncio.to_thread(_contents, self._store)
        contents = await asyncio.to_thread(_contents, fresh)
        differences = [
            Difference(table, live[table], contents[table])
            for table in FROM_LOG
            if live[table] != contents[table]
        ]
        if differences and not self._accept:
            raise TablesDiffer(
                "the tables made from the log differ from the live ones, which stay: "
                + "; ".join(map(str, differences))
            )
        await self._without_writers()
        return differences, contents

    async def _replay(
        self, fresh: Store, begins: Mapping[int, int], ends: Mapping[int, int]
    ) -> dict[int, int]:
        """Returns where the next stretch begins."""
        replay = Replay(self._log, begins, ends)
        if replay_needed(begins, ends):
            await Writer(replay, fresh).run(replay.over)
        self._records += replay.records
        self._put_aside += replay.put_aside
        self._say(f"{self._records:,} records of the log are read")
        return {number: max(replay.done.get(number, 0), end) for number, end in ends.items()}

    async def _without_writers(self) -> None:
        """Returns when no writer is at work. Raises WritersRun."""
        loop = asyncio.get_running_loop()
        until, said = loop.time() + self._patience, False
        while members := await self._log.members(RECORDS.name, GROUP):
            if loop.time() >= until:
                raise WritersRun(
                    f"{members} writers are at work (consumer group {GROUP}); stop them for the"
                    " end of a rebuild: ingest and queries go on"
                )
            if not said:
                self._say(f"waiting for {members} writers to stop ...")
                said = True
            await asyncio.sleep(_LOOK_SECONDS)

    async def _catch_up(self) -> dict[int, int]:
        """Has the live store take what the log holds, as its writer would; returns up to where
        it has everything, and nothing beyond."""
        ends = _numbers(await self._log.end_offsets(RECORDS.name))
        stop = asyncio.Event()
        writing = asyncio.create_task(Writer(self._log, self._store).run(stop))
        try:
            # Another member's offsets: nothing there to wait on but asking.
            while not writing.done() and not await self._reached(ends):  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_SECONDS)
            stop.set()
            await writing
        except StoreError as error:
            if not self._accept:
                raise
            self._say(f"the live store takes nothing more ({error}); going on without it")
            return ends
        finally:
            stop.set()
            writing.cancel()
            await asyncio.wait([writing])
        return _numbers(await self._log.committed(RECORDS.name, GROUP))

    async def _reached(self, ends: Mapping[int, int]) -> bool:
        committed = _numbers(await self._log.committed(RECORDS.name, GROUP))
        lag = _numbers(await self._log.lag(RECORDS.name, GROUP))
        return all(
            not lag[number] or committed.get(number, 0) >= end for number, end in ends.items()
        )


async def begin_in(log: EventLog, manifest: Manifest | None) -> dict[int, int]:
    """From where in the log to go on after a snapshot, or from its beginning without. Raises
    LogGap where records in between are gone."""
    starts = _numbers(await log.start_offsets(RECORDS.name))
    ends = _numbers(await log.end_offsets(RECORDS.name))
    offsets: Mapping[int, int] = {}
    if manifest is not None:
        offsets = manifest.offsets.get(RECORDS.name, {})
    for number, start in sorted(starts.items()):
        wanted = offsets.get(number, 0)
        where = f"partition {number} of {RECORDS.name}"
        if start > wanted and manifest is None:
            raise LogGap(
                f"the log is no longer whole: {where} begins at offset {start}. Name the newest"
                " snapshot, which holds what stood before"
            )
        if start > wanted:
            raise LogGap(
                f"{where} begins at offset {start}, and the snapshot goes up to {wanted}: what"
                " stood between is in neither. Name a newer snapshot"
            )
        if ends[number] < wanted:
            raise LogGap(
                f"{where} ends at offset {ends[number]}, before the {wanted} up to which the"
                " snapshot goes: this is not the log beside which it was taken"
            )
    return {number: offsets.get(number, 0) for number in starts}


async def rewind(log: EventLog, manifest: Manifest | None) -> None:
    """Has writers go on where the snapshot of a restored store ends, or begin with the first
    record that the log has. Raises LogGap and WritersRun."""
    if manifest is None:
        begins = dict.fromkeys(_numbers(await log.start_offsets(RECORDS.name)), 0)
    else:
        begins = await begin_in(log, manifest)
    if members := await log.members(RECORDS.name, GROUP):
        raise WritersRun(f"{members} writers are at work (consumer group {GROUP}); stop them first")
    async with await log.subscribe(RECORDS.name, GROUP) as member:
        await member.commit(
            {TopicPartition(RECORDS.name, number): offset for number, offset in begins.items()}
        )


def replay_needed(begins: Mapping[int, int], ends: Mapping[int, int]) -> bool:
    return any(begins.get(number, 0) < end for number, end in ends.items())


def _contents(store: Store, tables: Sequence[str] = FROM_LOG) -> dict[str, Content]:
    return {table: content_of(store, table) for table in tables}


def _numbers(offsets: Mapping[TopicPartition, int]) -> dict[int, int]:
    return {where.partition: offset for where, offset in offsets.items()}
