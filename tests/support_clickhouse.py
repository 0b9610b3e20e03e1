"""A store behind ClickHouse's HTTP interface that takes inserts too: chDB in a process of its own.

The interface is the product's (naiad_query.clickhouse_http); only what answers is of the tests,
since the product's own answers reading alone. With it several processes have one store, as they
would with a ClickHouse server:

    with clickhouse(folder) as server:
        Store.open(server.url)                  # clickhouse://tests:secret@127.0.0.1:port
        server.kill(); server.start()           # the same folder on the same port

From a shell: `python tests/support_clickhouse.py FOLDER [--port N] [--say FILE]` prints the URL
once it answers and serves until SIGTERM.

With `--cluster` there is a cluster `tests` of one shard, this server, for Distributed tables. What
chDB has no Keeper for is left out of statements: ON CLUSTER, and the Replicated before an engine.

A session (session_id) is what SET and USE said in it, without temporary tables. A GET reads only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support_naiad import LONGER
from support_ports import free_port

if TYPE_CHECKING:
    from naiad_store import Store

USER, PASSWORD = "tests", "secret"
_NUMBERS = itertools.count(1)
# In `_MADE`, by URL, it stands for the database's name.
_DATABASE = "naiad_tests_database"
_MADE: dict[str, list[str]] = {}
# What ClickHouse takes (http_max_field_value_size).
_LONGEST_FIELD = 128 * 1024


class ClickHouse:
    """The process. `start` returns when it answers."""

    def __init__(self, folder: Path, *, port: int = 0, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.port = port or free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of an empty path: any database."""
        return f"clickhouse://{USER}:{PASSWORD}@127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self, seconds: float = 60) -> ClickHouse:
        """Raises TimeoutError or RuntimeError, with what it printed."""
        assert self._process is None
        self.folder.mkdir(parents=True, exist_ok=True)
        said, output = self.folder / "url", self.folder / "output.log"
        said.unlink(missing_ok=True)
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                [
                    sys.executable, __file__, str(self.folder / "store"), "--port", str(self.port),
                    "--say", str(said), "--while-stdin", *self._options,
                ],
                # Held open, so that it ends with us, however we end.
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        seconds *= LONGER
        until = time.monotonic() + seconds
        while not said.exists():
            if self._process.poll() is not None:
                self._gone()
                raise RuntimeError(f"no ClickHouse: {output.read_text()}")
            if time.monotonic() > until:
                self.kill()
                raise TimeoutError(f"no ClickHouse in {seconds:g} s: {output.read_text()}")
            time.sleep(0.02)
        return self

    def stop(self, seconds: float = 30) -> None:
        """By SIGTERM. Idempotent."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(seconds * LONGER)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise
            finally:
                self._gone()

    def kill(self) -> None:
        """By SIGKILL. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._gone()

    def _gone(self) -> None:
        assert self._process
        assert self._process.stdin
        self._process.stdin.close()
        self._process = None


@contextlib.contextmanager
def clickhouse(folder: Path, *, options: Sequence[str] = ()) -> Iterator[ClickHouse]:
    server = ClickHouse(folder, options=options).start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def migrated(url: str, name: str = "") -> Iterator[Store]:
    """A store with a database of its own, dropped afterwards.

    The first one of a process is migrated. Those after it are made as it was in the end, a
    statement a table, which takes half as long as all that led there.
    """
    from naiad_store import Store

    numbered = f"test_{next(_NUMBERS)}"
    name = name or numbered
    opened = Store.open(url, database=name)
    try:
        if url in _MADE:
            for statement in _MADE[url]:
                opened.command(statement.replace(_DATABASE, name))
        else:
            opened.migrate()
            # Any other name may be that of a column, too.
            if name == numbered:
                _MADE[url] = recipe(opened)
        yield opened
        opened.command(f"DROP DATABASE {name} SYNC")
    finally:
        opened.close()


def recipe(store: Store) -> list[str]:
    """Statements that make what a store has that was just migrated, in another database: its
    tables, its views and what it knows of the migrations."""
    from naiad_store.migrating import known_migrations

    word = re.compile(rf"\b{re.escape(store.database)}\b")
    rows = store.query(
        "SELECT create_table_query AS made FROM system.tables WHERE database = currentDatabase()"
        # What stands on others comes after them.
        " ORDER BY engine = 'View', engine = 'Distributed', name"
    )
    statements = [word.sub(_DATABASE, text) for text in rows.column("made").to_pylist()]
    known = ", ".join(
        f"({one.number}, '{one.name}', '{one.checksum}')" for one in known_migrations()
    )
    into = f"INSERT INTO {_DATABASE}.migrations (number, name, checksum) VALUES {known}"
    return [*statements, into]


