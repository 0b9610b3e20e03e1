"""An open store: clients per thread, inserts, questions."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from naiad_store.errors import StoreBusy, StoreError
from naiad_store.migrating import migrate

# A returned insert is on disk and readable: offsets are committed on the strength of it. (The
# sync is a setting of the tables: fsync_after_insert in the migrations.)
_INSERT_SETTINGS: Mapping[str, object] = {
    # 26.x buffers small inserts by default and would answer before they are rows.
    "async_insert": 0,
    # Our batches are large and sorted already; merging duplicates inside a block is left
    # to the background and costs a third of the CPU here.
    "optimize_on_insert": 0,
    # Two threads of parsing gain nothing on blocks that come as Arrow.
    "max_insert_threads": 1,
}


class Store:
    """A store of one database. Make it with `Store.open`.

    Every method may be called from any thread; the first call of a thread opens a client
    for it, which lives until `close`.
    """

    def __init__(self, url: str, database: str, folder: Path | None) -> None:
        self.url = url
        self.database = database
        self._folder = folder
        self._local = threading.local()
        self._clients: list[Client] = []
        self._guard = threading.Lock()
        self._closed = False

    @classmethod
    def open(cls, url: str, *, database: str = "naiad") -> Store:
        """Opens `chdb:///absolute/folder` or a `clickhouse://user:password@host:port`.

        The database is made if it is missing; `migrate` fills it. Raises StoreBusy when
        another process has the folder, StoreError when it can't be opened.
        """
        scheme = urlsplit(url).scheme
        if scheme not in {"chdb", "clickhouse", "clickhouses"}:
            raise StoreError(
                f"store {url!r} has the unknown scheme {scheme!r}; use chdb:///absolute/folder"
                " or clickhouse://host:port"
            )
        folder = Path(urlsplit(url).path) if scheme == "chdb" else None
        if folder:
            _take_folder(folder)
        store = cls(url, database, folder)
        try:
            with store._connect(None) as client:
                client.command(f"CREATE DATABASE IF NOT EXISTS {_quoted(database)}")
        except Exception as error:
            store.close()
            raise StoreError(f"the store {url} can't be opened: {_one_line(error)}") from error
        return store

    def migrate(self) -> None:
        """Brings the tables up to this release. Raises StoreTooNew when they are beyond."""
        migrate(self)

    def insert(self, table: str, rows: pa.Table) -> None:
        """Inserts `rows`, whose columns are named as the table's; returns when they are on
        disk and readable. Raises StoreError, in which case some may be there."""
        if rows.num_rows == 0:
            return
        with _told(f"inserting {rows.num_rows} rows into {table}"):
            self.client().insert_arrow(table, rows, settings=dict(_INSERT_SETTINGS))

    def query(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> pa.Table:
        """The answer to a SELECT with `{name:Type}` parameters. Raises StoreError."""
        with _told("a query"):
            return self.client().query_arrow(
                sql,
                parameters=dict(parameters or {}),
                settings=dict(settings or {}),
                use_strings=True,
            )

    def stream(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The same in batches as they come, for answers that need not be in memory whole."""
        with _told("a query"):
            reader = self.client().query_arrow_stream(
                sql,
                parameters=dict(parameters or {}),
                settings=dict(settings or {}),
                use_strings=True,
            )
            with reader as batches:
                for batch in batches:
                    if isinstance(batch, pa.Table):
                        yield from batch.to_batches()
                    else:
                        yield batch

    def command(self, sql: str, parameters: Mapping[str, object] | None = None) -> object:
        """Runs a statement that is not a SELECT of rows. Raises StoreError."""
        with _told("a statement"):
            return self.client().command(sql, parameters=dict(parameters or {}))

    def client(self) -> Client:
        """This thread's client."""
        if self._closed:
            raise StoreError("the store is closed")
        found: Client | None = getattr(self._local, "client", None)
        if found is None:
            found = self._connect(self.database)
            self._local.client = found
            with self._guard:
                self._clients.append(found)
        return found

    def close(self) -> None:
        """Closes every client and gives the folder free. Idempotent."""
        self._closed = True
        with self._guard:
            for client in self._clients:
                with contextlib.suppress(Exception):
                    client.close()
            self._clients.clear()
        if self._folder is not None:
            _give_folder(self._folder)
            self._folder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _connect(self, database: str | None) -> Client:
        options: dict[str, Any] = {"database": database} if database else {}
        return clickhouse_connect.get_client(dsn=self.url, **options)


# A record lock belongs to the process and falls with the first descriptor that is closed,
# so all stores of this process share one: folder -> descriptor, stores that use it.
_folders: dict[Path, tuple[int, int]] = {}
_folders_guard = threading.Lock()


def _take_folder(folder: Path) -> None:
    """Holds the folder for this process; raises StoreBusy naming the one that has it."""
    with _folders_guard:
        if folder in _folders:
            descriptor, users = _folders[folder]
            _folders[folder] = (descriptor, users + 1)
        else:
            _folders[folder] = (_lock_folder(folder), 1)


def _give_folder(folder: Path) -> None:
    with _folders_guard:
        descriptor, users = _folders.pop(folder)
        if users > 1:
            _folders[folder] = (descriptor, users - 1)
        else:
            os.close(descriptor)


def _lock_folder(folder: Path) -> int:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder.with_name(folder.name + ".lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"the store folder {folder} can't be used: {error.strerror}") from error
    try:
        # A record lock, which no child inherits: a dashboard that outlives a killed server
        # for a moment must not keep the folder.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise StoreBusy(
            f"the store folder {folder} is open in process {pid}; chDB opens a folder in one"
            " process only: stop that one, or read through its server (naiad.query, naiad sql)"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except (ClickHouseError, pa.ArrowException, RuntimeError) as error:
        raise StoreError(f"{what} failed: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:2000]


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
