"""A server as the shipper sees it: calls in flight, and when to try again."""

from __future__ import annotations

import enum
import random
import time
from dataclasses import dataclass
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

_BLOCKED_PAUSE = 10.0


class Verdict(enum.Enum):
    """What an error says of the batch that it answers."""

    # The server or the way to it is at fault: send again, with everything else later too.
    RETRY = enum.auto()
    # Someone has to do something first: nothing is given up meanwhile.
    BLOCKED = enum.auto()
    # The server stumbled, perhaps over this very batch: send it again, but hold up no other.
    SUSPECT = enum.auto()
    # Sending it again won't help.
    REFUSED = enum.auto()


_VERDICTS = {
    grpc.StatusCode.UNAVAILABLE: Verdict.RETRY,
    grpc.StatusCode.DEADLINE_EXCEEDED: Verdict.RETRY,
    grpc.StatusCode.ABORTED: Verdict.RETRY,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Verdict.RETRY,
    grpc.StatusCode.CANCELLED: Verdict.RETRY,
    grpc.StatusCode.UNAUTHENTICATED: Verdict.BLOCKED,
    grpc.StatusCode.PERMISSION_DENIED: Verdict.BLOCKED,
    # Not Naiad's server, or a gateway that does not know the way to it (HTTP 404).
    grpc.StatusCode.UNIMPLEMENTED: Verdict.BLOCKED,
    grpc.StatusCode.INVALID_ARGUMENT: Verdict.REFUSED,
}


def verdict(error: grpc.RpcError) -> Verdict:
    return _VERDICTS.get(error.code(), Verdict.SUSPECT)


_NO_CONNECTION = "failed to connect to all addresses; last error: "


def explain(url: str, error: grpc.RpcError) -> str:
    """What went wrong, for whoever waits for it."""
    details = str(error.details() or "")
    if details.startswith(_NO_CONNECTION):
        # gRPC lists what it tried inside of what it tried; the last part is what it was told.
        return f"no server answers at {url}: {details.rpartition(': ')[2]}"
    return f"{url}: {error.code().name}: {details}"


def pause_after(failures: int) -> float:
    """Seconds until the next try after so many failures in a row, jittered, so that a
    thousand clients don't come back as one."""
    # The exponent is bounded: the count of a night without a network is no number to raise to.
    pause: float = min(_FIRST_PAUSE * 2.0 ** min(failures, 16), _LONGEST_PAUSE)
    return pause * random.uniform(0.8, 1.2)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files for grpcs:// URLs; empty where there is none."""

    ca: str = ""
    cert: str = ""
    key: str = ""


class Server:
    """One server under one token, shared by all spools that go there."""

    def __init__(self, url: str, token: str | None, tls: TlsFiles) -> None:
        """Raises ValueError for a malformed URL, OSError for an unreadable certificate."""
        self.url = url
        self._channel = open_channel(
            url, token, ca_file=tls.ca or None, cert_file=tls.cert or None, key_file=tls.key or None
        )
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
        # Nobody asked for the pause: it is a guess of when to try again.
        self._pause_is_ours = True
        # How many batches it has taken: tells a sick server from one that stumbles over one.
        self.taken = 0
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
        """Sends a file's content; blocks. Raises grpc.RpcError, or OSError for a file that
        can't be read."""
        source = Path(where["source"])
        size = source.stat().st_size
        unreadable: list[OSError] = []

        def parts() -> Any:
            header = ingest_pb2.UploadFileHeader(
                project=project, run_id=run_id, path=path, name=where["name"],
                mime_type=where["mime_type"], size_bytes=size,
            )  # fmt: skip
            yield ingest_pb2.UploadFileRequest(header=header)
            try:
                with source.open("rb") as file:
                    while chunk := file.read(_CHUNK):
                        yield ingest_pb2.UploadFileRequest(chunk=chunk)
            except OSError as error:
                # gRPC would only say UNKNOWN, and it would be tried for ever.
                unreadable.append(error)
                raise

        try:
            response: ingest_pb2.UploadFileResponse = self._ingest.UploadFile(parts(), timeout=3600)
        except grpc.RpcError as error:
            if unreadable:
                raise unreadable[0] from error
            raise
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
        self.taken += 1

    def failed(self, error: grpc.RpcError) -> None:
        """Notes when to try again: later after each failure, and not all at once."""
        now = time.monotonic()
        if now < self.try_again_at:
            # Another call of the same moment has said so already.
            return
        told = _told_pause(error)
        self._pause_is_ours = told is None and verdict(error) is not Verdict.BLOCKED
        if told is not None:
            pause = told * random.uniform(1.0, 1.2)
        elif verdict(error) is Verdict.BLOCKED:
            pause = _BLOCKED_PAUSE * random.uniform(0.8, 1.2)
        else:
            pause = pause_after(self._failures)
            self._failures += 1
        self.try_again_at = now + pause

    def hurry(self) -> None:
        """For somebody new: who starts a training may have started the server a moment ago, and
        would wait for the rest of a pause of many failures. A pause that the server asked for
        stays, and one in which a person has to do something."""
        if self._pause_is_ours:
            self._failures = 0
            self.try_again_at = 0.0

    def close(self) -> None:
        self._channel.close()


def _told_pause(error: grpc.RpcError) -> float | None:
    """Seconds from the server's RetryInfo, if it sent one."""
    try:
        status = rpc_status.from_call(cast(grpc.Call, error))
    except (ValueError, AttributeError):
        return None
    for detail in status.details if status else ():
        info = error_details_pb2.RetryInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
            return float(min(info.retry_delay.ToTimedelta().total_seconds(), 60.0))
    return None
