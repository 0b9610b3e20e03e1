"""The calls of naiad.v1.IngestService."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from google.protobuf.message import DecodeError

from naiad_auth import current_principal
from naiad_eventlog import EventLog, EventLogError, EventLogFull
from naiad_eventlog.topics import RECORDS, run_key
from naiad_files import FileStore
from naiad_ingest import metrics
from naiad_ingest.admission import Admission
from naiad_ingest.changes import Changes
from naiad_ingest.counting import points_taken
from naiad_ingest.envelope import READER_VERSION, batch_bytes, seal
from naiad_ingest.epochs import Epochs
from naiad_ingest.errors import Refused, invalid
from naiad_ingest.limiting import Limiting
from naiad_ingest.progress import Progress
from naiad_ingest.rights import need_any, need_write
from naiad_ingest.uploads import upload
from naiad_ingest.validation import BatchRefused, check_batch
from naiad_ingest.validation.batch import check_identity, check_writer_id
from naiad_proto.changes import READER_VERSION as CHANGE_READER_VERSION
from naiad_proto.changes import is_change
from naiad_proto.v1 import ingest_pb2
from naiad_proto.v1.ingest_pb2 import (
    ChangeProjectRequest,
    ChangeProjectResponse,
    LogPosition,
    OpenWriterRequest,
    OpenWriterResponse,
    ProgressRequest,
    ProgressResponse,
    UploadFileRequest,
    UploadFileResponse,
    WriteBatchRequest,
    WriteBatchResponse,
)
from naiad_proto.v1.records_pb2 import Batch
from naiad_state import Throttle

if TYPE_CHECKING:
    from naiad_ingest.errors import Context

SERVICE = ingest_pb2.DESCRIPTOR.services_by_name["IngestService"].full_name

# Larger ones are looked at in a thread, so that other calls and the log's answers go on.
_IN_THREAD_BYTES = 256 * 1024
# A batch has so long to arrive, in seconds: as long as shippers wait for their answer.
_RECEIVE_SECONDS = 60.0

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


class IngestService:
    """Serves from `start` to `stop`; `log` has its topics already and stays open longer."""

    def __init__(
        self,
        log: EventLog,
        files: FileStore,
        *,
        admission: Admission | None = None,
        throttle: Throttle | None = None,
    ) -> None:
        """`admission`: the bound on what is taken at once. `throttle`: limits of what is sent,
        none without it; its maker closes it."""
        self._log = log
        self._files = files
        self._limiting = Limiting(throttle) if throttle else None
        self._admission = admission or Admission()
        self._epochs = Epochs(log)
        self._changes = Changes(log, self._epochs)
        self._progress = Progress(log)

    async def start(self) -> None:
        """Reads from the log what is known of writers. Raises EventLogError."""
        try:
            await self._epochs.start()
            await self._progress.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ends what runs in the background; for after the last call."""
        await self._progress.stop()
        await self._epochs.stop()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Registers the service under its name, before the server is started."""
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            # Without a deserialiser: the batch's bytes are logged as they came. And as if it
            # were a stream, which is the same on the wire: gRPC receives a single message
            # before it asks anybody, one of a stream when it is asked for.
            "WriteBatch": grpc.stream_unary_rpc_method_handler(
                self._admit,
                response_serializer=WriteBatchResponse.SerializeToString,
            ),
            "OpenWriter": grpc.unary_unary_rpc_method_handler(
                _answering(self._open_writer),
                request_deserializer=OpenWriterRequest.FromString,
                response_serializer=OpenWriterResponse.SerializeToString,
            ),
            "Progress": grpc.unary_unary_rpc_method_handler(
                _answering(self._answer_progress),
                request_deserializer=ProgressRequest.FromString,
                response_serializer=ProgressResponse.SerializeToString,
            ),
            "ChangeProject": grpc.unary_unary_rpc_method_handler(
                _answering(self._change_project),
                request_deserializer=ChangeProjectRequest.FromString,
                response_serializer=ChangeProjectResponse.SerializeToString,
            ),
            "UploadFile": grpc.stream_unary_rpc_method_handler(
                _answering(self._upload_file),
                request_deserializer=UploadFileRequest.FromString,
                response_serializer=UploadFileResponse.SerializeToString,
            ),
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, handlers)])
        server.add_registered_method_handlers(SERVICE, handlers)

    async def _admit(self, _messages: AsyncIterator[bytes], context: Context) -> WriteBatchResponse:
        return await _answer(self._write_batch(context), context)

    async def _write_batch(self, context: Context) -> WriteBatchResponse:
        async with self._admission.enter() as entry:
            request = await _received(context)
            size = len(request)
            entry.received(size)
            raw, batch = _parse(request)
            need_write(current_principal(), batch.project)
            refusal: Refused | None = None
            change = is_change(batch)
            if change:
                raw, batch = await self._changes.raised(batch)
            elif self._limiting:
                refusal = await self._limiting.refusal_of(batch, size)
            if self._limiting and refusal:
                # A writer that has to wait, even for long, must not look dead.
                raw, batch = self._limiting.sign_of_life(batch, refusal)
            if len(raw) > _IN_THREAD_BYTES:
                rejections = await asyncio.to_thread(check_batch, batch)
            else:
                rejections = check_batch(batch)
            key = run_key(batch.project, batch.run_id)
            if not change:
                await self._changes.catch_up(batch, current_principal())
            # Before the batch, or a crash in between would leave an epoch unknown.
            among = await self._epochs.record(
                batch.project, batch.run_id, batch.writer_id, batch.epoch
            )
            # Also a heartbeat, and a batch of which nothing was taken: it tells that the
            # writer lives, and accounts for the records that it carries.
            sealed = seal(
                raw,
                received_at=_now(),
                principal=current_principal().name,
                rejections=rejections,
                reader_version=CHANGE_READER_VERSION if change else READER_VERSION,
            )
            points, size = points_taken(batch, rejections), len(raw)
            # The log may take a while; what waits for it should stand in memory once.
            del request, raw, batch
            began = time.perf_counter()
            position = await self._log.append(RECORDS.name, key, sealed, among=among)
            metrics.APPEND_SECONDS.observe(time.perf_counter() - began)
            if refusal:
                raise refusal
            metrics.taken(points, size, rejections)
        return WriteBatchResponse(
            position=LogPosition(
                topic=position.topic, partition=position.partition, offset=position.offset
            ),
            rejections=rejections,
        )

    async def _open_writer(self, request: OpenWriterRequest) -> OpenWriterResponse:
        need_write(current_principal(), request.project)
        check_identity(request.project, request.run_id)
        check_writer_id(request.writer_id)
        highest = await self._epochs.highest(
            request.project, request.run_id, besides=request.writer_id
        )
        return OpenWriterResponse(highest_epoch=highest, server_time=_now())

    async def _change_project(self, request: ChangeProjectRequest) -> ChangeProjectResponse:
        return await self._changes.change_project(request, current_principal())

    async def _answer_progress(self, request: ProgressRequest) -> ProgressResponse:
        need_any(current_principal(), request.project)
        check_identity(request.project, request.run_id)
        return ProgressResponse(
            writers=self._progress.of(request.project, request.run_id, request.writer_ids)
        )

    async def _upload_file(self, requests: AsyncIterator[UploadFileRequest]) -> UploadFileResponse:
        return UploadFileResponse(file=await upload(requests, self._files, current_principal()))


def _answering(
    handle: Callable[[_Request], Awaitable[_Response]],
) -> Callable[[_Request, Context], Awaitable[_Response]]:
    async def answer(request: _Request, context: Context) -> _Response:
        return await _answer(handle(request), context)

    return answer


async def _answer(handling: Awaitable[_Response], context: Context) -> _Response:
    """Turns what is raised into the status that the contract names."""
    try:
        return await handling
    except Refused as refused:
        reason = refused
    except BatchRefused as error:
        reason = invalid(str(error))
    except EventLogFull as error:
        reason = Refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), retry_after=error.retry_after
        )
    except EventLogError as error:
        reason = Refused(
            grpc.StatusCode.UNAVAILABLE, f"the event log failed: {error}; send it again"
        )
    try:
        return await reason.end(context)
    except grpc.aio.InternalError:
        # It has ended already: gRPC refuses by itself what is too large.
        raise asyncio.CancelledError from None


async def _received(context: Context) -> bytes:
    """The message of a call. Raises Refused."""
    try:
        async with asyncio.timeout(_RECEIVE_SECONDS):
            message = await context.read()
    except TimeoutError:
        raise Refused(
            grpc.StatusCode.DEADLINE_EXCEEDED,
            f"the batch did not arrive within {_RECEIVE_SECONDS:g} s; send it again",
        ) from None
    if message is grpc.aio.EOF:
        raise invalid("the call ended without a message; send a WriteBatchRequest")
    received: bytes = message
    return received


def _parse(request: bytes) -> tuple[memoryview, Batch]:
    """The batch's bytes as sent, and what they say. Raises Refused."""
    try:
        raw = batch_bytes(request)
        batch = WriteBatchRequest.FromString(request).batch
    except (ValueError, DecodeError) as error:
        raise invalid(f"this is no WriteBatchRequest: {error}") from error
    if not raw:
        raise invalid("the request holds no batch; set its field `batch`")
    return raw, batch


def _now() -> int:
    return time.time_ns() // 1_000_000
