"""Files in a bucket of S3 or of what speaks its protocol.

A file stands under ``PREFIX/ab/cd…`` (the content's SHA-256), as in a folder. An object gets
its name only when it is whole: small ones come in one request, large ones as a multipart
upload that is completed after the digest was found right, and given up otherwise. A key is
made of the content, which is known at the end; so a large file whose digest was not announced
waits in a temporary file on this machine, the others go through in pieces.

What a killed process had under way stays in the bucket as an unfinished multipart upload,
which no reader sees: a lifecycle rule of the bucket removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from naiad_files.interface import (
    FileNotFound,
    FileStoreError,
    check_content,
    path_of,
    reference,
)
from naiad_files.local import disk_errors
from naiad_files.s3_url import Bucket
from naiad_proto.v1.records_pb2 import FileReference

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import S3Config

# S3 takes 10,000 parts at most: these make 156 GiB, more than ingest lets through.
PART_BYTES = 16 * 1024 * 1024
# Each upload under way holds this many parts, and one that fills.
_PARTS_AT_A_TIME = 2
_PIECE = 8 * 1024 * 1024
_MARK = ".naiad"
_GIVE_UP_SECONDS = 30
# What is put once more is written again when it is older, so that it is as new.
_FRESH_SECONDS = 24 * 3600.0

# "<Code>NoSuchBucket</Code>", but nothing else of an answer: it may repeat what was signed.
_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3} [A-Za-z ]+)")
_ADVICE = {
    "NoSuchBucket": "there is no such bucket: make it, or correct the URL",
    "InvalidAccessKeyId": "it does not know the key: correct AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret does not fit the key: correct AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the session's token is too old: renew AWS_SESSION_TOKEN",
    "AccessDenied": "the key lacks a right; it needs s3:PutObject, s3:GetObject,"
    " s3:AbortMultipartUpload and, for the bucket, s3:ListBucket",
    "403 Forbidden": "the key is wrong or lacks a right; it needs s3:PutObject, s3:GetObject,"
    " s3:AbortMultipartUpload and, for the bucket, s3:ListBucket",
    "AuthorizationHeaderMalformed": "is the region in the URL the bucket's?",
    "PermanentRedirect": "is the region in the URL the bucket's?",
    "RequestTimeTooSkewed": "the clock of this machine or of the store is wrong",
}


def objects_of(bucket: Bucket) -> S3Store:
    """The bucket's objects below its prefix."""
    return S3Store(
        bucket.name,
        prefix=bucket.prefix or None,
        config={"region": bucket.region, **_endpoint(bucket)},
        client_options={
            "allow_http": bucket.endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=5),
            # For one request, which moves one part: 0.14 MB/s will do.
            "timeout": timedelta(seconds=120),
        },
        # What 20 s don't mend is told: the caller has its own, longer patience.
        retry_config={"max_retries": 6, "retry_timeout": timedelta(seconds=20)},
    )


