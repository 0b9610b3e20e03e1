"""Files in a folder of this machine.

The folder holds ``ab/cd…`` (the content's SHA-256, its first two digits as a folder) and
``coming/`` for those on their way. A file gets its name by a rename after its content was
synced, so under that name there is the whole of it or nothing. What a killed process left in
``coming`` is removed a day later.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from naiad_files.interface import (
    FileNotFound,
    FileStoreError,
    check_content,
    path_of,
    reference,
)
from naiad_proto.v1.records_pb2 import FileReference

_PIECE = 1024 * 1024
_LEFT_OVER_AFTER = 24 * 3600.0


class LocalFileStore:
    """`FileStore` in `folder`; several processes may use one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._coming = folder / "coming"
        try:
            self._coming.mkdir(parents=True, exist_ok=True)
            self._remove_left_over()
        except OSError as error:
            raise FileStoreError(f"the file store {folder} can't be written: {error}") from error

    async def put(
        self, chunks: AsyncIterable[bytes], *, name: str, mime_type: str, sha256: str = ""
    ) -> FileReference:
        digest = hashlib.sha256()
        size = 0
        with disk_errors():
            handle, path = await asyncio.to_thread(tempfile.mkstemp, dir=self._coming)
        file = os.fdopen(handle, "wb")
        try:
            async for chunk in chunks:
                size += len(chunk)
                await asyncio.to_thread(digest.update, chunk)
                with disk_errors():
                    await asyncio.to_thread(file.write, chunk)
            found = digest.hexdigest()
            check_content(found, sha256)
            with disk_errors():
                await asyncio.to_thread(self._keep, file, path, found)
        finally:
            with disk_errors():
                file.close()
                with contextlib.suppress(FileNotFoundError):  # kept: renamed
                    os.unlink(path)
        return reference(found, size, name, mime_type)

    async def read(self, key: str) -> AsyncIterator[bytes]:
        path = self._path(key)
        with disk_errors():
            try:
                file = await asyncio.to_thread(path.open, "rb")
            except FileNotFoundError:
                raise FileNotFound(f"there is no file {key!r}") from None
        with file:
            while True:
                with disk_errors():
                    piece = await asyncio.to_thread(file.read, _PIECE)
                if not piece:
                    return
                yield piece

    async def exists(self, key: str) -> bool:
        try:
            path = self._path(key)
        except FileNotFound:
            return False
        return await asyncio.to_thread(path.is_file)

    async def remove(self, key: str, before: float) -> int:
        path = self._path(key)
        with disk_errors():
            return await asyncio.to_thread(_remove, path, before)

    async def check(self) -> None:
        with disk_errors(), tempfile.TemporaryFile(dir=self._coming) as file:
            file.write(b"Naiad")
            file.flush()

    def _path(self, key: str) -> Path:
        return self._folder / path_of(key)

    def _keep(self, file: BinaryIO, path: str, key: str) -> None:
        """Syncs, then names."""
        file.flush()
        os.fsync(file.fileno())
        target = self._path(key)
        if target.is_file():
            # As new, so that nobody removes what somebody is about to refer to.
            os.utime(target)
            return
        target.parent.mkdir(exist_ok=True)
        os.rename(path, target)
        for folder in (target.parent, self._folder):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _remove_left_over(self) -> None:
        before = time.time() - _LEFT_OVER_AFTER
        for entry in os.scandir(self._coming):
            try:
                if entry.stat().st_mtime < before:
                    os.unlink(entry.path)
            except FileNotFoundError:
                continue


def _remove(path: Path, before: float) -> int:
    try:
        found = path.stat()
        if found.st_mtime >= before:
            return 0
        path.unlink()
    except FileNotFoundError:
        return 0
    return found.st_size


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """What the disk says, as a `FileStoreError`; not around what the caller's chunks raise."""
    try:
        yield
    except OSError as error:
        raise FileStoreError(str(error)) from error
