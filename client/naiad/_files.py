"""Files on their way into the spool: small ones as copies, large ones by name."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from naiad._session import Session, now_ms
from naiad.types import File
from naiad_proto.v1 import records_pb2 as pb

# Files up to this size are copied when they are logged, so that the caller may change them at
# once; larger ones are read in place when they are sent.
COPIED_BYTES = 16 * 1024 * 1024


def spool_files(session: Session, files: Mapping[str, File]) -> list[str]:
    """As attributes; returns what was wrong with those that can't be kept."""
    problems = []
    for path, file in files.items():
        item = pb.Item(timestamp=now_ms(), set_attribute=pb.SetAttribute(path=path))
        problems += spool_file(session, path, file, item)
    return problems


def spool_file(session: Session, path: str, file: File, item: pb.Item) -> list[str]:
    """With the item that names it."""
    name, mime_type = file.name_for(path), file.mime_type_for(path)
    try:
        if isinstance(file.source, bytes):
            source = session.spool.place_for_file()
            source.write_bytes(file.source)
        else:
            source = Path(file.source).absolute()
            if source.stat().st_size <= COPIED_BYTES:
                copy = session.spool.place_for_file()
                shutil.copyfile(source, copy)
                source = copy
        own = source.is_relative_to(session.spool.folder)
        session.spool.file(
            item, {"source": str(source), "name": name, "mime_type": mime_type, "own": own}
        )
    except OSError as error:
        return [f"the file for {path!r} can't be kept: {error}"]
    return []
