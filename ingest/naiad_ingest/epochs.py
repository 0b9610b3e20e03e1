"""Which writers a run had, by epoch: what OpenWriter answers.

A new writer's epoch must be above every epoch of the run that was acknowledged before.
Neither of the other topics can tell that after a crash: progress knows what the writer has
stored, and a batch that was acknowledged but not yet stored stands among gigabytes of
records. So epochs have a small compacted topic of their own. Ingest writes a writer's epoch
there before the first batch of it goes into the log; this costs one more append per writer
and process, and makes the answer independent of how far any consumer has come.

Changes of a run (`naiad_proto.changes`) get their epochs here, above all that are known of it.
Those of a whole project stand here too, so that runs which arrive later, with a writer from
before, are changed as the others were.

With it goes among how many partitions of the log the run's was chosen, so that a run stays in
its partition when some are added: in another one its records would have another owner, beside
the first, and who looks at them in their order would meet them twice.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from naiad_eventlog import EventLog, Record
from naiad_eventlog.topics import EPOCHS, RECORDS, run_key
from naiad_ingest.folding import Fold
from naiad_proto.v1.log_pb2 import (
    PROJECT_CHANGE_PURGED,
    ProjectChange,
    WriterProgress,
)

# Holds nothing; whoever has read as far as it has read all that was there before.
_MARKER = b"marker"


class ProjectChanged(NamedTuple):
    epoch: int
    change_id: str
    change: ProjectChange.ValueType


class Epochs:
    def __init__(self, event_log: EventLog) -> None:
        self._log = event_log
        self._fold = Fold(event_log, EPOCHS.name, self._apply)
        # (project, run id) -> writer id -> its epoch.
        self._runs: dict[tuple[str, str], dict[str, int]] = {}
        # Project -> what was done to all of its runs, by epoch.
        self._projects: dict[str, dict[int, ProjectChanged]] = {}
        # (project, run id) -> among how many partitions its own was chosen.
        self._among: dict[tuple[str, str], int] = {}

    async def start(self) -> None:
        """Reads what is known. Raises EventLogError."""
        await self._log.create_topics([EPOCHS])
        await self._fold.start()

    async def stop(self) -> None:
        await self._fold.stop()

    async def record(self, project: str, run_id: str, writer_id: str, epoch: int) -> int:
        """Returns when the epoch is durable; at once when it was. Gives among how many
        partitions of the log the run's is to be chosen. Raises EventLogError."""
        run = (project, run_id)
        if self._runs.get(run, {}).get(writer_id, 0) >= epoch:
            return self._among[run]
        among = self._among.get(run) or await self._log.partitions(RECORDS.name)
        entry = WriterProgress(
            project=project, run_id=run_id, writer_id=writer_id, epoch=epoch,
            log_partitions=among,
        )  # fmt: skip
        key = run_key(project, run_id) + b"/" + writer_id.encode()
        await self._log.append(EPOCHS.name, key, entry.SerializeToString())
        self._know(entry)
        return self._among[run]

    async def highest(self, project: str, run_id: str, *, besides: str) -> int:
        """The highest epoch of the run's writers but `besides`; 0 when there is none.

        Counts all that was acknowledged by any ingest before the call. Raises EventLogError.
        """
        await self._reach()
        writers = self._runs.get((project, run_id), {})
        return max((epoch for writer, epoch in writers.items() if writer != besides), default=0)

    def knows(self, project: str, run_id: str, writer_id: str) -> bool:
        return writer_id in self._runs.get((project, run_id), {})

    async def fresh(self, project: str, run_id: str, writer_id: str) -> int:
        """An epoch for a change of the run: above those of all its writers, or the one that the
        change had when it was sent before. Raises EventLogError."""
        await self._reach()
        writers = self._runs.get((project, run_id), {})
        return writers.get(writer_id) or max(_now(), *(one + 1 for one in writers.values()), 1)

    async def change_project(
        self, project: str, change_id: str, change: ProjectChange.ValueType
    ) -> tuple[int, list[str]]:
        """An epoch above those of all writers of the project's runs, and these runs; durable when
        it returns. Sent again it gives the same epoch. Raises EventLogError."""
        await self._reach()
        runs = {run_id: of for (name, run_id), of in self._runs.items() if name == project}
        epoch = runs.get("", {}).get(change_id, 0)
        if not epoch:
            highest = max((one for of in runs.values() for one in of.values()), default=0)
            epoch = max(_now(), highest + 1)
            entry = WriterProgress(
                project=project, writer_id=change_id, epoch=epoch, project_change=change
            )
            key = run_key(project, "") + b"/" + change_id.encode()
            await self._log.append(EPOCHS.name, key, entry.SerializeToString())
            self._know(entry)
        return epoch, sorted(runs.keys() - {""})

    def done_to_project(self, project: str, epoch: int) -> ProjectChanged | None:
        """What became of the project's runs whose writers have this epoch."""
        changes = self._projects.get(project, {})
        later = [changes[at] for at in sorted(changes) if at >= epoch]
        # A purge is for good.
        purges = [one for one in later if one.change == PROJECT_CHANGE_PURGED]
        return (purges or later)[-1] if later else None

    async def _reach(self) -> None:
        """Returns when all is known that any ingest has made durable."""
        await self._fold.reach(await self._log.append(EPOCHS.name, _MARKER, b""))

    def _apply(self, record: Record) -> None:
        if record.key != _MARKER:
            self._know(WriterProgress.FromString(record.value))

    def _know(self, entry: WriterProgress) -> None:
        run = (entry.project, entry.run_id)
        if entry.project_change:
            changed = ProjectChanged(entry.epoch, entry.writer_id, entry.project_change)
            self._projects.setdefault(entry.project, {})[entry.epoch] = changed
        # Releases that did not say it knew of no more than these. Should two ingests have met
        # a new run at once, while partitions were added, the fewer count.
        among = entry.log_partitions or RECORDS.partitions
        self._among[run] = min(among, self._among.get(run, among))
        writers = self._runs.setdefault(run, {})
        writers[entry.writer_id] = max(writers.get(entry.writer_id, 0), entry.epoch)


def _now() -> int:
    """Microseconds since the Unix epoch, as writers' epochs are."""
    return time.time_ns() // 1000
