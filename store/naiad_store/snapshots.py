"""Snapshots: a copy of the store in Parquet files, and a store made from one.

Enters: an open store and how far its rows go in the log. Leaves: a place with a file or more
for each table and a manifest that names them, with rows, checksums and those offsets; or, the
other way, an empty store that is full.

Promised:
- The log from the manifest's offsets on, read once more, gives everything that the snapshot
  lacks: offsets are asked for before the tables are read, and rows commute.
- What has no manifest is no snapshot. Whatever is cut off can be done again in the same place.
- A file that is not as the manifest says is refused by name before a row of it is in the store.
- A store takes a snapshot only while it is empty, and then as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from naiad_store.contents import DERIVED, FROM_LOG, OWN, Content, columns_of, content_of, hash_of
from naiad_store.errors import StoreError, StoreTooNew
from naiad_store.migrating import known_migrations
from naiad_store.snapshot_places import MANIFEST, MARK, Place, SnapshotError
from naiad_store.store import Store
from naiad_store.swapping import RESTORE, beside, discard, swap

# Raised when a newer release writes snapshots that this one would misread.
FORMAT = 1
# Rows of a file, about: what is lost of a copy that was cut off, and held in scratch space.
_FILE_ROWS = 5_000_000
# Rows that go into the store at once.
_INSERT_ROWS = 250_000

# topic -> partition -> the offset from which on the log has what the tables may lack.
Offsets = Mapping[str, Mapping[int, int]]
OnProgress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    name: str
    rows: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SnapshotTable:
    rows: int
    checksum: int
    columns: list[str]
    files: list[SnapshotFile]


@dataclass(frozen=True, slots=True)
class Manifest:
    made_at: str
    # The newest migration of the store that it was taken of.
    migration: int
    offsets: dict[str, dict[int, int]]
    tables: dict[str, SnapshotTable]
    format: int = FORMAT

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables.values())

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for table in self.tables.values() for file in table.files)

    def to_bytes(self) -> bytes:
        body = json.dumps(asdict(self), indent=1)
        return json.dumps({"sha256": _sha256(body.encode()), "manifest": body}).encode()


@dataclass
class _Files:
    """Files of a table, written one after the other."""

    place: Place
    table: str
    made: list[SnapshotFile] = field(default_factory=list)

    def write(self, batches: Iterator[pa.RecordBatch]) -> int:
        """Writes all rows; returns the sum of their hashes, which are the last column."""
        total, batch = 0, next(batches, None)
        while batch is not None:
            name = f"{self.table}-{len(self.made) + 1:05}.parquet"
            rows = 0
            with self.place.new_file(name) as path:
                schema = batch.schema.remove(len(batch.schema) - 1)
                with pq.ParquetWriter(path, schema, compression="zstd") as writer:
                    while batch is not None and rows < _FILE_ROWS:
                        hashes = batch.column(batch.num_columns - 1).to_numpy(zero_copy_only=False)
                        total += int(np.add.reduce(hashes.astype(np.uint64), dtype=np.uint64))
                        writer.write_batch(batch.select(schema.names))
                        rows += batch.num_rows
                        batch = next(batches, None)
                digest, size = _digest(path)
            self.made.append(SnapshotFile(name, rows, size, digest))
        return total % (1 << 64)


def take_snapshot(
    store: Store, place: Place, offsets: Offsets, on_progress: OnProgress = lambda _: None
) -> Manifest:
    """`offsets`: asked of the log before this is called. Raises SnapshotError and StoreError."""
    _make_ready(place)
    tables = {}
    for table in (*FROM_LOG, *OWN):
        columns = columns_of(store, table)
        listed = ", ".join(f"`{name}`" for name in columns)
        rows = store.stream(
            f"SELECT {listed}, {hash_of(table, columns)} AS hash_of_row FROM {table} FINAL"
        )
        files = _Files(place, table)
        checksum = files.write(rows)
        count = sum(file.rows for file in files.made)
        tables[table] = SnapshotTable(count, checksum, columns, files.made)
        on_progress(f"{table}: {count:,} rows")
    manifest = Manifest(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        migration=len(known_migrations()),
        offsets={topic: dict(parts) for topic, parts in offsets.items()},
        tables=tables,
    )
    place.write(MANIFEST, manifest.to_bytes())
    place.remove(MARK)
    return manifest


def read_manifest(place: Place) -> Manifest:
    """Raises SnapshotError for what is no finished snapshot, or one of a newer release."""
    names = place.names()
    if MANIFEST not in names:
        if MARK in names:
            raise SnapshotError(
                f"the snapshot in {place.named} was cut off and never finished; take it again"
            )
        raise SnapshotError(f"{place.named} holds no snapshot: there is no {MANIFEST}")
    try:
        outer = json.loads(place.read(MANIFEST))
        body = str(outer["manifest"])
        if _sha256(body.encode()) != outer["sha256"]:
            raise ValueError("its checksum differs")
        inner = json.loads(body)
        if inner["format"] > FORMAT:
            raise StoreTooNew(
                f"the snapshot in {place.named} has format {inner['format']}, made by a newer"
                f" Naiad; this one reads up to {FORMAT}: upgrade"
            )
        manifest = _manifest_of(inner)
    except (ValueError, KeyError, TypeError) as error:
        raise SnapshotError(
            f"{MANIFEST} in {place.named} is damaged ({error}); use another snapshot"
        ) from error
    if manifest.migration > len(known_migrations()):
        raise StoreTooNew(
            f"the snapshot in {place.named} is of a store of a newer Naiad (migration"
            f" {manifest.migration}); upgrade"
        )
    return manifest


def check_snapshot(
    place: Place, manifest: Manifest, on_progress: OnProgress = lambda _: None
) -> None:
    """Reads every file. Raises SnapshotError naming the first that isn't as it was written."""
    names = place.names()
    for name, table in manifest.tables.items():
        for file in table.files:
            if file.name not in names:
                raise SnapshotError(
                    f"{file.name} is missing in {place.named}; use another snapshot"
                )
        for file in table.files:
            with place.file(file.name) as path:
                _check_file(place, file, path)
        on_progress(f"{name}: {table.rows:,} rows are as they were written")


