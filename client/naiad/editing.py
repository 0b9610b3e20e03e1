"""Changing runs from outside: tags, the trash, the end.

    from naiad import editing

    editing.delete_runs(["brave-otter"], project="me/first-steps")
    editing.restore_runs(["brave-otter"], project="me/first-steps")

Enter: a project and run ids. Leaves: for each run what became of it, once readers see it. Promised:
every change is one record through ingest, as what a run logs is, so the order of changes is that
of the server, and one that is sent twice is made once. The runs themselves are told nothing: a
process that logs to a deleted run goes on, and says so once in its log.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from naiad.connection import open_channel
from naiad.exceptions import NaiadAuthError, NaiadConnectionError, NaiadQueryError, NaiadValueError
from naiad.settings import api_token, default_project, server_url
from naiad.shipper.server import Verdict, explain, pause_after, verdict
from naiad_proto.changes import change_of_run
from naiad_proto.v1.ingest_pb2 import (
    ChangeProjectRequest,
    OpenWriterRequest,
    ProgressRequest,
    WriteBatchRequest,
)
from naiad_proto.v1.ingest_pb2_grpc import IngestServiceStub
from naiad_proto.v1.log_pb2 import WriterProgress
from naiad_proto.v1.records_pb2 import (
    WRITER_STATE_EDITING,
    Batch,
    DeleteRun,
    Item,
    PurgeRun,
    RecordInterval,
    RestoreRun,
    SetRetention,
    UpdateStringSet,
    WriterStatus,
)

__all__ = [
    "Changed",
    "Editor",
    "delete_runs",
    "edit_tags",
    "purge_runs",
    "restore_runs",
]

# Changes under way at once, and how often each looks whether it is made, in seconds.
_AT_ONCE = 16
_LOOK = 0.05
_CALL_SECONDS = 30.0
_TOLD_SECONDS = 10.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of a change of a run."""

    run_id: str
    # Why it was not made; empty when it was.
    error: str = ""
    # Of a purge: what the run took in the store, about.
    freed_bytes: int = 0
    # False: the server has it for sure, and had not come to it when the time was over.
    made: bool = True

    @property
    def done(self) -> bool:
        return self.made and not self.error

    @property
    def reason(self) -> str:
        """Why it is not done; empty when it is."""
        if self.error or self.made:
            return self.error
        return "the server has it and will do it; it had not come to it when the time was over"


