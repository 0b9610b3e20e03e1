"""How far each writer's records are stored, from what the store's writer publishes."""

from __future__ import annotations

from collections.abc import Collection

from naiad_eventlog import EventLog, Record
from naiad_eventlog.topics import PROGRESS
from naiad_ingest.folding import Fold
from naiad_proto.v1.log_pb2 import WriterProgress


class Progress:
    """The newest WriterProgress of every writer, in memory."""

    def __init__(self, event_log: EventLog) -> None:
        self._fold = Fold(event_log, PROGRESS.name, self._apply)
        # (project, run id) -> writer id -> its newest.
        self._runs: dict[tuple[str, str], dict[str, WriterProgress]] = {}

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
        return [writers[writer] for writer in asked if writer in writers]

    def _apply(self, record: Record) -> None:
        entry = WriterProgress.FromString(record.value)
        self._runs.setdefault((entry.project, entry.run_id), {})[entry.writer_id] = entry
