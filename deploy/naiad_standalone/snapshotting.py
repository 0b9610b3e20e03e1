"""Snapshots of a store and its log, taken by a server or a command."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from naiad_consumers.writer import GROUP
from naiad_eventlog import EventLog
from naiad_eventlog.topics import RECORDS
from naiad_store import Store
from naiad_store.collecting import leavings
from naiad_store.contents import FROM_LOG, OWN, content_of
from naiad_store.rollupcheck import check_rollups
from naiad_store.snapshot_places import Bucket, Folder, Place
from naiad_store.snapshots import take_snapshot


@contextlib.contextmanager
def place_of(target: str) -> Iterator[Place]:
    """A folder's path, `file:///folder` or `s3://bucket/prefix` with the options that
    NAIAD_FILES takes. Raises ValueError for another."""
    scheme, separator, rest = target.partition("://")
    if not separator or scheme == "file":
        path = Path(rest if separator else target)
        if not path.is_absolute():
            raise ValueError(f"{target} is not an absolute path")
        yield Folder(path)
        return
    if scheme != "s3":
        raise ValueError(f"{target}: use a folder or s3://bucket/prefix")
    from naiad_files.s3 import objects_of
    from naiad_files.s3_url import Bucket as Named

    bucket = Named.from_url(target)
    with tempfile.TemporaryDirectory(prefix="naiad-snapshot-") as scratch:
        yield Bucket(objects_of(bucket), str(bucket), Path(scratch))


async def snapshot(
    log: EventLog, store: Store, target: str, say: Callable[[str], None]
) -> dict[str, Any]:
    """What was taken, in figures. Raises SnapshotError, ValueError and what the engines raise."""
    committed = await log.committed(RECORDS.name, GROUP)
    offsets = {RECORDS.name: {where.partition: offset for where, offset in committed.items()}}

    def take() -> dict[str, Any]:
        with place_of(target) as place:
            manifest = take_snapshot(store, place, offsets, say)
            return {
                "rows": manifest.rows,
                "size_bytes": manifest.size_bytes,
                "place": place.named,
            }

    return await asyncio.to_thread(take)


def rollups(store: Store) -> dict[str, Any]:
    """What comparing a sample of them with their points gives, and what the roller has left."""
    return asdict(check_rollups(store)) | {"left": leavings(store)._asdict()}


def contents(store: Store) -> dict[str, Any]:
    """Rows and checksum of each table."""
    return {table: list(content_of(store, table)) for table in (*FROM_LOG, *OWN)}
