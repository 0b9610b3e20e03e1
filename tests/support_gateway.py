"""One address for ingest and query, as the gateway of a cluster gives it: calls go where their
service is. (The gateway's own nginx is tested in tests/deploy_files.)"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
from support_ports import free_port
from support_proxy import OwnLoop

from naiad_proto.v1 import ingest_pb2, query_pb2

INGEST = ingest_pb2.DESCRIPTOR.services_by_name["IngestService"].full_name
QUERY = query_pb2.DESCRIPTOR.services_by_name["QueryService"].full_name
# Set by gRPC itself, on each way anew.
_OWN = ("grpc-", "user-agent", "te", "content-type")
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Back soon to a service that was away.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 500),
]


class Gateway(grpc.GenericRpcHandler):
    def __init__(self, *, ingest: str, query: str) -> None:
        """`ingest`, `query`: host:port of each."""
        self._targets = {INGEST: ingest, QUERY: query}
        self._channels: Mapping[str, grpc.aio.Channel] = {}
        self.port = free_port()
        self._own = OwnLoop()
        self._own.call(self._start())

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._own.call(self._stop())
        self._own.close()

    async def _start(self) -> None:
        self._channels = {
            service: grpc.aio.insecure_channel(target, options=_OPTIONS)
            for service, target in self._targets.items()
        }
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers((self,))
        self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def _stop(self) -> None:
        await self._server.stop(0)
        for channel in self._channels.values():
            await channel.close()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        method = str(details.method)  # type: ignore[attr-defined]
        channel = self._channels.get(method.split("/")[1])
        if channel is None:
            return None

        async def passed(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            # On the wire all kinds of calls are streams.
            call = channel.stream_stream(method)(
                requests, timeout=context.time_remaining(),
                metadata=_passed_on(context.invocation_metadata()),
            )  # fmt: skip
            try:
                async for answer in call:
                    yield answer
            except grpc.aio.AioRpcError as error:
                trailing = tuple(error.trailing_metadata())
                await context.abort(error.code(), error.details() or "", trailing)

        return grpc.stream_stream_rpc_method_handler(passed)


def _passed_on(metadata: Any) -> tuple[tuple[str, str | bytes], ...]:
    return tuple((key, value) for key, value in metadata if not key.startswith(_OWN))
