"""From a URL to a file store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from naiad_files.interface import FileStore
from naiad_files.local import LocalFileStore


def open_file_store(url: str) -> FileStore:
    """The store at `url`: file:///absolute/folder, made if it isn't there.

    Raises ValueError for any other URL, FileStoreError where the folder can't be written.
    """
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc or not parts.path.startswith("/"):
        raise ValueError(f"file store URL {url!r} is not of the form file:///absolute/folder")
    return LocalFileStore(Path(unquote(parts.path)))
