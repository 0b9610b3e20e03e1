"""An open store: inserts and questions."""

from __future__ import annotations

import contextlib
import io
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Self, TypeVar

import pyarrow as pa
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import Error as ServerError

from naiad_store import folder as folders
from naiad_store.address import Address, parse_address, without_password
from naiad_store.binding import LONGEST, bound
from naiad_store.broken import tell_broken_parts
from naiad_store.chdb_session import ChdbSession
from naiad_store.clients import Clients, connect
from naiad_store.errors import StoreError, StoreUnavailable
from naiad_store.layout import laid_out
from naiad_store.migrating import migrate, names_of_tables
from naiad_store.server import Answered, BrokenOff, ServerClient
from naiad_store.telling import told

T = TypeVar("T")

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

_UNKNOWN_DATABASE = 81
# A read that found the way to a server cut is asked again after these, in seconds.
_PAUSES = (0.1, 0.5)


class Store:
    """A store of one database. Make it with `Store.open`.

    Every method may be called from any thread, and calls of several run at once.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        # For messages; it has no password in it.
        self.url = address.shown
        self.database = address.database
        self._holds_folder = address.folder is not None
        self._clients: Clients | ServerClient
        if address.folder is not None:
            self._clients = Clients(address.shown, address.database)
        else:
            self._clients = ServerClient(address)
        self._sessions = weakref.WeakSet[ChdbSession]()
        self._closed = False

    @classmethod
    def open(cls, url: str, *, database: str | None = None) -> Store:
        """Opens `chdb:///absolute/folder` or `clickhouse[s]://user:password@host:port/database`
        (docs/store.md has the options). `database` is used instead of the URL's.

        The database is made if it is missing; `migrate` fills it. Raises StoreBusy when
        another process has the folder, StoreUnavailable when the server can't be reached now,
        StoreError when the URL or the store is wrong.
        """
        return cls._open(parse_address(url, database))

    def beside(self, database: str) -> Store:
        """Another database of the same engine, opened anew. Raises as `open` does."""
        return self._open(replace(self.address, database=database))

    @classmethod
    def _open(cls, address: Address) -> Store:
        if address.folder is not None:
            folders.take(address.folder)
        store = cls(address)
        try:
            store._make_database()
        except BaseException:
            store.close()
            raise
        return store

    def _make_database(self) -> None:
        address = self.address
        with self._told(f"opening the store {self.url}"):
            if isinstance(self._clients, ServerClient):
                try:
                    with self._clients.one():
                        # Who may only read can open a store that is there.
                        return
                except ServerError as error:
                    if error.code != _UNKNOWN_DATABASE:
                        raise
                client = self._clients.connect(None)
            else:
                client = connect(address.shown)
            try:
                cluster = address.cluster
                client.command(
                    f"CREATE DATABASE IF NOT EXISTS {quoted(address.database)}"
                    + (f" ON CLUSTER {quoted(cluster.name)}" if cluster else "")
                )
            finally:
                client.close()

    @property
    def named(self) -> str:
        """For messages: no password."""
        return without_password(self.url)

    def migrate(self) -> None:
        """Brings the tables up to this release, and tells what the engine could not read of
        them. Raises StoreTooNew when they are beyond."""
        migrate(self)
        tell_broken_parts(self)

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
        with self._told(what, inserting=True), self._clients.one() as client:
            summary = client.insert_arrow(table, rows, settings=dict(_INSERT_SETTINGS))
            if not self._holds_folder and not summary.summary.get("query_id"):
                # A page of a proxy may well have status 200.
                raise StoreUnavailable(
                    f"{what} failed: what answers at {self.url} is not ClickHouse: a proxy before"
                    " it, perhaps"
                )

    def query(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> pa.Table:
        """The answer to a SELECT with `{name:Type}` parameters, under `settings`, which
        hold for this question alone. Raises StoreError."""
        sql, given = self._bound(sql, parameters)
        if self.address.folder is not None and settings:
            with self._told("a query"), self._session(settings) as session:
                return session.query(sql, given)
        return self._asked(
            lambda client: client.query_arrow(
                sql, parameters=given, settings=dict(settings or {}), use_strings=True
            )
        )

    def formatted(
        self, sql: str, kind: str, settings: Mapping[str, object] | None = None
    ) -> Generator[bytes, None, int | None]:
        """The answer in one of ClickHouse's formats, in pieces as they come; returns how many rows
        it has where the engine says. A generator that is closed ends its question. Raises
        StoreError, also behind the first pieces."""
        if self.address.folder is not None:
            with self._told("a query"), self._session(settings or {}) as session:
                return (yield from session.formatted(sql, kind))
        with self._told("a query"):
            response = self._asked(
                lambda client: client.raw_stream(sql, settings=dict(settings or {}), fmt=kind)
            )
            with contextlib.closing(Answered(response)) as answered:
                yield from answered.pieces()
        return None

    def stream(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The same in batches as they come, for answers that need not be in memory whole:
        at least one, which is empty when there are no rows. Other questions may be asked
        meanwhile, and an iterator that is left alone ends its question."""
        sql, given = self._bound(sql, parameters)
        if self.address.folder is not None:
            with self._told("a query"), self._session(settings or {}) as session:
                yield from session.batches(sql, given)
            return
        with (
            self._told("a query"),
            self._answer(sql, given, settings) as source,
            pa.ipc.open_stream(source) as reader,
        ):
            some = False
            for batch in reader:
                if self._closed:
                    raise StoreError("the store was closed in the middle of a question")
                some = True
                yield batch
            if not some:
                yield pa.RecordBatch.from_pylist([], schema=reader.schema)

    def command(self, sql: str, parameters: Mapping[str, object] | None = None) -> object:
        """Runs a statement that is not a SELECT of rows. Raises StoreError."""
        sql, given = self._bound(sql, parameters)
        with self._told("a statement"), self._clients.one() as client:
            return client.command(sql, parameters=given)

    def define(self, statement: str) -> None:
        """Runs a statement that makes or changes a table or view: on a cluster on all of its
        servers, and as its layout wants it. Raises StoreError."""
        cluster = self.address.cluster
        names = names_of_tables() if cluster else ()
        for one in laid_out(statement, cluster, self.database, names):
            self.command(one)

    def close(self) -> None:
        """Waits a while for calls under way, ends streams and gives the folder free.
        Idempotent."""
        self._closed = True
        for session in list(self._sessions):
            session.close()
        self._clients.close()
        if self._holds_folder and self.address.folder is not None:
            folders.give(self.address.folder)
            self._holds_folder = False

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
        session = ChdbSession(str(self.address.folder), self.database, settings)
        self._sessions.add(session)
        try:
            yield session
        finally:
            session.close()

    @contextlib.contextmanager
    def _answer(
        self,
        sql: str,
        parameters: dict[str, object],
        settings: Mapping[str, object] | None,
    ) -> Iterator[io.BufferedIOBase]:
        """The Arrow stream that a server answers."""
        given = {"output_format_arrow_string_as_string": 1, **(settings or {})}
        response = self._asked(
            lambda client: client.raw_stream(sql, parameters, given, fmt="ArrowStream")
        )
        answered = Answered(response)
        # Arrow takes less than it asked for as the end.
        with io.BufferedReader(answered, 1 << 16) as source:
            try:
                yield source
            except (pa.ArrowException, OSError) as error:
                if reason := answered.reason():
                    raise BrokenOff(reason, error) from error
                raise

    def _asked(self, read: Callable[[Client], T]) -> T:
        """`read` of a client; of a server's again when the way to it was cut."""
        for pause in (*(_PAUSES if self.address.folder is None else ()), None):
            try:
                with self._told("a query"), self._clients.one() as client:
                    return read(client)
            except StoreUnavailable as error:
                # A number is the server's own word for how it is.
                if pause is None or error.code is not None:
                    raise
                time.sleep(pause)
        raise AssertionError  # for the type checker

    def _bound(
        self, sql: str, parameters: Mapping[str, object] | None
    ) -> tuple[str, dict[str, object]]:
        # What goes to the engine in this process is as long as it is.
        return bound(sql, parameters, LONGEST if self.address.folder is None else None)

    def _told(
        self, what: str, *, inserting: bool = False
    ) -> contextlib.AbstractContextManager[None]:
        return told(what, self.address, inserting=inserting)


def quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
