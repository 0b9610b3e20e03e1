"""How far each writer's records are stored, from what the store's writer publishes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from naiad_eventlog import EventLog, Record
from naiad_eventlog.topics import PROGRESS
from naiad_ingest.folding import Fold
from naiad_proto.v1.log_pb2 import WriterProgress
from naiad_proto.v1.records_pb2 import RecordInterval


class Progress:
    """What stands on the progress topic of every writer, in memory.

    A writer's records are told of by the owner of their partition of the log, under a key that
    names all three: `<writer id>/<partition>/<epoch of the owner>`. Its word is true whenever it
    comes, also late, from an owner that lost the partition without knowing: so what is stored
    only grows. Of what was said about the records each partition's latest owner knows best."""

    def __init__(self, event_log: EventLog) -> None:
        self._fold = Fold(event_log, PROGRESS.name, self._apply)
        # (project, run id) -> writer id -> partition -> what is known.
        self._runs: dict[tuple[str, str], dict[str, dict[str, _Told]]] = {}

    async def start(self) -> None:
        """Reads what is known. Raises EventLogError."""
        await self._fold.start()

    async def stop(self) -> None:
        await self._fold.stop()

    def of(
        self, project: str, run_id: str, writer_ids: Collection[str] = ()
    ) -> list[WriterProgress]:
        """Of these writers of the run, or of all when none is named; those of which nothing
        is stored are left out."""
        writers = self._runs.get((project, run_id), {})
        asked = writer_ids or writers.keys()
        return [_together(writers[writer]) for writer in asked if writer in writers]

    def _apply(self, record: Record) -> None:
        if not record.value:
            # A later owner has said more, under its own key.
            return
        entry = WriterProgress.FromString(record.value)
        _, _, place = record.key.decode().partition("/")
        partition, _, epoch = place.partition("/")
        partitions = self._runs.setdefault((entry.project, entry.run_id), {}).setdefault(
            entry.writer_id, {}
        )
        # Keys were once the writer's id alone.
        told = _Told(entry, int(epoch or 0))
        before = partitions.get(partition)
        if before is not None:
            newer, older = (told, before) if told.epoch >= before.epoch else (before, told)
            newer.entry.epoch = max(newer.entry.epoch, older.entry.epoch)
            _grow(newer.entry, older.entry)
            told = newer
        partitions[partition] = told


class _Told(NamedTuple):
    entry: WriterProgress
    # Of the owner who said it.
    epoch: int


def _grow(entry: WriterProgress, other: WriterProgress) -> None:
    """Adds what `other` has stored."""
    if list(entry.stored) == list(other.stored):
        return
    stored: list[RecordInterval] = []
    for one in sorted([*entry.stored, *other.stored], key=lambda one: one.first):
        if stored and one.first <= stored[-1].last + 1:
            stored[-1].last = max(stored[-1].last, one.last)
        else:
            stored.append(RecordInterval(first=one.first, last=one.last))
    del entry.stored[:]
    entry.stored.extend(stored)


def _together(partitions: Mapping[str, _Told]) -> WriterProgress:
    """A writer's records stand in one partition, unless some were added to the log."""
    first, *more = partitions.values()
    if not more:
        return first.entry
    whole = WriterProgress()
    whole.CopyFrom(first.entry)
    for told in more:
        whole.epoch = max(whole.epoch, told.entry.epoch)
        _grow(whole, told.entry)
        whole.late_rejections.extend(told.entry.late_rejections)
        whole.late_rejection_count += told.entry.late_rejection_count
        whole.warnings.extend(told.entry.warnings)
    return whole
