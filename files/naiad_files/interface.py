"""What every file store can do, and what it raises."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Protocol

from naiad_proto.v1.records_pb2 import FileReference


class FileStoreError(Exception):
    """The store can't take or give a file just now: no space, no permission, a broken disk."""


class FileNotFound(FileStoreError):
    """There is no file under this key."""


class WrongContent(ValueError):
    """What came is not what was announced; the message says both digests."""


class FileStore(Protocol):
    """Files by a key made of their content."""

    async def put(
        self, chunks: AsyncIterable[bytes], *, name: str, mime_type: str, sha256: str = ""
    ) -> FileReference:
        """Stores what `chunks` give and returns when it is on disk.

        With `sha256` (lower-case hexadecimal) given, content of another digest raises
        `WrongContent`. Raises `FileStoreError`, and whatever `chunks` raise; nothing is
        stored then.
        """
        ...

    def read(self, key: str) -> AsyncIterator[bytes]:
        """The content under `key`, in pieces. Raises `FileNotFound`, `FileStoreError`."""
        ...

    async def exists(self, key: str) -> bool: ...
