"""A chDB connection for one question, with settings of its own.

clickhouse-connect sets a call's settings on the client's connection and puts them back
afterwards; after readonly=1 they can't be put back, and the client stays read-only. It also
holds a whole Arrow answer in memory. A connection for the question alone has neither
trouble and costs half a millisecond.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
from clickhouse_connect.driver.binding import bind_query, quote_identifier

from naiad_store.errors import StoreError
from naiad_store.pipe import Pipe

# Rows of a batch that `batches` gives, at the least, but for the last one. chDB hands out
# blocks, and a block of a filtered read may hold a single row.
_ROWS = 65_536

# Answers stay in this process: to compress them is a third of the time of a large one.
_SETTINGS: Mapping[str, object] = {"output_format_arrow_compression_method": "none"}

_CLOSED = "the store was closed in the middle of a question"
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ChdbSession:
    """One question. Raises RuntimeError, chDB's own, from every method but `close`."""

    def __init__(self, path: str, database: str, settings: Mapping[str, object]) -> None:
        statements = [f"USE {quote_identifier(database)}"]
        settings = {**_SETTINGS, **settings}
        # readonly last: nothing can be set after it.
        names = sorted(settings, key=lambda name: name == "readonly")
        statements.append("SET " + ", ".join(_assignment(n, settings[n]) for n in names))
        # Held while the engine works on the connection: closing under it would crash.
        self._busy = threading.Lock()
        # Here, because it takes 200 MB, and most processes of a cluster never need it.
        import chdb

        connect: Any = chdb.connect  # untyped
        self._connection = connect(path)
        self._stream: Any = None
        self._pipe: Pipe | None = None
        try:
            for statement in statements:
                self._connection.query(statement)
        except BaseException:
            self.close()
            raise

    def query(self, sql: str, parameters: Mapping[str, object]) -> pa.Table:
        statement, bound = _bind(sql, parameters)
        with self._busy:
            answer = self._open_connection().query(statement, "ArrowStream", params=bound)
            data = answer.bytes()
        return pa.ipc.open_stream(pa.py_buffer(data)).read_all()

    def formatted(self, sql: str, kind: str) -> Generator[bytes, None, int]:
        """The answer in one of ClickHouse's formats as it comes; returns how many rows it has.

        The engine itself hands out an answer whole, or blocks with a head and an end each. So it
        writes into a pipe, as into a file.
        """
        pipe = self._pipe = Pipe()
        with ThreadPoolExecutor(1, thread_name_prefix="naiad sql") as threads:
            asking = threads.submit(self._write, f"{sql}\n{_into(pipe.path)} FORMAT {kind}", pipe)
            try:
                yield from pipe.pieces()
                if pipe.closed:
                    # The engine takes no notice, so its own word is worth nothing.
                    raise StoreError(_CLOSED)
            finally:
                # What it still writes goes nowhere, so its end does not depend on a reader.
                pipe.close()
            return asking.result()

    def _write(self, statement: str, pipe: Pipe) -> int:
        try:
            with self._busy:
                # Rows of the answer; what was read for it is another number.
                return int(self._open_connection().query(statement).rows_read())
        finally:
            pipe.end()

    def batches(self, sql: str, parameters: Mapping[str, object]) -> Iterator[pa.RecordBatch]:
        """The answer as it comes; one empty batch, for its schema, when it has no rows."""
        statement, bound = _bind(sql, parameters)
        with self._busy:
            self._stream = self._open_connection().send_query(
                statement, "ArrowStream", params=bound
            )
        waiting: list[pa.RecordBatch] = []
        some = False
        while (data := self._next()) is not None:
            # Each block comes as a stream of its own, schema included.
            waiting += pa.ipc.open_stream(pa.py_buffer(data))
            if sum(batch.num_rows for batch in waiting) >= _ROWS:
                some = True
                yield pa.concat_batches(waiting)
                waiting = []
        if waiting:
            yield pa.concat_batches(waiting)
        elif not some:
            nothing = self.query(f"SELECT * FROM (\n{sql}\n) LIMIT 0", parameters)
            yield pa.RecordBatch.from_pylist([], schema=nothing.schema)

    def close(self) -> None:
        """Also ends a stream, from whichever thread; idempotent."""
        if self._pipe is not None:
            self._pipe.close()
        with self._busy, contextlib.suppress(Exception):
            connection, self._connection = self._connection, None
            if connection is not None:
                try:
                    if self._stream is not None:
                        self._stream.close()
                finally:
                    self._stream = None
                    connection.close()

    def _next(self) -> bytes | None:
        with self._busy:
            self._open_connection()
            chunk = next(self._stream, None)
            if chunk is None:
                self._stream = None
                return None
            data: bytes = chunk.bytes()
            return data

    def _open_connection(self) -> Any:
        if self._connection is None:
            raise StoreError(_CLOSED)
        return self._connection


def _into(path: str) -> str:
    return f"INTO OUTFILE '{path}' TRUNCATE COMPRESSION 'none'"


def _assignment(name: str, value: object) -> str:
    if not _SETTING.fullmatch(name):
        raise StoreError(f"{name!r} is not the name of a setting")
    text = str(int(value) if isinstance(value, bool) else value)
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name} = '{quoted}'"


def _bind(sql: str, parameters: Mapping[str, object]) -> tuple[str, dict[str, Any]]:
    statement, bound = bind_query(sql, dict(parameters))
    return str(statement), {name.removeprefix("param_"): value for name, value in bound.items()}