class S3FileStore:
    """`FileStore` in `bucket`; any number of processes may use one."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._store = objects_of(bucket)

    async def put(
        self, chunks: AsyncIterable[bytes], *, name: str, mime_type: str, sha256: str = ""
    ) -> FileReference:
        content = _Content(chunks)
        first = await content.take(PART_BYTES)
        if content.ended:
            check_content(content.digest, sha256)
            if not await self._is_fresh(content.digest):
                with self._errors():
                    await obstore.put_async(
                        self._store, path_of(content.digest), first, use_multipart=False
                    )
        elif sha256 and not await self._is_fresh(sha256):
            await self._send(path_of(sha256), content.pieces(first, sha256))
        elif sha256:  # there already; what comes is looked at all the same
            async for _ in content.pieces(first, sha256):
                pass
        else:
            with disk_errors():
                file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
            with file:
                async for piece in content.pieces(first, sha256):
                    with disk_errors():
                        await asyncio.to_thread(file.write, piece)
                if not await self._is_fresh(content.digest):
                    await self._send(path_of(content.digest), _read(file))
        return reference(content.digest, content.size, name, mime_type)

    async def read(self, key: str) -> AsyncIterator[bytes]:
        path = path_of(key)
        size = await self._size(key)
        if size is None:
            raise FileNotFound(f"there is no file {key!r}")
        # In ranges: each is a request with its own retries, and none lasts long.
        for start in range(0, size, _PIECE):
            with self._errors(key):
                piece = await obstore.get_range_async(
                    self._store, path, start=start, end=min(start + _PIECE, size)
                )
            yield piece.to_bytes()

    async def exists(self, key: str) -> bool:
        try:
            return await self._size(key) is not None
        except FileNotFound:
            return False

    async def remove(self, key: str, before: float) -> int:
        found = await self._head(key)
        if found is None or found["last_modified"].timestamp() >= before:
            return 0
        with self._errors(key):
            await obstore.delete_async(self._store, path_of(key))
        return found["size"]

    async def check(self) -> None:
        with self._errors():
            await obstore.put_async(self._store, _MARK, b"Naiad keeps files here.\n")
            await obstore.get_range_async(self._store, _MARK, start=0, length=5)

    async def _size(self, key: str) -> int | None:
        """How large the file is; None if there is none."""
        found = await self._head(key)
        return None if found is None else found["size"]

    async def _is_fresh(self, key: str) -> bool:
        """Whether it is there, and need not be put again to be as new."""
        found = await self._head(key)
        age = _FRESH_SECONDS if found is None else time.time() - found["last_modified"].timestamp()
        return age < _FRESH_SECONDS

    async def _head(self, key: str) -> ObjectMeta | None:
        """None if there is no such file."""
        path = path_of(key)
        try:
            with self._errors(key):
                return await obstore.head_async(self._store, path)
        except FileNotFound:
            # HEAD's answer has no body, which would say whether there is a bucket.
            with contextlib.suppress(FileNotFound), self._errors(key):
                await obstore.get_range_async(self._store, path, start=0, length=1)
            return None

    async def _send(self, path: str, pieces: AsyncGenerator[bytes]) -> None:
        """Sends `pieces` as one object. If they raise, or this is cancelled, what was sent of
        it is removed."""
        source = _Source(pieces)
        sending = asyncio.ensure_future(
            obstore.put_async(
                self._store,
                path,
                source,
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=_PARTS_AT_A_TIME,
            )
        )
        try:
            with self._errors():
                await asyncio.shield(sending)
        except asyncio.CancelledError:
            source.give_up()
            # It ends at the next piece; its own outcome no longer matters.
            await asyncio.wait([sending], timeout=_GIVE_UP_SECONDS)
            sending.cancel() or sending.exception()
            raise
        except FileStoreError:
            if source.failure is not None:
                raise source.failure from None
            raise
        finally:
            await pieces.aclose()

    @contextlib.contextmanager
    def _errors(self, key: str = "") -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            raise self._error(error, key) from None

    def _error(self, error: Exception, key: str) -> FileStoreError:
        said = str(error).partition("\n\nDebug source:")[0]
        code = _CODE.search(said)
        status = _STATUS.search(said)
        what = code[1] if code else status[1].strip() if status else ""
        if isinstance(error, FileNotFoundError) and key and what in {"NoSuchKey", "404 Not Found"}:
            return FileNotFound(f"there is no file {key!r}")
        if not what:
            # Its own words, such as "HTTP error: error sending request"; no answer came.
            why = said.partition(" - ")[2].strip() or type(error).__name__
            return FileStoreError(f"{self._bucket} can't be reached: {why}")
        advice = _ADVICE.get(what)
        return FileStoreError(f"{self._bucket} answers {what}" + (f": {advice}" if advice else ""))


def _endpoint(bucket: Bucket) -> S3Config:
    return {"endpoint": bucket.endpoint} if bucket.endpoint else {}


class _GivenUp(Exception):
    """Nobody wants the upload any more."""


class _Source:
    """Pieces for obstore, which removes the parts it sent when its source fails, but not when
    it is cancelled: so a cancelled upload fails here."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._given_up = False
        self._next: asyncio.Future[bytes] | None = None
        self.failure: BaseException | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._given_up:
            raise _GivenUp
        self._next = asyncio.ensure_future(anext(self._pieces))
        try:
            return await self._next
        except StopAsyncIteration:
            raise
        except asyncio.CancelledError:
            raise _GivenUp from None
        except BaseException as error:
            self.failure = error
            raise

    def give_up(self) -> None:
        self._given_up = True
        if self._next is not None:
            self._next.cancel()


class _Content:
    """Chunks of any size, counted and digested on their way."""

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks = aiter(chunks)
        self._digest = hashlib.sha256()
        self.size = 0
        self.ended = False

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()

    async def take(self, size: int) -> bytes:
        """The first chunks: more than `size` bytes, unless it `ended` before."""
        taken: list[bytes] = []
        while self.size <= size and not self.ended:
            taken.append(await self._next())
        return b"".join(taken)

    async def pieces(self, first: bytes, announced: str) -> AsyncGenerator[bytes]:
        """All of it, `first` being what was taken. Raises `WrongContent` at the end."""
        yield first
        while not self.ended:
            yield await self._next()
        check_content(self.digest, announced)

    async def _next(self) -> bytes:
        chunk = await anext(self._chunks, None)
        if chunk is None:
            self.ended = True
            return b""
        self.size += len(chunk)
        await asyncio.to_thread(self._digest.update, chunk)
        return chunk


async def _read(file: BinaryIO) -> AsyncGenerator[bytes]:
    with disk_errors():
        await asyncio.to_thread(file.seek, 0, os.SEEK_SET)
    while True:
        with disk_errors():
            piece = await asyncio.to_thread(file.read, _PIECE)
        if not piece:
            return
        yield piece
