"""What every file store can do, and what it raises."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator
from typing import Protocol

from naiad_proto.v1.records_pb2 import FileReference

_KEY = re.compile(r"[0-9a-f]{64}")


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

    async def remove(self, key: str, before: float) -> int:
        """Removes the file, unless it was put, or put once more, at `before` (Unix seconds) or
        later; returns its bytes, 0 where nothing was removed. Raises `FileStoreError`."""
        ...

    async def check(self) -> None:
        """Returns if files can be written and read now. Raises `FileStoreError` otherwise."""
        ...


def reference(digest: str, size: int, name: str, mime_type: str) -> FileReference:
    return FileReference(key=digest, size_bytes=size, mime_type=mime_type, sha256=digest, name=name)


def check_content(found: str, announced: str) -> None:
    """Raises `WrongContent` unless the digest found is the one announced, if any was."""
    if announced and found != announced:
        raise WrongContent(
            f"the content's sha256 is {found}, announced was {announced}; was the file"
            " changed meanwhile?"
        )


def path_of(key: str) -> str:
    """Where a file stands within a store. Raises `FileNotFound`: a key from outside must not
    become a path to somewhere else."""
    if not _KEY.fullmatch(key):
        raise FileNotFound(f"{key!r} is not the key of a file")
    return f"{key[:2]}/{key[2:]}"