def emptied(store: Store, *tables: str) -> None:
    """A Distributed table has no rows of its own, so those of its shards go."""
    cluster = store.address.cluster
    for table in tables:
        store.command(f"TRUNCATE TABLE {table}{'_local' if cluster and cluster.sharded else ''}")


# --- the process ---------------------------------------------------------------------------

_INSERT = re.compile(
    rb"\s*INSERT\s+INTO\s(?:(?!\b(?:VALUES|SELECT)\b).)*?\bFORMAT\s+(\w+)[ \t]*(?:;|\r?\n|$)",
    re.IGNORECASE | re.DOTALL,
)
_FORMAT = re.compile(r"\s+FORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_STATE = re.compile(r"\s*(SET|USE)\s", re.IGNORECASE)
_STREAMS = re.compile(r"\s*\(*\s*(SELECT|WITH)\b", re.IGNORECASE)
# Formats whose blocks can stand one after the other.
_BLOCKS = frozenset({"native", "tabseparated", "tsv", "csv", "rowbinary", "jsoneachrow"})
_MAX_BYTES = 1 << 31
CLUSTER = "tests"
_CONFIG = f"""<clickhouse>
<!-- Nobody listens there; it is how the engine knows itself in a cluster. -->
<tcp_port>9000</tcp_port>
<remote_servers><{CLUSTER}><shard>
<replica><host>localhost</host><port>9000</port></replica>
</shard></{CLUSTER}></remote_servers>
</clickhouse>
"""
_ON_CLUSTER = re.compile(rb" ON CLUSTER ['`]tests['`]")
_REPLICATED = re.compile(rb"\bReplicated(\w*MergeTree)\b")


class Writing:
    """Answers everything, from a folder of chDB."""

    name = "tests"
    timezone = "Etc/UTC"
    max_bytes = _MAX_BYTES

    def __init__(self, folder: Path, *, cluster: bool = False) -> None:
        import chdb

        folder.mkdir(parents=True, exist_ok=True)
        self._path = str(folder)
        self._cluster = cluster
        if cluster:
            config = folder.with_name("cluster.xml")
            config.write_text(_CONFIG)
            self._path += f"?config-file={config}"
        self._connect: Any = chdb.connect
        # One stays open, so that the engine does.
        self._kept = self._connect(self._path)
        self._sessions: dict[str, list[str]] = {}
        self._guard = threading.Lock()

    def answer(self, asked: Any, principal: Any) -> Any:
        from naiad_query.clickhouse_http import Answer

        fields = [statement := asked.statement, *asked.parameters.values()]
        if asked.parameters and max(map(len, fields)) > _LONGEST_FIELD:
            raise _refused(RuntimeError("Code: 1000. DB::Exception: Field value too long"))
        connection = self._prepared(asked)
        if self._cluster:
            statement = _REPLICATED.sub(rb"\1", _ON_CLUSTER.sub(b"", statement))
        try:
            if found := _INSERT.match(statement):
                rows = self._insert(connection, statement, found)
                connection.close()
                return Answer([b""], summary={"written_rows": rows})
            text = statement.decode()
            kind = asked.default_format or "TabSeparated"
            if found_format := _FORMAT.search(text):
                kind, text = found_format[1], text[: found_format.start()]
            if _STREAMS.match(text):
                return Answer(_blocks(connection, text, kind, asked.parameters), kind)
            result = connection.query(text, kind, params=dict(asked.parameters))
            data = bytes(result.bytes() or b"")
            summary = {"written_rows": result.rows_written()}
            connection.close()
            if _STATE.match(text) and asked.session:
                with self._guard:
                    self._sessions.setdefault(asked.session, []).append(text)
            return Answer([data], kind, summary)
        except RuntimeError as error:
            connection.close()
            raise _refused(error) from error
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        self._kept.close()

    def _prepared(self, asked: Any) -> Any:
        """A connection with the request's database, session and settings."""
        connection = self._connect(self._path)
        try:
            with self._guard:
                statements = list(self._sessions.get(asked.session, ())) if asked.session else []
            if asked.database:
                statements.insert(0, f"USE {_quoted(asked.database, '`')}")
            settings = dict(asked.settings)
            if asked.reading:
                settings.setdefault("readonly", "2")
            for name in sorted(settings, key=lambda name: name == "readonly"):
                statements.append(f"SET {name} = {_quoted(settings[name], chr(39))}")
            for statement in statements:
                connection.query(statement, "TSV")
        except RuntimeError as error:
            connection.close()
            raise _refused(error) from error
        return connection

    @staticmethod
    def _insert(connection: Any, statement: bytes, found: re.Match[bytes]) -> int:
        head = statement[: found.start(1)].decode()
        into = re.sub(r"\s+FORMAT\s+$", "", head, flags=re.IGNORECASE)
        inserter = connection.send_insert(into, found[1].decode())
        try:
            view = memoryview(statement)[found.end() :]
            for begin in range(0, len(view), 1 << 20):
                inserter.append(bytes(view[begin : begin + (1 << 20)]))
            return int(inserter.finish().rows_written)
        except BaseException:
            with contextlib.suppress(Exception):
                inserter.cancel()
            raise


def _blocks(connection: Any, text: str, kind: str, parameters: Any) -> Iterator[bytes]:
    """The answer in blocks as the engine makes them, where the format allows that."""
    import pyarrow as pa

    try:
        if kind.lower() not in _BLOCKS | {"arrowstream"}:
            yield bytes(connection.query(text, kind, params=dict(parameters)).bytes() or b"")
            return
        stream = connection.send_query(text, kind, params=dict(parameters))
        try:
            if kind.lower() != "arrowstream":
                some = False
                for block in stream:
                    if data := bytes(block.bytes() or b""):
                        some = True
                        yield data
                if not some:
                    yield bytes(connection.query(text, kind, params=dict(parameters)).bytes())
                return
            # Each block is a stream of its own here.
            sink = _Sink()
            writer = None
            for block in stream:
                with pa.ipc.open_stream(pa.py_buffer(block.bytes())) as reader:
                    if writer is None:
                        options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=False)
                        writer = pa.ipc.new_stream(sink, reader.schema, options=options)
                    for batch in reader:
                        writer.write_batch(batch)
                        yield sink.taken()
            if writer is None:
                whole = connection.query(text, kind, params=dict(parameters))
                yield bytes(whole.bytes())
                return
            writer.close()
            yield sink.taken()
        finally:
            stream.close()
    except RuntimeError as error:
        raise _refused(error) from error
    finally:
        connection.close()


