"""Answers that are read while they come, for those that need not be in memory whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc
import pyarrow as pa

_SOME = 1 << 20


class Batches:
    """The record batches of one answer, in order. Close it, or read it to its end.

    Making it waits for the schema. It and reading raise what `explained` makes of gRPC's errors.
    """

    def __init__(self, call: Any, explained: Callable[[grpc.RpcError], Exception]) -> None:
        """`call`: the answer of a gRPC call, whose messages have a part of an Arrow stream."""
        self._call = call
        self._source = _Pieces(call, explained)
        try:
            self._reader = pa.ipc.open_stream(self._source)
        except BaseException:
            self.close()
            raise

    @property
    def schema(self) -> pa.Schema:
        return self._reader.schema

    @property
    def first(self) -> Any:
        """The call's first message, with what it says beside the table."""
        return self._source.first

    def table(self) -> pa.Table:
        """All that is not read yet."""
        found = self._reader.read_all()
        # Up to how the call ended.
        while self._source.read(_SOME):
            pass
        return found

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return iter(self._reader)

    def close(self) -> None:
        """Ends the question if it hasn't ended; idempotent."""
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Pieces:
    """A file of the bytes of a call's messages, one behind the other, as Arrow wants it.

    What lies within one message is handed out where it lies. An answer of a hundred megabytes put
    together first took as long as the server needed to make it: not to copy it, but for the memory.
    """

    closed = False

    def __init__(self, call: Any, explained: Callable[[grpc.RpcError], Exception]) -> None:
        self.first: Any = None
        self._call = iter(call)
        self._explained = explained
        self._piece = memoryview(b"")

    def read(self, count: int) -> memoryview | bytes:
        """As many, or up to the end."""
        if not self._piece:
            self._next()
        if count <= len(self._piece):
            return self._taken(count)
        parts = []
        while count and (self._piece or self._next()):
            parts.append(self._taken(count))
            count -= len(parts[-1])
        return b"".join(parts)

    def _taken(self, count: int) -> memoryview:
        taken, self._piece = self._piece[:count], self._piece[count:]
        return taken

    def _next(self) -> bool:
        """False at the end."""
        while not self._piece:
            try:
                message = next(self._call, None)
            except grpc.RpcError as error:
                raise self._explained(error) from error
            if message is None:
                return False
            if self.first is None:
                self.first = message
            self._piece = memoryview(message.arrow)
        return True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None: ...
