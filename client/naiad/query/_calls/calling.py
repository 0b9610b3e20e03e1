"""How a call is made, and what it raises."""

from __future__ import annotations

from typing import Any, Self

import grpc
import pyarrow as pa

from naiad.connection import open_channel
from naiad.exceptions import NaiadAuthError, NaiadConnectionError, NaiadQueryError
from naiad.query.streams import Batches
from naiad.settings import api_token, server_url
from naiad_proto.v1.query_pb2_grpc import QueryServiceStub


class Calling:
    """What the calls of all kinds stand on: one connection and one token."""

    def __init__(
        self, url: str | None = None, token: str | None = None, *, timeout: float = 60.0
    ) -> None:
        self.url = server_url(url)
        self._channel = open_channel(self.url, api_token(token))
        self._stub = QueryServiceStub(self._channel)
        self._timeout = timeout

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _one(self, call: Any, request: Any) -> Any:
        try:
            return call(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise self._explained(error) from error

    def _answer(self, call: Any, request: Any) -> tuple[Any, pa.Table]:
        """The first message, with what it says beside the table, and the table."""
        with self._stream(call, request) as batches:
            return batches.first, batches.table()

    def _table(self, call: Any, request: Any) -> pa.Table:
        return self._answer(call, request)[1]

    def _stream(self, call: Any, request: Any) -> Batches:
        return Batches(call(request, timeout=self._timeout), self._explained)

    def _explained(self, error: grpc.RpcError) -> Exception:
        code, details = error.code(), error.details() or ""
        match code:
            case grpc.StatusCode.UNAVAILABLE if details.endswith("ask again"):
                # The server's own words: it is there, its store is not.
                return NaiadConnectionError(f"{self.url}: {details}")
            case grpc.StatusCode.UNAVAILABLE:
                # Of gRPC's chain of reasons the last one says something.
                return NaiadConnectionError(
                    f"no Naiad server answers at {self.url}. Start one with `naiad up`, or set"
                    f" NAIAD_URL. ({details.rpartition(': ')[2]})"
                )
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return NaiadConnectionError(
                    f"{self.url} did not answer within {self._timeout:g} s. Ask for less, or give"
                    " a longer timeout."
                )
            case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
                return NaiadAuthError(details)
            case _:
                return NaiadQueryError(details or f"{self.url} answered {code.name}")
