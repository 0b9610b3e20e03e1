"""Changes of a run or of a whole project, on their way into the log.

A change of a run takes the place in time that its epoch gives it, so the epoch is made here,
above those of all writers that were acknowledged before. One of a project is written down with the
epochs, and then becomes one of each of its runs: of those that are known now, and of any that
arrives later with a writer from before, whose own change is logged in front of its first batch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from naiad_auth import Principal
from naiad_eventlog import EventLog
from naiad_eventlog.topics import RECORDS, run_key
from naiad_ingest.envelope import seal
from naiad_ingest.epochs import Epochs
from naiad_ingest.errors import invalid
from naiad_ingest.rights import need_write
from naiad_ingest.validation import check_batch
from naiad_ingest.validation.batch import check_writer_id
from naiad_proto.changes import READER_VERSION, change_of_run
from naiad_proto.limits import check_project
from naiad_proto.v1.ingest_pb2 import ChangeProjectRequest, ChangeProjectResponse
from naiad_proto.v1.log_pb2 import (
    PROJECT_CHANGE_DELETED,
    PROJECT_CHANGE_PURGED,
    PROJECT_CHANGE_RESTORED,
    ProjectChange,
)
from naiad_proto.v1.records_pb2 import Batch, DeleteRun, Item, PurgeRun, RecordInterval, Rejection

# Under way at once.
_AT_ONCE = 100
_CHANGES: Mapping[str, ProjectChange.ValueType] = {
    "delete": PROJECT_CHANGE_DELETED,
    "restore": PROJECT_CHANGE_RESTORED,
    "purge": PROJECT_CHANGE_PURGED,
}


class Changes:
    def __init__(self, event_log: EventLog, epochs: Epochs) -> None:
        self._log = event_log
        self._epochs = epochs

    async def raised(self, batch: Batch) -> tuple[memoryview, Batch]:
        """The batch of a change, under the epoch that it takes; whatever the sender had set.
        Raises EventLogError."""
        raised = Batch()
        raised.CopyFrom(batch)
        raised.epoch = await self._epochs.fresh(batch.project, batch.run_id, batch.writer_id)
        return memoryview(raised.SerializeToString()), raised

    async def catch_up(self, batch: Batch, principal: Principal) -> None:
        """To be called before a writer's first batch goes into the log: if its project was
        deleted since the writer began, so is its run. Raises EventLogError."""
        if self._epochs.knows(batch.project, batch.run_id, batch.writer_id):
            return
        done = self._epochs.done_to_project(batch.project, batch.epoch)
        if done and done.change != PROJECT_CHANGE_RESTORED:
            # The same as it would have got with the others.
            change_id = change_of_run(done.change_id, batch.run_id)
            await self._change_run(
                batch.project, batch.run_id, change_id, done.epoch, done.change, principal.name
            )

    async def change_project(
        self, request: ChangeProjectRequest, principal: Principal
    ) -> ChangeProjectResponse:
        """Raises Refused, BatchRefused and EventLogError."""
        if problem := check_project(request.project):
            raise invalid(problem)
        need_write(principal, request.project)
        check_writer_id(request.change_id)
        kind = request.WhichOneof("change")
        if kind is None:
            raise invalid("the request names no change that this server knows")
        if kind == "set_retention":
            item = Item(record=1, timestamp=_now(), set_retention=request.set_retention)
            epoch = await self._epochs.fresh(request.project, "", request.change_id)
            rejections = await self._append(
                request.project, "", request.change_id, epoch, [item], principal.name
            )
            if rejections:
                raise invalid(rejections[0].message)
            return ChangeProjectResponse()
        change = _CHANGES[kind]
        epoch, runs = await self._epochs.change_project(request.project, request.change_id, change)
        if change == PROJECT_CHANGE_RESTORED:
            return ChangeProjectResponse()
        gate = asyncio.Semaphore(_AT_ONCE)

        async def tell(run_id: str) -> None:
            async with gate:
                change_id = change_of_run(request.change_id, run_id)
                await self._change_run(
                    request.project, run_id, change_id, epoch, change, principal.name
                )

        await asyncio.gather(*map(tell, runs))
        return ChangeProjectResponse(runs=len(runs))

    async def _change_run(
        self,
        project: str,
        run_id: str,
        change_id: str,
        epoch: int,
        change: ProjectChange.ValueType,
        by: str,
    ) -> None:
        now = _now()
        # A purge is of what is in the trash.
        items = [Item(record=1, timestamp=now, delete_run=DeleteRun(in_advance=True))]
        if change == PROJECT_CHANGE_PURGED:
            items.append(Item(record=2, timestamp=now, purge_run=PurgeRun()))
        await self._append(project, run_id, change_id, epoch, items, by)

    async def _append(
        self, project: str, run_id: str, change_id: str, epoch: int, items: list[Item], by: str
    ) -> list[Rejection]:
        batch = Batch(
            project=project, run_id=run_id, writer_id=change_id, epoch=epoch,
            records=RecordInterval(first=1, last=len(items)), items=items,
        )  # fmt: skip
        if rejections := check_batch(batch):
            return rejections
        among = await self._epochs.record(project, run_id, change_id, epoch)
        sealed = seal(
            batch.SerializeToString(), received_at=_now(), principal=by, rejections=(),
            reader_version=READER_VERSION,
        )  # fmt: skip
        await self._log.append(RECORDS.name, run_key(project, run_id), sealed, among=among)
        return []


def _now() -> int:
    return time.time_ns() // 1_000_000
