"""From a URL to a file store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from naiad_files.interface import FileStore
from naiad_files.local import LocalFileStore

_FORMS = "file:///absolute/folder or s3://bucket/prefix?endpoint=...&region=..."


def open_file_store(url: str) -> FileStore:
    """The store at `url`: a folder, made if it isn't there, or a bucket, which must be there.

    Raises ValueError for any other URL, FileStoreError where the folder can't be written. A
    bucket is first asked when it is used; `check` does nothing else.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3":
        # obstore is only there, and only loaded, where a bucket is used.
        from naiad_files.s3 import S3FileStore
        from naiad_files.s3_url import Bucket

        return S3FileStore(Bucket.from_url(url))
    if parts.scheme != "file" or parts.netloc or not parts.path.startswith("/"):
        # Not the URL itself: whatever it is, it may hold a password.
        raise ValueError(f"file store URL of scheme {parts.scheme!r} is not of the form {_FORMS}")
    return LocalFileStore(Path(unquote(parts.path)))