class Editor:
    """Changes of runs at `url` (default NAIAD_URL) with `token` (default NAIAD_API_TOKEN), each
    waited for up to `timeout` seconds. Safe to share between threads.

    Methods raise `NaiadConnectionError` if the server can't be reached, `NaiadAuthError` where
    the token may not write to the project, and `NaiadQueryError` with the server's sentence for
    what it refuses as a whole.
    """

    def __init__(
        self, url: str | None = None, token: str | None = None, *, timeout: float = 60.0
    ) -> None:
        self.url = server_url(url)
        self._channel = open_channel(self.url, api_token(token))
        self._stub = IngestServiceStub(self._channel)
        self._timeout = timeout

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Editor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # --- runs -------------------------------------------------------------------------------

    def delete(self, project: str, run_ids: Iterable[str]) -> Iterator[Changed]:
        """To the trash. As they are made, in no order."""
        return self._each(project, run_ids, {"delete_run": DeleteRun()})

    def restore(
        self, project: str, run_ids: Iterable[str], incarnation: int | None = None
    ) -> Iterator[Changed]:
        """Out of the trash; of several runs that had the id the last deleted, unless
        `incarnation` says which."""
        return self._each(project, run_ids, {"restore_run": RestoreRun(incarnation=incarnation)})

    def purge(
        self, project: str, run_ids: Iterable[str], incarnation: int | None = None
    ) -> Iterator[Changed]:
        """For good, what of them is in the trash."""
        return self._each(project, run_ids, {"purge_run": PurgeRun(incarnation=incarnation)})

    def tag(
        self,
        project: str,
        run_id: str,
        add: Collection[str] = (),
        remove: Collection[str] = (),
        *,
        path: str = "sys/tags",
    ) -> Changed:
        now = _now()
        changes = UpdateStringSet(path=path, add=add, remove=remove)
        status = WriterStatus(state=WRITER_STATE_EDITING, started_at=now)
        items = [
            Item(record=1, timestamp=now, writer_status=status),
            Item(record=2, timestamp=now, update_string_set=changes),
        ]
        return self._send(project, run_id, items, epoch=True)

    def _each(
        self, project: str, run_ids: Iterable[str], change: Mapping[str, Any]
    ) -> Iterator[Changed]:
        items = [Item(record=1, timestamp=_now(), **change)]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="naiad edit") as threads:
            asked = [
                threads.submit(self._send, project, run_id, items)
                for run_id in dict.fromkeys(run_ids)
            ]
            try:
                for one in as_completed(asked):
                    yield one.result()
            finally:
                for one in asked:
                    one.cancel()

    def _send(
        self, project: str, run_id: str, items: list[Item], *, epoch: bool = False
    ) -> Changed:
        """`epoch`: to be made here; that of a change of a run as a whole is made by ingest."""
        until = time.monotonic() + self._timeout
        # The same each time that it is sent, so it is one change however often it arrives.
        writer_id = secrets.token_hex(16)
        batch = Batch(
            project=project, run_id=run_id, writer_id=writer_id, epoch=_now() * 1000,
            records=RecordInterval(first=1, last=len(items)), items=items,
        )  # fmt: skip
        if epoch:
            opening = OpenWriterRequest(project=project, run_id=run_id, writer_id=writer_id)
            opened = self._call(lambda: self._stub.OpenWriter(opening, timeout=_CALL_SECONDS))
            batch.epoch = max(batch.epoch, opened.highest_epoch + 1)
        request = WriteBatchRequest(batch=batch)
        answer = self._call(lambda: self._stub.WriteBatch(request, timeout=_CALL_SECONDS))
        if answer.rejections:
            return Changed(run_id, answer.rejections[0].message)
        return self._wait(project, run_id, writer_id, len(items), until)

    def _wait(
        self, project: str, run_id: str, writer_id: str, records: int, until: float
    ) -> Changed:
        """What became of so many records of a change, which the server has."""
        asked = ProgressRequest(project=project, run_id=run_id, writer_ids=[writer_id])
        while True:
            found = self._call(lambda: self._stub.Progress(asked, timeout=_CALL_SECONDS))
            for progress in found.writers:
                if _is_made(progress, records):
                    refused = list(progress.late_rejections)
                    why = refused[0].message if refused else ""
                    return Changed(run_id, why, progress.freed_bytes)
            if time.monotonic() >= until:
                return Changed(run_id, made=False)
            time.sleep(_LOOK)

    # --- projects ---------------------------------------------------------------------------

    def delete_project(self, project: str) -> int:
        """All of its runs, and those that arrive later from before: to the trash. Returns how
        many it knew."""
        return self._change_project(ChangeProjectRequest(project=project, delete=DeleteRun()))

    def restore_project(self, project: str) -> None:
        """What arrives later is no longer deleted. Its runs are restored with `restore`."""
        self._change_project(ChangeProjectRequest(project=project, restore=RestoreRun()))

    def purge_project(self, project: str, *, change_id: str | None = None) -> int:
        """All of its runs, in the trash or not, and those that arrive later from before. By a
        `change_id` of 32 hexadecimal digits `freed` can ask for it."""
        request = ChangeProjectRequest(project=project, purge=PurgeRun(), change_id=change_id or "")
        return self._change_project(request)

    def freed(self, project: str, change_id: str, run_ids: Iterable[str]) -> int:
        """About how many bytes of the store the purge of a project has freed, of these runs. To
        be asked when they are gone: then the server tells in a moment, but of runs that it had
        forgotten of."""
        until = time.monotonic() + min(self._timeout, _TOLD_SECONDS)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="naiad edit") as threads:
            # Each run is deleted first, then purged.
            found = threads.map(
                lambda run_id: self._wait(
                    project, run_id, change_of_run(change_id, run_id), 2, until
                ),
                dict.fromkeys(run_ids),
            )
            return sum(one.freed_bytes for one in found)

    def set_retention(self, project: str, days: int, trash_days: int) -> None:
        """Runs go to the trash `days` after their end, and are purged `trash_days` after that;
        0 is for ever."""
        said = SetRetention(days=days, trash_days=trash_days)
        self._change_project(ChangeProjectRequest(project=project, set_retention=said))

    def _change_project(self, request: ChangeProjectRequest) -> int:
        request.change_id = request.change_id or secrets.token_hex(16)
        answer = self._call(lambda: self._stub.ChangeProject(request, timeout=self._timeout))
        return int(answer.runs)

    # --- calls ------------------------------------------------------------------------------

    def _call(self, call: Callable[[], T]) -> T:
        """Tried again for as long as the server may come back."""
        until, failures = time.monotonic() + self._timeout, 0
        while True:
            try:
                return call()
            except grpc.RpcError as error:
                failures += 1
                pause = pause_after(failures)
                if verdict(error) is not Verdict.RETRY or time.monotonic() + pause > until:
                    raise self._explained(error) from error
                time.sleep(pause)

    def _explained(self, error: grpc.RpcError) -> Exception:
        match error.code():
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED:
                return NaiadConnectionError(
                    f"{explain(self.url, error)}. Start a server with `naiad up`, or set NAIAD_URL"
                )
            case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
                return NaiadAuthError(error.details() or "")
            case code:
                return NaiadQueryError(error.details() or f"{self.url} answered {code.name}")


def delete_runs(runs: Collection[str], *, project: str | None = None) -> list[Changed]:
    """Moves runs to the trash: no reader sees them, and `restore_runs` takes them back."""
    with Editor() as editor:
        return list(editor.delete(_project(project), _run_ids(runs)))


def restore_runs(runs: Collection[str], *, project: str | None = None) -> list[Changed]:
    """Takes runs out of the trash."""
    with Editor() as editor:
        return list(editor.restore(_project(project), _run_ids(runs)))


def purge_runs(runs: Collection[str], *, project: str | None = None) -> list[Changed]:
    """Ends runs that are in the trash for good, and tells how many bytes that frees."""
    with Editor() as editor:
        return list(editor.purge(_project(project), _run_ids(runs)))


def edit_tags(
    run: str,
    *,
    add: Collection[str] = (),
    remove: Collection[str] = (),
    project: str | None = None,
    group_tags: bool = False,
) -> Changed:
    """Adds and removes tags of a run, or group tags."""
    (run_id,) = _run_ids([run])
    with Editor() as editor:
        path = "sys/group_tags" if group_tags else "sys/tags"
        return editor.tag(_project(project), run_id, _run_ids(add), _run_ids(remove), path=path)


def _is_made(progress: WriterProgress, records: int) -> bool:
    return any(one.first <= 1 and one.last >= records for one in progress.stored)


def _project(given: str | None) -> str:
    project = default_project(given)
    if project is None:
        raise NaiadValueError(
            "no project is given: pass project='workspace/name' or set NAIAD_PROJECT"
        )
    return project


def _run_ids(given: Collection[str]) -> list[str]:
    if isinstance(given, str) or not all(isinstance(one, str) for one in given):
        raise NaiadValueError(f"{given!r} is no list of strings; put it into brackets")
    return list(given)


def _now() -> int:
    return time.time_ns() // 1_000_000
