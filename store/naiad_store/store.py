"""An open store: inserts and questions."""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError
from clickhouse_connect.driver.exceptions import Error as ServerError

from naiad_store import folder as folders
from naiad_store.chdb_session import ChdbSession
from naiad_store.clients import Clients, connect
from naiad_store.errors import RowsRefused, StoreError, StoreUnavailable, one_line, store_error
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

_CODE = re.compile(r"\bCode:\s*(\d+)")


class Store:
    """A store of one database. Make it with `Store.open`.

    Every method may be called from any thread, and calls of several run at once.
    """

    def __init__(self, url: str, database: str, folder: Path | None) -> None:
        self.url = url
        self.database = database
        self._folder = folder
        self._clients = Clients(url, database)
        self._sessions = weakref.WeakSet[ChdbSession]()
        self._closed = False

    @classmethod
    def open(cls, url: str, *, database: str = "naiad") -> Store:
        """Opens `chdb:///absolute/folder` or a `clickhouse://user:password@host:port`.

        The database is made if it is missing; `migrate` fills it. Raises StoreBusy when
        another process has the folder, StoreError when it can't be opened.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"chdb", "clickhouse", "clickhouses"}:
            raise StoreError(
                f"store {url!r} has the unknown scheme {parts.scheme!r}; use"
                " chdb:///absolute/folder or clickhouse://host:port"
            )
        folder = None
        if parts.scheme == "chdb":
            if parts.netloc or not parts.path.strip("/"):
                raise StoreError(f"store {url!r} is not of the form chdb:///absolute/folder")
            # chDB compares folders letter by letter.
            folder = Path(parts.path).resolve()
            url = f"chdb://{folder}"
            folders.take(folder)
        store = cls(url, database, folder)
        try:
            client = connect(url)
            try:
                client.command(f"CREATE DATABASE IF NOT EXISTS {_quoted(database)}")
            finally:
                client.close()
        except Exception as error:
            store.close()
            raise StoreError(
                f"the store {_without_password(url)} can't be opened: {one_line(str(error))}"
            ) from error
        return store

    @property
    def named(self) -> str:
        """For messages: no password."""
        return _without_password(self.url)

    def migrate(self) -> None:
        """Brings the tables up to this release, once a swap of tables that was cut off is
        finished. Raises StoreTooNew when they are beyond."""
        from naiad_store.swapping import finish_swaps

        finish_swaps(self)
        migrate(self)

    def insert(self, table: str, rows: pa.Table) -> None:
        """Inserts `rows`, whose columns are named as the table's; returns when they are on
        disk and readable.

        Raises RowsRefused when the rows themselves are at fault, StoreUnavailable when
        the same may work later, StoreError otherwise; some may be there in each case,
        which is harmless, since rows commute.
        """
        if rows.num_rows == 0:
            return
        what = f"inserting {rows.num_rows} rows into {table}"
        with _told(what, inserting=True), self._clients.one() as client:
            client.insert_arrow(table, rows, settings=dict(_INSERT_SETTINGS))

    def query(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> pa.Table:
        """The answer to a SELECT with `{name:Type}` parameters, under `settings`, which
        hold for this question alone. Raises StoreError."""
        with _told("a query"):
            if self._folder is not None and settings:
                with self._session(settings) as session:
                    return session.query(sql, parameters or {})
            with self._clients.one() as client:
                return client.query_arrow(
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
        """The same in batches as they come, for answers that need not be in memory whole:
        at least one, which is empty when there are no rows. Other questions may be asked
        meanwhile, and an iterator that is left alone ends its question."""
        with _told("a query"):
            if self._folder is not None:
                with self._session(settings or {}) as session:
                    yield from session.batches(sql, parameters or {})
                return
            with self._clients.one() as client:
                source = client.raw_stream(
                    sql, dict(parameters or {}), dict(settings or {}), fmt="ArrowStream"
                )
                with source, pa.ipc.open_stream(source) as reader:
                    some = False
                    for batch in reader:
                        some = True
                        yield batch
                    if not some:
                        yield pa.RecordBatch.from_pylist([], schema=reader.schema)

    def command(self, sql: str, parameters: Mapping[str, object] | None = None) -> object:
        """Runs a statement that is not a SELECT of rows. Raises StoreError."""
        with _told("a statement"), self._clients.one() as client:
            return client.command(sql, parameters=dict(parameters or {}))

    def close(self) -> None:
        """Waits a while for calls under way, ends streams and gives the folder free.
        Idempotent."""
        self._closed = True
        for session in list(self._sessions):
            session.close()
        self._clients.close()
        if self._folder is not None:
            folders.give(self._folder)
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

    @contextlib.contextmanager
    def _session(self, settings: Mapping[str, object]) -> Iterator[ChdbSession]:
        if self._closed:
            raise StoreError("the store is closed")
        session = ChdbSession(str(self._folder), self.database, settings)
        self._sessions.add(session)
        try:
            yield session
        finally:
            session.close()


@contextlib.contextmanager
def _told(what: str, *, inserting: bool = False) -> Iterator[None]:
    """Turns errors of the engine into ours."""
    try:
        yield
    except ServerError as error:
        if error.code is None and isinstance(error, OperationalError):
            # No answer of the server at all.
            raise StoreUnavailable(f"{what} failed: {one_line(str(error))}") from error
        raise store_error(what, str(error), error.code, inserting=inserting) from error
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        kind = RowsRefused if inserting else StoreError
        raise kind(f"{what} failed: {one_line(str(error))}") from error
    except OSError as error:
        # Arrow's word for a stream that is none.
        raise StoreUnavailable(
            f"{what} failed: its answer can't be read: {one_line(str(error))}"
        ) from error
    except (ClickHouseError, pa.ArrowException, RuntimeError) as error:
        message = str(error).removeprefix("Streaming query failed: ")
        code = _CODE.search(message)
        raise store_error(
            what, message, int(code[1]) if code else None, inserting=inserting
        ) from error


def _without_password(url: str) -> str:
    return re.sub(r"//[^@/]*@", "//…@", url)


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