def restore_snapshot(
    store: Store, place: Place, on_progress: OnProgress = lambda _: None
) -> Manifest:
    """Fills `store`, which has its tables, and no rows in them. Raises SnapshotError and
    StoreError, and then it is as empty as before."""
    manifest = read_manifest(place)
    for table in (*FROM_LOG, *OWN):
        if store.query(f"SELECT 1 FROM {table} LIMIT 1").num_rows:
            raise SnapshotError(
                f"the store {store.named} is not empty: its table {table} has rows. A snapshot is"
                " restored into an empty store only"
            )
    tables = [table for table in (*FROM_LOG, *OWN) if table in manifest.tables]
    try:
        with beside(store, RESTORE) as fresh:
            fill(fresh, place, manifest, on_progress)
            for table in tables:
                _compare(fresh, place, table, manifest.tables[table])
    except BaseException:
        with contextlib.suppress(StoreError):
            discard(store, RESTORE)
        raise
    swap(store, RESTORE, (*tables, *DERIVED))
    return manifest


def fill(
    store: Store,
    place: Place,
    manifest: Manifest,
    on_progress: OnProgress = lambda _: None,
    tables: tuple[str, ...] = (*FROM_LOG, *OWN),
) -> None:
    """Inserts the snapshot's rows of these tables, each file after it was checked."""
    for name in tables:
        table = manifest.tables.get(name)
        if table is None:
            # Of a release before it.
            continue
        for file in table.files:
            with place.file(file.name) as path:
                _check_file(place, file, path)
                with pq.ParquetFile(path) as content:
                    for batch in content.iter_batches(batch_size=_INSERT_ROWS):
                        store.insert(name, pa.Table.from_batches([batch]))
        on_progress(f"{name}: {table.rows:,} rows")


def _make_ready(place: Place) -> None:
    """Marks the place as one that holds half a snapshot, and rids it of an earlier half."""
    names = place.names()
    if MANIFEST in names:
        raise SnapshotError(f"{place.named} holds a snapshot already; name another place")
    strangers = names - {MARK, f"{MARK}.new"}
    if strangers and MARK not in names:
        raise SnapshotError(
            f"{place.named} is not empty (it holds {sorted(strangers)[0]!r}); name an empty place,"
            " or one that does not exist yet"
        )
    place.write(MARK, b"A snapshot is being written here, or was cut off.\n")
    for name in strangers:
        place.remove(name)


def _check_file(place: Place, file: SnapshotFile, path: Path) -> None:
    try:
        digest, size = _digest(path)
    except FileNotFoundError:
        raise SnapshotError(
            f"{file.name} is missing in {place.named}; use another snapshot"
        ) from None
    if (digest, size) != (file.sha256, file.size_bytes):
        what = (
            f"has {size:,} bytes of {file.size_bytes:,}" if size != file.size_bytes else "changed"
        )
        raise SnapshotError(
            f"{file.name} in {place.named} is damaged: it {what} since the snapshot was taken; use"
            " another snapshot"
        )


def _compare(store: Store, place: Place, name: str, table: SnapshotTable) -> None:
    found = content_of(store, name, table.columns)
    if found != Content(table.rows, table.checksum):
        raise SnapshotError(
            f"table {name} came out of {place.named} with {found.rows:,} rows and checksum"
            f" {found.checksum}; {table.rows:,} and {table.checksum} went in. Nothing was restored"
        )


def _manifest_of(content: dict[str, Any]) -> Manifest:
    return Manifest(
        made_at=content["made_at"],
        migration=content["migration"],
        offsets={
            topic: {int(partition): offset for partition, offset in parts.items()}
            for topic, parts in content["offsets"].items()
        },
        tables={
            name: SnapshotTable(
                rows=table["rows"],
                checksum=table["checksum"],
                columns=table["columns"],
                files=[SnapshotFile(**file) for file in table["files"]],
            )
            for name, table in content["tables"].items()
        },
        format=content["format"],
    )


def _digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, file.tell()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
