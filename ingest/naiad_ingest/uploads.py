"""Files: a header, then chunks, into the file store as they come."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import grpc

from naiad_auth import Principal
from naiad_files import FileStore, FileStoreError, WrongContent
from naiad_ingest.errors import Refused, invalid
from naiad_ingest.rights import need_write
from naiad_ingest.validation.batch import check_identity
from naiad_ingest.validation.values import (
    MAX_FILE_NAME_BYTES,
    MAX_MIME_TYPE_BYTES,
    text_problem,
)
from naiad_proto.limits import check_path, shorten
from naiad_proto.v1.ingest_pb2 import UploadFileHeader, UploadFileRequest
from naiad_proto.v1.records_pb2 import FileReference

# A checkpoint of a large model fits; a stream that never ends doesn't fill the disk.
MAX_FILE_BYTES = 100 * 1024**3

_SHA256 = re.compile(r"[0-9a-f]{64}")


async def upload(
    requests: AsyncIterator[UploadFileRequest],
    files: FileStore,
    principal: Principal,
    *,
    max_bytes: int = MAX_FILE_BYTES,
) -> FileReference:
    """Stores what the stream holds. Raises Refused; nothing is stored then."""
    first = await anext(requests, None)
    if first is None or first.WhichOneof("part") != "header":
        raise invalid("the first message of an upload holds its header; send that first")
    header = first.header
    need_write(principal, header.project)
    _check_header(header, max_bytes)
    try:
        return await files.put(
            _content(requests, header),
            name=header.name,
            mime_type=header.mime_type,
            sha256=header.sha256,
        )
    except WrongContent as error:
        raise invalid(f"{_who(header)} is not what its header says: {error}") from error
    except FileStoreError as error:
        raise Refused(
            grpc.StatusCode.UNAVAILABLE, f"{_who(header)} could not be stored: {error}"
        ) from error


async def _content(
    requests: AsyncIterator[UploadFileRequest], header: UploadFileHeader
) -> AsyncIterator[bytes]:
    """The chunks; raises Refused as soon as they can't be what the header says."""
    size = 0
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise invalid(
                f"a message in the middle of {_who(header)} holds no chunk; after the header"
                " come chunks only"
            )
        chunk = request.chunk
        size += len(chunk)
        if size > header.size_bytes:
            raise invalid(
                f"{_who(header)} is longer than the {header.size_bytes} bytes that its header"
                " says; was it changed meanwhile?"
            )
        yield chunk
    if size < header.size_bytes:
        raise invalid(
            f"{_who(header)} ended after {size} of the {header.size_bytes} bytes that its"
            " header says; was it changed meanwhile?"
        )


def _check_header(header: UploadFileHeader, max_bytes: int) -> None:
    check_identity(header.project, header.run_id)
    problem = (
        check_path(header.path)
        or text_problem(f"the name of {_who(header)}", header.name, MAX_FILE_NAME_BYTES)
        or text_problem(f"the MIME type of {_who(header)}", header.mime_type, MAX_MIME_TYPE_BYTES)
    )
    if problem:
        raise invalid(problem)
    if header.sha256 and not _SHA256.fullmatch(header.sha256):
        raise invalid(
            f"the sha256 of {_who(header)}, {shorten(header.sha256)!r}, is not 64 lower-case"
            " hexadecimal digits; correct it or leave it out"
        )
    if header.size_bytes > max_bytes:
        raise invalid(
            f"{_who(header)} has {header.size_bytes:,} bytes; at most {max_bytes:,} are allowed:"
            " cut it into several"
        )


def _who(header: UploadFileHeader) -> str:
    return f"the file for {shorten(header.path)!r}"
