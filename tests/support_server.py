"""Ingest on a thread of its own, for tests of the client, which is not made of coroutines.

Real parts: grpc server, event log, writer and store when asked for; only the process is the
test's own. It can be stopped and started again on the same port with the same log.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import grpc
from support_naiad import LONGER

from naiad_auth import AuthInterceptor, TokenStore
from naiad_consumers import Writer
from naiad_eventlog import EventLog, StartFrom, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS
from naiad_files import open_file_store
from naiad_ingest import SERVER_OPTIONS, IngestService
from naiad_proto.v1.log_pb2 import Envelope
from naiad_proto.v1.records_pb2 import Batch
from naiad_state import Limits, State, Throttle
from naiad_store import Store

T = TypeVar("T")


class Server:
    """An ingest server; `store` adds a writer behind it."""

    def __init__(
        self,
        folder: Path,
        store: Store | None = None,
        tokens: TokenStore | None = None,
        limits: Limits | None = None,
        state_url: str = "",
    ) -> None:
        """`limits` are shared by servers with the same `state_url`."""
        self._limits = limits
        self._state_url = state_url
        self._folder = folder
        self._store = store
        self._tokens = tokens
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._ending: contextlib.AsyncExitStack | None = None
        self._log: EventLog | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60 * LONGER)

    def start(self) -> Server:
        self._call(self._start())
        return self

    def stop(self) -> None:
        self._call(self._stop())

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20 * LONGER)
        self._loop.close()

    async def _start(self) -> None:
        ending = contextlib.AsyncExitStack()
        self._log = log = await open_event_log(f"sqlite:///{self._folder}/log.db")
        ending.push_async_callback(log.close)
        await log.create_topics(ALL_TOPICS)
        throttle = None
        if self._limits:
            state = State.open(self._state_url) if self._state_url else None
            if state:
                ending.push_async_callback(state.close)
            throttle = Throttle(self._limits, state)
            ending.push_async_callback(throttle.close)
        files = open_file_store(f"file://{self._folder}/files")
        service = IngestService(log, files, throttle=throttle)
        await service.start()
        ending.push_async_callback(service.stop)
        if self._store:
            stop = asyncio.Event()
            writing = asyncio.create_task(Writer(log, self._store).run(stop))

            async def end_writer() -> None:
                stop.set()
                await writing

            ending.push_async_callback(end_writer)
        server = grpc.aio.server(
            interceptors=[AuthInterceptor(self._tokens)],
            options=[*SERVER_OPTIONS, ("grpc.so_reuseport", 0)],
        )
        service.add_to(server)
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        assert self.port
        await server.start()
        ending.push_async_callback(server.stop, None)
        self._ending = ending

    async def _stop(self) -> None:
        if self._ending:
            await self._ending.aclose()
            self._ending = None

    def envelopes(self) -> list[Envelope]:
        """All that is in the log."""
        return self._call(self._envelopes())

    async def _envelopes(self) -> list[Envelope]:
        assert self._log
        found = []
        async with await self._log.subscribe(RECORDS.name, "test", StartFrom.EARLIEST) as reading:
            while records := await reading.poll(wait=0):
                found += records
        found.sort(key=lambda record: (record.partition, record.offset))
        return [Envelope.FromString(record.value) for record in found]

    def batches(self) -> list[Batch]:
        return [Batch.FromString(envelope.batch) for envelope in self.envelopes()]


@contextlib.contextmanager
def serving(
    folder: Path,
    store: Store | None = None,
    tokens: TokenStore | None = None,
    limits: Limits | None = None,
    state_url: str = "",
) -> Iterator[Server]:
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(folder, store, tokens, limits, state_url)
    try:
        yield server.start()
    finally:
        server.close()