class _Sink:
    """What an Arrow writer writes into."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def taken(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


def _refused(error: RuntimeError) -> Exception:
    from naiad_query.clickhouse_http.errors import EngineRefused

    return EngineRefused(str(error))


def _quoted(text: str, mark: str) -> str:
    return mark + text.replace("\\", "\\\\").replace(mark, f"\\{mark}") + mark


def _authenticate(given: Any) -> Any:
    from naiad_auth import ANONYMOUS
    from naiad_query.clickhouse_http import AskedWrongly

    if (given.user, given.password) != (USER, PASSWORD):
        raise AskedWrongly(
            f"{given.user or 'default'}: Authentication failed: password is incorrect, or there"
            " is no user with such name.",
            516,
        )
    return ANONYMOUS


async def _serve(folder: Path, port: int, say: Path | None, cluster: bool) -> None:
    from naiad_query.clickhouse_http import clickhouse_app
    from naiad_serve.address import Address, listening_socket
    from naiad_serve.httpserver import HttpServer

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    writing = Writing(folder, cluster=cluster)
    where = listening_socket(Address("127.0.0.1", port), host_option="", port_option="--port")
    server = HttpServer(clickhouse_app(writing, _authenticate), where)
    await server.start()
    url = f"clickhouse://{USER}:{PASSWORD}@127.0.0.1:{server.port}"
    print(url, flush=True)
    if say:
        unfinished = say.with_suffix(".new")
        unfinished.write_text(url)
        unfinished.replace(say)
    await stop.wait()
    await server.stop()
    writing.close()


def _end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os._exit(1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--say", type=Path, help="a file for the URL, written when it answers")
    parser.add_argument("--cluster", action="store_true", help="with a cluster of one shard")
    parser.add_argument("--while-stdin", action="store_true", help="ends when stdin does")
    given = parser.parse_args()
    if given.while_stdin:
        # No test run leaves one behind.
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    # An answer that breaks off is for its client.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    asyncio.run(_serve(given.folder, given.port, given.say, given.cluster))


if __name__ == "__main__":
    main()
