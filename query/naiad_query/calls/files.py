"""Calls for the content of files."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc

from naiad_files import FileNotFound, FileStore, FileStoreError
from naiad_proto.limits import shorten
from naiad_proto.v1 import query_pb2 as pb
from naiad_query.calls.answering import Answering, Context
from naiad_query.errors import Refused
from naiad_store.selects import attributes


class FileCalls(Answering):
    _files: FileStore

    async def DownloadFile(
        self, request: pb.DownloadFileRequest, context: Context
    ) -> AsyncIterator[pb.DownloadFileResponse]:
        def check() -> None:
            self._need(request.project)
            if not attributes.has_file(self._store, request.project, request.file.key):
                raise Refused(
                    grpc.StatusCode.NOT_FOUND,
                    f"project {request.project!r} has no file {shorten(request.file.key)!r}",
                )

        await self._one(context, check)
        try:
            async for piece in self._files.read(request.file.key):
                yield pb.DownloadFileResponse(chunk=piece)
        except FileNotFound as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except FileStoreError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"{error}; ask again")
