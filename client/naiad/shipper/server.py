"""A server as the shipper sees it: calls in flight, and when to try again."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any, cast

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from naiad.connection import open_channel
from naiad_proto.v1 import ingest_pb2, ingest_pb2_grpc, query_pb2, query_pb2_grpc
from naiad_proto.v1 import records_pb2 as pb

CALL_SECONDS = 60.0
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 15.0
_CHUNK = 1024 * 1024

# Send again: the server or the way to it is at fault, not the batch.
RETRY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED, grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL,
    }
)  # fmt: skip
# Someone has to do something first; nothing is given up meanwhile.
BLOCKED = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})
_BLOCKED_PAUSE = 10.0


class Server:
    """One server under one token, shared by all spools that go there."""

    def __init__(self, url: str, token: str | None, ca_file: str) -> None:
        """Raises ValueError for a malformed URL, OSError for an unreadable CA file."""
        self.url = url
        self._channel = open_channel(url, token, ca_file=ca_file or None)
        self._ingest = ingest_pb2_grpc.IngestServiceStub(self._channel)
        self._query = query_pb2_grpc.QueryServiceStub(self._channel)
        # Raw bytes: a batch is serialised once, however often it is sent.
        self._write: grpc.UnaryUnaryMultiCallable[bytes, ingest_pb2.WriteBatchResponse]
        self._write = self._channel.unary_unary(
            "/naiad.v1.IngestService/WriteBatch",
            request_serializer=None,
            response_deserializer=ingest_pb2.WriteBatchResponse.FromString,
        )
        self._failures = 0
        self.try_again_at = 0.0
        self.dashboard: str | None = None
        self._info: Any = None

    def write(self, request: bytes) -> Any:
        """A future of the WriteBatchResponse."""
        return self._write.future(request, timeout=CALL_SECONDS)

    def open_writer(self, project: str, run_id: str, writer_id: str) -> Any:
        request = ingest_pb2.OpenWriterRequest(project=project, run_id=run_id, writer_id=writer_id)
        return self._ingest.OpenWriter.future(request, timeout=CALL_SECONDS)

    def progress(self, project: str, run_id: str, writer_id: str) -> Any:
        request = ingest_pb2.ProgressRequest(project=project, run_id=run_id, writer_ids=[writer_id])
        return self._ingest.Progress.future(request, timeout=10)

    def upload(
        self, project: str, run_id: str, path: str, where: dict[str, Any]
    ) -> pb.FileReference:
        """Sends a file's content; blocks. Raises grpc.RpcError, OSError for a missing file."""
        source = Path(where["source"])
        size = source.stat().st_size

        def parts() -> Any:
            header = ingest_pb2.UploadFileHeader(
                project=project, run_id=run_id, path=path, name=where["name"],
                mime_type=where["mime_type"], size_bytes=size,
            )  # fmt: skip
            yield ingest_pb2.UploadFileRequest(header=header)
            with source.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield ingest_pb2.UploadFileRequest(chunk=chunk)

        response: ingest_pb2.UploadFileResponse = self._ingest.UploadFile(parts(), timeout=3600)
        return response.file

    def ask_for_dashboard(self) -> None:
        """Asks once where the dashboard is; `dashboard` has the answer when it came."""
        if self._info is None:
            self._info = self._query.GetServerInfo.future(
                query_pb2.GetServerInfoRequest(), timeout=10
            )
        elif self.dashboard is None and self._info.done():
            failed = self._info.exception() is not None
            self.dashboard = None if failed else self._info.result().dashboard_url
            if failed:
                self._info = None

    @property
    def may_call(self) -> bool:
        return time.monotonic() >= self.try_again_at

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self, error: grpc.RpcError) -> None:
        """Notes when to try again: later after each failure, and not all at once."""
        now = time.monotonic()
        if now < self.try_again_at:
            return
        code = error.code()
        told = _told_pause(error)
        if told is not None:
            pause = told
        elif code in BLOCKED:
            pause = _BLOCKED_PAUSE
        else:
            pause = min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE)
            self._failures += 1
        self.try_again_at = now + pause * random.uniform(0.8, 1.2)

    def close(self) -> None:
        self._channel.close()


def _told_pause(error: grpc.RpcError) -> float | None:
    """Seconds from the server's RetryInfo, if it sent one."""
    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        return None
    try:
        status = rpc_status.from_call(cast(grpc.Call, error))
    except (ValueError, AttributeError):
        return None
    for detail in status.details if status else ():
        info = error_details_pb2.RetryInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
            return float(min(info.retry_delay.ToTimedelta().total_seconds(), 60.0))
    return None
