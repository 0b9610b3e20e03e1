"""Arrow tables as streams of bytes of a size that gRPC likes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

CHUNK_BYTES = 1024 * 1024
# Of a piece at the most: gRPC's clients take messages of 4 MiB.
_MOST_BYTES = 3 * CHUNK_BYTES
_ROWS = 65_536


class _Sink:
    """A file that remembers what was written since the last look: columns by reference, so that
    their bytes are copied once, into the piece."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes | pa.Buffer] = []
        self.size = 0

    def write(self, data: bytes | pa.Buffer) -> int:
        self._parts.append(data)
        size = memoryview(data).nbytes
        self.size += size
        return size

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        self.size = 0
        return taken

    def flush(self) -> None: ...
    def close(self) -> None: ...
    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


class Endless:
    """An Arrow IPC stream that goes on for as long as its reader listens."""

    def __init__(self, schema: pa.Schema) -> None:
        self._sink = _Sink()
        self._writer = pa.ipc.new_stream(self._sink, schema)
        # The schema goes out with the first batch: so here is one, and readers have it at once.
        self._writer.write_batch(pa.RecordBatch.from_pylist([], schema=schema))

    def pieces(self, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
        """Each batch whole, so that a reader need not wait for what comes after it; the first
        time an empty one before them."""
        yield from _cut(self._sink.take())
        for batch in batches:
            self._writer.write_batch(batch)
            yield from _cut(self._sink.take())


def chunks(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """One Arrow IPC stream, in pieces of about `CHUNK_BYTES`. They end where a batch does, so that
    who receives them need not put them together; but for rows that are large themselves."""
    sink = _Sink()
    # Each batch names its own dictionary; readers of the whole stream join them.
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            # Bytes are copied several times on their way. Those of a small batch are in the
            # caches still.
            for part in _parts(batch):
                writer.write_batch(part)
                if sink.size >= CHUNK_BYTES:
                    yield from _cut(sink.take())
    yield from _cut(sink.take())


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    count = -(-batch.nbytes // CHUNK_BYTES)
    if count <= 1:
        yield batch
        return
    rows = -(-batch.num_rows // count)
    for begin in range(0, batch.num_rows, rows):
        yield batch.slice(begin, rows)


def table_chunks(table: pa.Table) -> Iterator[bytes]:
    return chunks(table.schema, table.to_batches(max_chunksize=_ROWS))


def _cut(data: bytes) -> Iterator[bytes]:
    if len(data) <= _MOST_BYTES:
        if data:
            yield data
        return
    for begin in range(0, len(data), CHUNK_BYTES):
        yield data[begin : begin + CHUNK_BYTES]
