"""Tables that took time to make, kept in Redis for those who ask the same again.

A table is kept under all that it depends on: the question, what was stored where when it was made
(`naiad_store.selects.watermarks`), this release, and the projects that the asker may read. So
nothing has to be dropped when data come, an asker gets only what was made for those who may read
the same, and a Redis that forgets or is away changes no answer. Who asks is checked before this
is looked at, as always.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import pyarrow as pa

from naiad_auth import Principal
from naiad_state import Cache

log = logging.getLogger(__name__)

# Seconds. What is made sooner is not worth a place.
WORTH_SECONDS = 0.02
# Seconds for which a table has been kept before it is given out. Points are readable a moment
# before the watermark says so: where it stood still for this long nothing is being written, and
# where something is, answers are made afresh.
OLDNESS_SECONDS = 5.0
# A table this much larger than what can be kept is not even packed.
_PACKS = 4
# For an event loop that is about to end; the cache itself gives up much sooner.
_LONGEST_SECONDS = 2.0

T = TypeVar("T")


class KeptTables:
    """For use by the threads that make tables; `loop` is where the cache lives."""

    def __init__(self, cache: Cache, version: str) -> None:
        self._cache = cache
        self._version = version.encode()
        self.loop: asyncio.AbstractEventLoop | None = None

    def table(
        self,
        principal: Principal,
        question: bytes,
        watermark: Callable[[], bytes],
        make: Callable[[], pa.Table],
    ) -> pa.Table:
        """What `make` returns, or returned when nothing else was stored."""
        key = self._key(principal, question, watermark)
        kept = self._found(key)
        if kept is not None:
            return kept
        began = time.monotonic()
        made = make()
        self._keep(key, made, began)
        return made

    def batches(
        self,
        principal: Principal,
        question: bytes,
        watermark: Callable[[], bytes],
        make: Callable[[], tuple[pa.Schema, Iterator[pa.RecordBatch]]],
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The same for a table that is handed on while it is made; one that is not read to its
        end isn't kept."""
        key = self._key(principal, question, watermark)
        kept = self._found(key)
        if kept is not None:
            return kept.schema, iter(kept.to_batches())
        began = time.monotonic()
        schema, batches = make()

        def handed_on() -> Iterator[pa.RecordBatch]:
            so_far: list[pa.RecordBatch] = []
            size = 0
            for batch in batches:
                size += batch.nbytes
                if size <= _PACKS * self._cache.max_bytes:
                    so_far.append(batch)
                else:
                    so_far.clear()
                yield batch
            if size <= _PACKS * self._cache.max_bytes:
                # The schema's metadata are kept, too.
                table = pa.Table.from_batches(so_far, schema.remove_metadata())
                self._keep(key, table.replace_schema_metadata(schema.metadata), began)

        return schema, handed_on()

    def _key(
        self, principal: Principal, question: bytes, watermark: Callable[[], bytes]
    ) -> tuple[bytes, ...]:
        # Before it is made: what comes meanwhile makes it newer than its key, never older.
        visible = "*" if principal.read is None else repr(sorted(principal.read))
        return (self._version, visible.encode(), question, watermark())

    def _found(self, key: tuple[bytes, ...]) -> pa.Table | None:
        kept = self._in_loop(self._cache.get(*key, oldness=OLDNESS_SECONDS))
        if kept is None:
            return None
        try:
            return _unpacked(kept)
        except (pa.ArrowException, OSError, ValueError) as error:
            log.debug("a kept table can't be read: %s", error)
            return None

    def _keep(self, key: tuple[bytes, ...], made: pa.Table, began: float) -> None:
        if (
            time.monotonic() - began >= WORTH_SECONDS
            and made.nbytes <= _PACKS * self._cache.max_bytes
        ):
            self._in_loop(self._cache.put(_packed(made), *key))

    def _in_loop(self, work: Coroutine[Any, Any, T]) -> T | None:
        if self.loop is None or self.loop.is_closed():
            work.close()
            return None
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(_LONGEST_SECONDS)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            future.cancel()
            return None


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _unpacked(content: bytes) -> pa.Table:
    table = pa.ipc.open_stream(content).read_all()
    table.validate(full=True)
    return table
