"""A query server over rows that the real writer made, for tests of everything that reads."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import tempfile
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import grpc
from support_envelopes import seal
from support_naiad import LONGER

from naiad.query.client import QueryClient
from naiad_auth import AuthInterceptor, TokenStore
from naiad_consumers import Writer
from naiad_eventlog import EventLog, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, PROGRESS, RECORDS, run_key
from naiad_files import FileStore, open_file_store
from naiad_proto.series import build_group, build_string_series
from naiad_proto.steps import to_micro
from naiad_proto.v1 import records_pb2 as pb
from naiad_proto.v1.log_pb2 import WriterProgress
from naiad_query import QueryService
from naiad_state import Cache, State
from naiad_store import Store

T = TypeVar("T")
# The first moment of every run: 2026-01-01 00:00 UTC, in milliseconds.
BEGIN = 1_767_225_600_000
_EPOCHS = itertools.count(BEGIN * 1000, 1_000_000)
_WRITERS = itertools.count(1)
# Seconds for what takes a moment where nobody else has the processors.
PATIENCE = 60 * LONGER


@dataclass
class Spool:
    """One writer of one run, whose calls become batches with the records numbered on."""

    project: str
    run_id: str
    epoch: int = field(default_factory=lambda: next(_EPOCHS))
    writer_id: str = field(default_factory=lambda: f"{next(_WRITERS):032x}")
    batches: list[pb.Batch] = field(default_factory=list)
    _record: int = 0

    def _batch(self, records: int) -> pb.Batch:
        batch = pb.Batch(
            project=self.project, run_id=self.run_id, writer_id=self.writer_id, epoch=self.epoch
        )
        batch.records.first, batch.records.last = self._record + 1, self._record + records
        self._record += records
        self.batches.append(batch)
        return batch

    def _item(self, at: int = BEGIN) -> pb.Item:
        batch = self._batch(1)
        return batch.items.add(record=self._record, timestamp=at)

    def create(
        self,
        experiment: str = "",
        *,
        at: int = BEGIN,
        fork: tuple[str, float] | None = None,
        inherit_configs: bool = False,
    ) -> Spool:
        created = self._item().create_run
        created.created_at = at
        if fork:
            created.fork_run_id, created.fork_step = fork[0], to_micro(fork[1])
            created.inherit_configs = inherit_configs
        if experiment:
            self.set("sys/name", experiment)
        return self

    def status(self, state: int, *, at: int = BEGIN, reason: str = "") -> Spool:
        item = self._item(at)
        item.writer_status.state = state
        item.writer_status.started_at = at
        item.writer_status.reason = reason
        return self

    def set(self, path: str, value: Any) -> Spool:
        attribute = self._item().set_attribute
        attribute.path = path
        match value:
            case bool():
                attribute.value.bool_value = value
            case int():
                attribute.value.int_value = value
            case float():
                attribute.value.float_value = value
            case datetime():
                attribute.value.datetime_value = round(value.timestamp() * 1000)
            case pb.FileReference():
                attribute.value.file_value.CopyFrom(value)
            case _:
                attribute.value.string_value = value
        return self

    def tag(self, path: str, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> Spool:
        update = self._item().update_string_set
        update.path = path
        update.add.extend(add)
        update.remove.extend(remove)
        return self

    def metrics(
        self,
        data: Mapping[str, Sequence[float]],
        *,
        steps: Sequence[float] | None = None,
        times: Sequence[int] | None = None,
        completions: Sequence[float] | None = None,
    ) -> Spool:
        """Values of equal length; `times` are milliseconds; `completions` make previews."""
        rows = len(next(iter(data.values())))
        micro = [to_micro(step) for step in (range(rows) if steps is None else steps)]
        first = self._record + 1
        self._batch(rows).groups.append(
            build_group(
                list(data),
                steps=micro,
                timestamps=times or [BEGIN + step // 1000 for step in micro],
                values=list(data.values()),
                first_record=first,
                preview=completions is not None,
                completions=completions,
            )
        )
        return self

    def lines(self, path: str, values: Sequence[str], *, first_step: int = 0) -> Spool:
        steps = [to_micro(first_step + row) for row in range(len(values))]
        first = self._record + 1
        self._batch(len(values)).string_series.append(
            build_string_series(
                path,
                values,
                steps=steps,
                timestamps=[BEGIN + step // 1000 for step in steps],
                first_record=first,
            )
        )
        return self

    def histogram(self, path: str, step: float, edges: Sequence[float], counts: Any) -> Spool:
        point = self._item().histogram_point
        point.path, point.step = path, to_micro(step)
        point.histogram.edges.extend(edges)
        point.histogram.counts.values.extend(counts)
        return self

    def file(self, path: str, step: float, file: pb.FileReference) -> Spool:
        point = self._item().file_point
        point.path, point.step = path, to_micro(step)
        point.file.CopyFrom(file)
        return self


class Reading:
    """A store with a query server before it, on a thread of its own."""

    def __init__(
        self,
        store: Store,
        folder: Path,
        tokens: TokenStore | None = None,
        state_url: str = "",
    ) -> None:
        """With a `state_url` it keeps answers there."""
        self.store = store
        self._state = State.open(state_url) if state_url else None
        self.files: FileStore = open_file_store(f"file://{folder / 'files'}")
        self._folder = folder
        self.tokens = tokens
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._service = QueryService(
            store,
            self.files,
            version="1.2.3",
            dashboard_url="http://here:8501",
            cache=Cache(self._state) if self._state else None,
        )
        self._server: grpc.aio.Server | None = None
        self.port = self.call(self._start())

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def client(self, token: str | None = None) -> QueryClient:
        return QueryClient(self.url, token, timeout=PATIENCE)

    def write(self, *spools: Spool) -> None:
        """Their batches through a log and the writer; returns when all is stored."""
        self.call(self._write([batch for spool in spools for batch in spool.batches]))
        for spool in spools:
            spool.batches.clear()

    def write_slowly(self, spool: Spool, pause: float) -> None:
        """The same with `pause` seconds after each batch."""
        self.call(self._write(spool.batches, pause))
        spool.batches.clear()

    def put(self, content: bytes, name: str) -> pb.FileReference:
        async def pieces() -> Any:
            yield content

        return self.call(self.files.put(pieces(), name=name, mime_type="text/plain"))

    async def _write(self, batches: list[pb.Batch], pause: float = 0.0) -> None:
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            async with await open_event_log(f"sqlite:///{folder}/log.db") as log:
                await log.create_topics(ALL_TOPICS)
                if not pause:
                    await self._append(log, batches)
                stop = asyncio.Event()
                writing = asyncio.create_task(Writer(log, self.store).run(stop))
                try:
                    async with asyncio.timeout(PATIENCE / 2):
                        if pause:
                            await self._append(log, batches, pause)
                        await self._stored(log, batches, writing)
                finally:
                    stop.set()
                    await writing

    @staticmethod
    async def _append(log: EventLog, batches: list[pb.Batch], pause: float = 0.0) -> None:
        for batch in batches:
            key = run_key(batch.project, batch.run_id)
            await log.append(RECORDS.name, key, seal(batch, received_at=BEGIN))
            if pause:
                await asyncio.sleep(pause)

    @staticmethod
    async def _stored(log: EventLog, batches: list[pb.Batch], writing: asyncio.Task[None]) -> None:
        """Returns when the writer says that it has stored them all, or ends."""
        wanted = {batch.writer_id: batch.records.last for batch in batches}
        async with await log.subscribe(PROGRESS.name, "tests") as told:
            while wanted and not writing.done():
                for record in await told.poll(wait=1):
                    if not record.value:
                        continue
                    progress = WriterProgress.FromString(record.value)
                    # Without a gap, in whatever order they came.
                    first, last = progress.stored[0].first, progress.stored[0].last
                    if first == 1 and last >= wanted.get(progress.writer_id, math.inf):
                        del wanted[progress.writer_id]

    async def _start(self) -> int:
        self._server = grpc.aio.server(
            interceptors=[AuthInterceptor(self.tokens)], options=[("grpc.so_reuseport", 0)]
        )
        self._service.add_to(self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return port

    def stop(self, grace: float | None) -> None:
        """As a server that drains; idempotent."""
        assert self._server
        # What they wait for is the loop's own.
        self._loop.call_soon_threadsafe(self._service.end_streams)
        self.call(self._server.stop(grace))

    def close(self) -> None:
        self.stop(None)
        self._service.close()
        if self._state:
            self.call(self._state.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()


@contextlib.contextmanager
def reading(
    store: Store, folder: Path, tokens: TokenStore | None = None, state_url: str = ""
) -> Iterator[Reading]:
    folder.mkdir(parents=True, exist_ok=True)
    server = Reading(store, folder, tokens, state_url)
    try:
        yield server
    finally:
        server.close()
