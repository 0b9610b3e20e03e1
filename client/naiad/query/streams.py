"""Answers that are read while they come, for those that need not be in memory whole."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc
import pyarrow as pa


class Batches:
    """The record batches of one answer, in order. Close it, or read it to its end.

    Making it waits for the schema. It and reading raise what `explained` makes of gRPC's errors.
    """

    def __init__(self, call: Any, explained: Callable[[grpc.RpcError], Exception]) -> None:
        """`call`: the answer of a gRPC call, whose messages have a part of an Arrow stream."""
        self._call = call
        self._source = io.BufferedReader(_Pieces(call, explained), 1 << 20)
        try:
            self._reader = pa.ipc.open_stream(self._source)
        except BaseException:
            self.close()
            raise

    @property
    def schema(self) -> pa.Schema:
        return self._reader.schema

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


class _Pieces(io.RawIOBase):
    """The bytes of a call's messages, one behind the other."""

    def __init__(self, call: Any, explained: Callable[[grpc.RpcError], Exception]) -> None:
        self._call = iter(call)
        self._explained = explained
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._piece:
            try:
                message = next(self._call, None)
            except grpc.RpcError as error:
                raise self._explained(error) from error
            if message is None:
                return 0
            self._piece = memoryview(message.arrow)
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count
