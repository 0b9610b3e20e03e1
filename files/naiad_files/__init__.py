"""Where files are kept that runs log: checkpoints, images, diffs, configuration files.

Enter: bytes, in pieces of any size. Leave: a `FileReference` whose key is made of the
content, and later the same bytes. Promised: a reference exists only when its file is whole
and kept; the same content is kept once; nobody ever sees half a file, whatever is killed
meanwhile. A URL says where: a folder (`file:///…`) or a bucket (`s3://…`).
"""

from naiad_files.interface import FileNotFound, FileStore, FileStoreError, WrongContent
from naiad_files.local import LocalFileStore
from naiad_files.opening import open_file_store

__all__ = [
    "FileNotFound",
    "FileStore",
    "FileStoreError",
    "LocalFileStore",
    "WrongContent",
    "open_file_store",
]
