"""UploadFile into a real file store: what is stored, and what a wrong upload is told."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from support_batches import PROJECT, RUN, batch, group
from support_ingest import Ingest, serving_ingest
from support_naiad import LONGER

from naiad_auth import ANONYMOUS, TokenStore
from naiad_ingest import MAX_FILE_BYTES
from naiad_ingest.errors import Refused
from naiad_ingest.uploads import upload
from naiad_ingest.validation import check_batch
from naiad_proto.v1.ingest_pb2 import UploadFileHeader, UploadFileRequest
from naiad_proto.v1.ingest_pb2_grpc import IngestServiceStub
from naiad_proto.v1.records_pb2 import FilePoint, FileReference, Item

CONTENT = bytes(range(256)) * 10_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def header(**changes: object) -> UploadFileRequest:
    fields = {
        "project": PROJECT,
        "run_id": RUN,
        "path": "model/weights",
        "name": "weights.bin",
        "mime_type": "application/octet-stream",
        "size_bytes": len(CONTENT),
        "sha256": SHA256,
    }
    return UploadFileRequest(header=UploadFileHeader(**(fields | changes)))  # type: ignore[arg-type]


def chunks(content: bytes = CONTENT, size: int = 1 << 20) -> Iterator[UploadFileRequest]:
    for at in range(0, len(content), size):
        yield UploadFileRequest(chunk=content[at : at + size])


async def send(ingest: Ingest, *requests: UploadFileRequest, token: str = "") -> FileReference:
    """With gRPC's threads, as shippers do: grpc.aio forgets what a server answers that does not
    wait for the end of a stream, and says INTERNAL."""
    metadata = [("authorization", f"Bearer {token}")] if token else []

    def call() -> FileReference:
        with grpc.insecure_channel(f"127.0.0.1:{ingest.port}") as channel:
            upload = IngestServiceStub(channel).UploadFile
            return upload(iter(requests), metadata=metadata, timeout=20 * LONGER).file

    return await asyncio.to_thread(call)


async def content_of(ingest: Ingest, key: str) -> bytes:
    return b"".join([chunk async for chunk in ingest.files.read(key)])


async def test_a_file_is_stored_and_its_reference_can_be_logged(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        file = await send(ingest, header(), *chunks())
        assert (file.sha256, file.size_bytes) == (SHA256, len(CONTENT))
        assert (file.name, file.mime_type) == ("weights.bin", "application/octet-stream")
        assert await content_of(ingest, file.key) == CONTENT
        point = Item(record=1, timestamp=1, file_point=FilePoint(path="f", file=file))
        assert check_batch(batch(group(), point)) == []


async def test_chunks_of_any_size_and_an_empty_file(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        file = await send(ingest, header(sha256=""), *chunks(size=100_001))
        assert file.sha256 == SHA256
        # The same content again is the same file.
        assert (await send(ingest, header(), *chunks())).key == file.key
        empty = await send(ingest, header(size_bytes=0, sha256=""))
        assert empty.size_bytes == 0
        assert await content_of(ingest, empty.key) == b""


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        ([], "send that first"),
        ([UploadFileRequest()], "send that first"),
        ([*chunks()], "send that first"),
        ([header(), header()], "chunks only"),
        ([header(), UploadFileRequest()], "chunks only"),
        ([header(), *chunks(CONTENT + b"x")], "longer than the 2560000 bytes"),
        ([header(), *chunks(CONTENT[:-1])], "2559999 of the 2560000 bytes"),
        ([header(), *chunks(CONTENT[:-1] + b"x")], "sha256"),
        ([header(sha256="abc"), *chunks()], "64 lower-case"),
        ([header(sha256=SHA256.upper()), *chunks()], "64 lower-case"),
        ([header(path=""), *chunks()], "path is empty"),
        ([header(run_id="a/b"), *chunks()], "slash"),
        ([header(project="one"), *chunks()], "workspace/name"),
        ([header(name="a\nb"), *chunks()], "the name of the file for 'model/weights'"),
        ([header(mime_type="x" * 300), *chunks()], "the MIME type of the file"),
        ([header(size_bytes=MAX_FILE_BYTES + 1), *chunks()], "cut it into several"),
    ],
)
async def test_a_wrong_upload_is_told_what_is_wrong_and_leaves_nothing(
    tmp_path: Path, requests: list[UploadFileRequest], said: str
) -> None:
    async with serving_ingest(tmp_path) as ingest:
        with pytest.raises(grpc.RpcError) as caught:
            await send(ingest, *requests)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, caught.value.details()
        assert said in (caught.value.details() or "")
        stored = [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
        assert stored == []
        # The next one is served.
        assert (await send(ingest, header(), *chunks())).sha256 == SHA256


async def test_only_who_may_write_the_project_uploads(tmp_path: Path) -> None:
    tokens = TokenStore(tmp_path / "tokens.json")
    async with serving_ingest(tmp_path, tokens) as ingest:
        for token in (tokens.create(read_only=True), tokens.create(project="team/other")):
            with pytest.raises(grpc.RpcError) as caught:
                await send(ingest, header(), *chunks(), token=token)
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        file = await send(ingest, header(), *chunks(), token=tokens.create(project=PROJECT))
        assert file.sha256 == SHA256


async def test_a_stream_that_never_ends_is_stopped_at_the_size_that_it_said(
    tmp_path: Path,
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[UploadFileRequest]:
        nonlocal sent
        yield header(size_bytes=10 << 20, sha256="")
        while True:
            sent += 1
            yield UploadFileRequest(chunk=bytes(1 << 20))

    async with serving_ingest(tmp_path) as ingest:
        with pytest.raises(Refused, match="longer than"):
            await upload(endless(), ingest.files, ANONYMOUS)
        assert sent == 11
