"""Its rounds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence

from naiad_consumers import metrics
from naiad_consumers.alerter.lead import Lead
from naiad_eventlog import EventLog, EventLogError
from naiad_eventlog.partitioning import partition_of
from naiad_eventlog.topics import EPOCHS, JANITOR_LEAD, RECORDS, run_key
from naiad_proto.changes import READER_VERSION
from naiad_proto.v1.log_pb2 import Envelope, WriterProgress
from naiad_proto.v1.records_pb2 import Batch, DeleteRun, Item, PurgeRun, RecordInterval
from naiad_proto.versions import MAX_EPOCH
from naiad_store import Store, StoreError
from naiad_store.collecting import Collector
from naiad_store.lives import Lives, lives_of_runs
from naiad_store.lookups import tombstones
from naiad_store.purging import forget_files, leftovers, purge_rows, rewrite
from naiad_store.selects import trash
from naiad_store.selects.trash import Due

log = logging.getLogger(__name__)

GROUP = "naiad.janitor.lead"
# Who it says that it is, in the trash.
PRINCIPAL = "retention"
# Between two rounds, and before the first, in which trainings find a server that was away again.
ROUND_SECONDS = 600.0
_LOOK = 0.5
_DAY_MS = 24 * 3600 * 1000
# How long a file stays after nothing refers to it: an upload may be ahead of its reference by as
# long as a client is cut off.
FILES_STAY_MS = 7 * _DAY_MS
# Purges of the last days are looked after: a writer that was stopped for long may have stored
# something once more.
_LOOKED_AFTER_MS = 2 * _DAY_MS
_FILES_AT_ONCE = 1000

# A file's key and Unix seconds: removes it unless it was put since; returns its bytes.
RemoveFile = Callable[[str, float], Awaitable[int]]


class Janitor:
    """`run` once per instance."""

    def __init__(
        self,
        event_log: EventLog,
        store: Store,
        remove_file: RemoveFile | None = None,
        *,
        every: float = ROUND_SECONDS,
        clock: Callable[[], float] = time.time,
        collector: Collector | None = None,
    ) -> None:
        """Without `remove_file` the files of purged runs stay. `clock`: Unix seconds."""
        self._log = event_log
        self._store = store
        self._remove_file = remove_file
        self._every = every
        self._clock = clock
        self._collector = collector or Collector(store)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises EventLogError."""
        async with Lead(self._log, JANITOR_LEAD, GROUP, "janitor") as lead:
            while await lead.wait(stop):
                try:
                    metrics.janitor_leads(self._clock())
                    due = time.monotonic() + self._every
                    while not stop.is_set() and await lead.stands():
                        if time.monotonic() >= due:
                            await self._round_or_later()
                            due = time.monotonic() + self._every
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(stop.wait(), min(_LOOK, self._every))
                finally:
                    lead.rest()
                if stop.is_set():
                    return

    async def _round_or_later(self) -> None:
        began = time.monotonic()
        try:
            done = await self.round()
        except (StoreError, EventLogError) as error:
            log.warning("the janitor could not end its round: %s; trying again later", error)
            done = False
        metrics.JANITOR_SECONDS.observe(time.monotonic() - began)
        if done:
            metrics.JANITOR_SUCCESS.set(self._clock())
        else:
            metrics.JANITOR_FAILURES.inc()

    async def round(self) -> bool:
        """Whether all of it was done. Raises StoreError, EventLogError."""
        now = int(self._clock() * 1000)
        for project, days, trash_days in await asyncio.to_thread(trash.retentions, self._store):
            if days:
                since = now - days * _DAY_MS
                old = await asyncio.to_thread(trash.unheard, self._store, project, since)
                await self._change(project, [(one, _delete(since)) for one in old])
            if trash_days:
                since = now - trash_days * _DAY_MS
                old = await asyncio.to_thread(trash.trashed, self._store, project, since)
                await self._change(project, [(one, _purge(one, since)) for one in old])
        await asyncio.to_thread(self._sweep, now)
        done = self._remove_file is None or await self._remove_files(self._remove_file, now)
        await asyncio.to_thread(self._collect, await self._log.partitions(RECORDS.name))
        return done

    # --- what is due --------------------------------------------------------------------------

    async def _change(self, project: str, due: Sequence[tuple[Due, Item]]) -> None:
        if not due:
            return
        names = {(project, one.run_id) for one, _ in due}
        rows = await asyncio.to_thread(
            tombstones, self._store, [project], [run_id for _, run_id in names]
        )
        lives = lives_of_runs(rows, names)
        count = await self._log.partitions(RECORDS.name)
        for one, item in due:
            await self._append(one, item, lives[project, one.run_id], count)
        kind = due[0][1].WhichOneof("kind") or ""
        metrics.JANITOR_RUNS.labels(kind.removesuffix("_run")).inc(len(due))
        log.info("%d runs of %s are due: %s", len(due), project, kind)

    async def _append(self, one: Due, item: Item, lives: Lives, count: int) -> None:
        now = int(self._clock() * 1_000_000)
        changed = lives.version >> 64 & MAX_EPOCH
        epoch = max(now, one.epoch + 1, changed + 1)
        writer_id = secrets.token_hex(16)
        key = run_key(one.project, one.run_id)
        # Ingest has to know of the epoch first: who begins afterwards is above it.
        entry = WriterProgress(
            project=one.project, run_id=one.run_id, writer_id=writer_id, epoch=epoch,
            log_partitions=count,
        )  # fmt: skip
        await self._log.append(
            EPOCHS.name, key + b"/" + writer_id.encode(), entry.SerializeToString()
        )
        batch = Batch(
            project=one.project, run_id=one.run_id, writer_id=writer_id, epoch=epoch,
            records=RecordInterval(first=1, last=1), items=[item],
        )  # fmt: skip
        envelope = Envelope(
            min_reader_version=READER_VERSION, received_at=now // 1000, principal=PRINCIPAL,
            batch=batch.SerializeToString(),
        )  # fmt: skip
        await self._log.append(
            RECORDS.name, key, envelope.SerializeToString(), among=_among(key, one, count)
        )

    # --- what is left -------------------------------------------------------------------------

    def _sweep(self, now: int) -> None:
        for project, runs in trash.purged(self._store, now - _LOOKED_AFTER_MS).items():
            if left := leftovers(self._store, project, runs):
                log.warning("rows of purged runs of %s came again, and go: %s", project, left)
                purge_rows(self._store, project, runs)
        if freed := rewrite(self._store):
            metrics.JANITOR_FREED.labels("store").inc(freed)
            log.info("of rows that were removed %d bytes came free in the store", freed)

    def _collect(self, partitions: int) -> None:
        removed = self._collector.collect(
            lambda project, run_id: partition_of(run_key(project, run_id), partitions)
        )
        metrics.JANITOR_REMOVED.labels("rollups").inc(removed.rollups)
        metrics.JANITOR_REMOVED.labels("marks").inc(removed.marks)
        if removed.rollups or removed.marks:
            log.info(
                "%d superseded rows of rollups, about %d bytes, and %d marks were removed",
                removed.rollups, removed.bytes, removed.marks,
            )  # fmt: skip

    async def _remove_files(self, remove: RemoveFile, now: int) -> bool:
        before = now - FILES_STAY_MS
        while keys := await asyncio.to_thread(
            trash.unreferred_files, self._store, before, _FILES_AT_ONCE
        ):
            freed = 0
            for key in keys:
                try:
                    freed += await remove(key, before / 1000)
                except Exception as error:
                    # Of a file store that is away; the row is what it is tried again by.
                    log.warning("files of purged runs can't be removed now: %s", error)
                    return False
            # What was put once more meanwhile is about to be referred to.
            await asyncio.to_thread(forget_files, self._store, keys)
            metrics.JANITOR_REMOVED.labels("files").inc(len(keys))
            metrics.JANITOR_FREED.labels("files").inc(freed)
            log.info("files of purged runs: %d looked at, %d bytes came free", len(keys), freed)
        return True


def _delete(since: int) -> Item:
    change = DeleteRun(unless_heard_since=since)
    return Item(record=1, timestamp=since, delete_run=change)


def _purge(one: Due, since: int) -> Item:
    change = PurgeRun(incarnation=one.incarnation, deleted_before=since)
    return Item(record=1, timestamp=since, purge_run=change)


def _among(key: bytes, one: Due, count: int) -> int:
    """Among so many partitions the run's own was chosen: any number that gives it will do."""
    found = (n for n in range(count, 0, -1) if partition_of(key, n) == one.partition)
    return next(found, count)
