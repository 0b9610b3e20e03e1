"""Changes of runs as a whole: to the trash, back, gone for good; and how long they are kept.

Enter: batches of changes, each run once, with all that came before them stored. Leave: rows of
`tombstones` and `retention`, fewer rows of purged runs, and in `writers` what became of each
change. The partition's owner does it, in the order of the log, and may do it again: a change that
comes again changes nothing, and a purge is finished.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from naiad_consumers import metrics
from naiad_consumers.writer import columns
from naiad_consumers.writer.parsing import Parsed
from naiad_consumers.writer.runbook import RunBook
from naiad_consumers.writer.writerbook import Spool, WriterBook, WriterRow
from naiad_proto.changes import is_change
from naiad_proto.limits import shorten
from naiad_proto.rejections import Rejected
from naiad_proto.v1.records_pb2 import (
    REJECTION_REASON_NOT_POSSIBLE,
    DeleteRun,
    Item,
    PurgeRun,
    Rejection,
    RestoreRun,
    Warning,
)
from naiad_proto.versions import version
from naiad_store import Store, run_key
from naiad_store.lives import CHANGES, PURGED, Change, Lives, NotPossible, Tombstone
from naiad_store.purging import delete, files_of, purge_rows

log = logging.getLogger(__name__)

_WORD = pa.dictionary(pa.int32(), pa.string())
_TOMBSTONES = pa.schema(
    [("project", _WORD), ("run_id", pa.string()), ("until", pa.uint64()),
     ("incarnation", pa.uint32()), ("run", pa.uint64()), ("next", pa.uint32()), ("state", _WORD),
     ("deleted_at", columns.TIME), ("deleted_by", _WORD), ("changed_at", columns.TIME),
     ("changed_by", _WORD), ("version", columns.VERSION)]
)  # fmt: skip
_RETENTION = pa.schema(
    [("project", _WORD), ("days", pa.uint32()), ("trash_days", pa.uint32()),
     ("set_at", columns.TIME), ("set_by", _WORD), ("version", columns.VERSION)]
)  # fmt: skip
_DISCARDED = pa.schema(
    [("key", pa.string()), ("size_bytes", pa.uint64()), ("discarded_at", columns.TIME)]
)


def stretches(records: Iterable[Parsed]) -> Iterator[tuple[bool, list[Parsed]]]:
    """Records that can be dealt with together, in their order: changes apart from the others,
    and of each run one at a time."""
    found: list[Parsed] = []
    changes = False
    runs: set[tuple[str, str]] = set()
    for one in records:
        names = (one.batch.project, one.batch.run_id)
        changed = is_change(one.batch)
        if found and (changed != changes or (changed and names in runs)):
            yield changes, found
            found, runs = [], set()
        changes = changed
        runs.add(names)
        found.append(one)
    if found:
        yield changes, found


class Changing:
    """Some changes, once. Raises StoreError; then it can be done again, with the same books."""

    def __init__(self, store: Store, runs: RunBook, writers: WriterBook) -> None:
        self._store = store
        self._runs = runs
        self._writers = writers
        self._tombstones: list[Tombstone] = []
        self._retention: list[dict[str, object]] = []
        # Run key -> the change that purges it.
        self._purged: dict[int, Spool] = {}
        # Run key -> rows of its spools.
        self._spools: dict[int, list[WriterRow]] = {}

    def apply(self, records: Sequence[Parsed]) -> None:
        names = {(one.batch.project, one.batch.run_id) for one in records}
        self._tombstones, self._retention, self._purged = [], [], {}
        # What a try that was cut off has thought of them may not be stored.
        self._runs.forget_lives(names)
        self._runs.load_lives(names)
        found = {one: self._runs.lives(*one) for one in names}
        self._load_spools(found.values())
        changes = [(one, self._spool(one)) for one in records]
        self._writers.load((one.batch.project, one.batch.run_id, spool) for one, spool in changes)
        rows = [self._row(one, spool) for one, spool in changes]
        self._store_rows()
        freed = self._purge(found.values())
        told = []
        for row in rows:
            mine = [run for run, spool in self._purged.items() if spool == row.spool]
            told.append(row.freed(sum(freed.get(run, 0) for run in mine)) if mine else row)
        self._writers.settle(told)

    def _load_spools(self, found: Iterable[Lives]) -> None:
        """Of all lives, and whether they have begun."""
        keys = {
            lives.key(incarnation): (lives.project, lives.run_id)
            for lives in found
            for incarnation in (lives.current, *(end.incarnation for end in lives.ends))
        }
        self._runs.load_keys(keys)
        self._spools = self._writers.of_runs(keys)

    def _spool(self, one: Parsed) -> Spool:
        run = run_key(one.batch.project, one.batch.run_id, CHANGES)
        return Spool(run, one.batch.writer_id, one.record.partition)

    # --- one change -----------------------------------------------------------------------

    def _row(self, one: Parsed, spool: Spool) -> WriterRow:
        """What there is to say of a change, once it is stored."""
        batch, envelope = one.batch, one.envelope
        rejected = Rejected.of(envelope.rejections)
        row = self._writers.get(spool).seen(envelope.received_at, batch.epoch)
        again = bool(row.stored)
        row = row.changing(batch.records.first, batch.records.last, len(envelope.rejections))
        for index, item in enumerate(batch.items):
            if rejected.item(index):
                continue
            change = Change(
                batch.epoch, version(batch.epoch, batch.writer_id, item.record),
                envelope.received_at, envelope.principal,
            )  # fmt: skip
            try:
                self._change(one, item, change, spool)
            except NotPossible as reason:
                if not again:
                    row = row.told(
                        Rejection(
                            record=item.record,
                            reason=REJECTION_REASON_NOT_POSSIBLE,
                            message=str(reason),
                        )
                    )
        return row

    def _change(self, one: Parsed, item: Item, change: Change, spool: Spool) -> None:
        match item.WhichOneof("kind"):
            case "set_retention":
                self._retention.append(
                    {
                        "project": one.batch.project, "days": item.set_retention.days,
                        "trash_days": item.set_retention.trash_days, "set_at": change.at,
                        "set_by": change.by, "version": columns.version_bytes(change.version),
                    }
                )  # fmt: skip
                return
            case "delete_run" | "restore_run" | "purge_run" as kind:
                lives = self._runs.lives(one.batch.project, one.batch.run_id)
                if change.version == lives.version:
                    # It comes again, and may have been cut off.
                    ends = [end for end in lives.ends if end.version == change.version]
                elif change.version < lives.version:
                    self._overtaken(lives, change, kind)
                    return
                elif kind == "delete_run":
                    begun = self._runs.is_known(lives.key(lives.current))
                    trashed = "; it is in the trash already" if lives.in_trash else ""
                    ends = [self._delete(lives, item.delete_run, change, one.record.partition)]
                    if not (begun or item.delete_run.in_advance):
                        # The end counts all the same: what comes of the run later, of writers
                        # from before, goes the same way whether it comes again or not.
                        self._tombstones += ends
                        raise NotPossible(
                            f"there is no run {lives.run_id!r} in project {lives.project}{trashed}"
                        )
                elif kind == "restore_run":
                    ends = self._restore(lives, item.restore_run, change)
                else:
                    ends = self._mark_purged(lives, item.purge_run, change)
            case kind:
                raise NotPossible(f"there is no change {kind!r}; the server is older than it")
        self._tombstones += ends
        self._purged |= {end.run: spool for end in ends if end.state == PURGED}

    def _overtaken(self, lives: Lives, change: Change, kind: str) -> None:
        """The life that a deletion was to end has ended, whatever came then."""
        if kind != "delete_run" or not any(end.until >= change.epoch for end in lives.ends):
            raise NotPossible(
                f"another change of run {lives.run_id!r} came before this one; look, and try again"
            )

    def _delete(self, lives: Lives, what: DeleteRun, change: Change, partition: int) -> Tombstone:
        run = lives.key(lives.current)
        spools = self._spools.get(run, ())
        since = what.unless_heard_since
        if since and any(row.is_alive(since) for row in spools):
            raise NotPossible(f"run {lives.run_id!r} was heard of again, and is kept")
        # One that began while the deletion was on its way may be above it.
        highest = max((row.epoch for row in spools), default=0)
        end = lives.delete(change, until=highest)
        said = Warning(
            message=f"run {shorten(lives.run_id)!r} of project {lives.project} was deleted by"
            f" {shorten(change.by)}: what is logged to it goes to the trash with it. The process"
            f" itself goes on. To have it back: naiad runs restore {lives.run_id}"
        )
        self._writers.settle(
            row.warned([said])
            for row in spools
            if row.log_partition == partition and row.state == "running"
        )
        return end

    def _restore(self, lives: Lives, what: RestoreRun, change: Change) -> list[Tombstone]:
        which = what.incarnation if what.HasField("incarnation") else None
        return lives.restore(change, which, begun=lambda life: self._runs.is_known(lives.key(life)))

    def _mark_purged(self, lives: Lives, what: PurgeRun, change: Change) -> list[Tombstone]:
        which = what.incarnation if what.HasField("incarnation") else None
        return lives.purge(change, which, before=what.deleted_before)

    # --- what is stored -------------------------------------------------------------------

    def _store_rows(self) -> None:
        if self._tombstones:
            rows = [_as_row(end) for end in self._tombstones]
            metrics.insert(
                self._store, "tombstones", pa.Table.from_pylist(rows, schema=_TOMBSTONES)
            )
        if self._retention:
            metrics.insert(
                self._store, "retention", pa.Table.from_pylist(self._retention, schema=_RETENTION)
            )

    def _purge(self, found: Iterable[Lives]) -> dict[int, int]:
        """Removes what purged runs have; returns how many bytes that took, by run."""
        projects: dict[str, list[int]] = {}
        for lives in found:
            keys = {end.run for end in lives.ends} & self._purged.keys()
            if keys:
                projects.setdefault(lives.project, []).extend(keys)
        freed: dict[int, int] = {}
        for project, runs in sorted(projects.items()):
            self._discard_files(project, runs)
            began = time.monotonic()
            sizes = purge_rows(self._store, project, runs)
            freed |= {run: size.bytes for run, size in sizes.items()}
            log.info(
                "%d runs of %s were purged in %.2f s: %d rows, about %d bytes", len(runs), project,
                time.monotonic() - began, sum(size.rows for size in sizes.values()),
                sum(size.bytes for size in sizes.values()),
            )  # fmt: skip
            self._runs.gone(runs)
            self._empty_writers(project, runs)
        return freed

    def _empty_writers(self, project: str, runs: Sequence[int]) -> None:
        # Of a purge that comes again those are empty, and may have been told of what came late.
        found = [row for run in runs for row in self._spools.get(run, ())]
        rows = [row for row in found if row.state != "purged"]
        if not rows:
            return
        self._writers.settle(row.emptied() for row in rows)
        table = self._writers.table()
        metrics.insert(self._store, "writers", table)
        oldest = min(table.column("row_version").to_pylist())
        delete(self._store, "writers", project, runs, before=oldest)

    def _discard_files(self, project: str, runs: Sequence[int]) -> None:
        files = files_of(self._store, project, runs)
        if files:
            now = time.time_ns() // 1_000_000
            rows = [
                {"key": key, "size_bytes": size, "discarded_at": now} for key, size in files.items()
            ]
            metrics.insert(
                self._store, "discarded_files", pa.Table.from_pylist(rows, schema=_DISCARDED)
            )


def _as_row(end: Tombstone) -> dict[str, object]:
    row: dict[str, object] = {
        name: getattr(end, name) for name in _TOMBSTONES.names if name != "version"
    }
    return row | {"version": columns.version_bytes(end.version)}
