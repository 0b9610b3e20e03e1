"""A real ingest server on a free port, over a real event log, for tests of the wire."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import grpc
from support_naiad import LONGER

from naiad_auth import AuthInterceptor, TokenStore
from naiad_eventlog import EventLog, StartFrom, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS
from naiad_files import FileStore, open_file_store
from naiad_ingest import SERVER_OPTIONS, Admission, IngestService, folding
from naiad_proto.v1.ingest_pb2_grpc import IngestServiceStub
from naiad_proto.v1.log_pb2 import Envelope
from naiad_state import Throttle

SERVICE = "/naiad.v1.IngestService"


@dataclass
class Ingest:
    """A running ingest and what stands behind it."""

    log: EventLog
    files: FileStore
    service: IngestService
    port: int
    channel: grpc.aio.Channel

    @property
    def stub(self) -> IngestServiceStub:
        return IngestServiceStub(self.channel)

    def write_batch(self, request: bytes) -> grpc.aio.UnaryUnaryCall[bytes, bytes]:
        """A WriteBatch of exactly these bytes; its answer is bytes too."""
        return self.channel.unary_unary(f"{SERVICE}/WriteBatch")(request, timeout=20 * LONGER)

    async def logged(self) -> list[Envelope]:
        """All envelopes in the log, in its order."""
        async with await self.log.subscribe(
            RECORDS.name, "test reader", StartFrom.EARLIEST
        ) as subscription:
            found = []
            while records := await subscription.poll(wait=0):
                found += records
        found.sort(key=lambda record: record.offset)
        return [Envelope.FromString(record.value) for record in found]


@contextlib.asynccontextmanager
async def serving_ingest(
    folder: Path,
    tokens: TokenStore | None = None,
    log: EventLog | None = None,
    throttle: Throttle | None = None,
    admission: Admission | None = None,
) -> AsyncIterator[Ingest]:
    """Serves from `folder`; with a `log` of the caller's own, from that. Nobody is refused for
    having waited on a machine that stood still; with an `admission` that is the caller's."""
    admission = admission or Admission(wait_seconds=60 * LONGER)
    async with contextlib.AsyncExitStack() as ending:
        ending.enter_context(patch.object(folding, "_REACH_SECONDS", 20 * LONGER))
        if log is None:
            log = await open_event_log(f"sqlite:///{folder}/log.db")
            ending.push_async_callback(log.close)
            await log.create_topics(ALL_TOPICS)
        files = open_file_store(f"file://{folder}/files")
        service = IngestService(log, files, throttle=throttle, admission=admission)
        await service.start()
        ending.push_async_callback(service.stop)
        server = grpc.aio.server(
            interceptors=[AuthInterceptor(tokens)],
            options=[*SERVER_OPTIONS, ("grpc.so_reuseport", 0)],
        )
        service.add_to(server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        ending.push_async_callback(server.stop, None)
        channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.max_send_message_length", -1)]
        )
        await ending.enter_async_context(channel)
        yield Ingest(log, files, service, port, channel)
