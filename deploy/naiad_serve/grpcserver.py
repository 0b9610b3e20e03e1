"""A gRPC server with what every one of ours has: login, health, reflection, a drain."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from naiad_auth import AuthInterceptor, TokenStore
from naiad_ingest import SERVER_OPTIONS
from naiad_serve.address import Address, authority, free_port
from naiad_serve.errors import StartError
from naiad_serve.tls import TlsFiles

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Service(Protocol):
    def add_to(self, server: grpc.aio.Server) -> None: ...


@runtime_checkable
class Streaming(Protocol):
    """A service with calls that go on until their caller goes."""

    def end_streams(self) -> None: ...


class GrpcServer:
    """Serves `services` (name -> what answers) from `start` to `drain`.

    Health says NOT_SERVING for each and for "" until `serving` is told otherwise.
    """

    def __init__(
        self,
        services: dict[str, Service],
        tokens: TokenStore | None,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        self._server = grpc.aio.server(
            # Login last: what is counted before it includes calls that it refuses.
            interceptors=[*interceptors, AuthInterceptor(tokens)],
            # Without this two servers could share a port and each get half of the calls.
            options=[*SERVER_OPTIONS, ("grpc.so_reuseport", 0)],
        )
        for service in services.values():
            service.add_to(self._server)
        self._streaming = [one for one in services.values() if isinstance(one, Streaming)]
        self._names = ("", *services)
        self._health = health.aio.HealthServicer()
        self._status: int = _NOT_SERVING
        self._telling: asyncio.Task[None] | None = None
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )

    def listen(
        self, address: Address, tls: TlsFiles | None, *, host_option: str, port_option: str
    ) -> int:
        """Returns the port. Raises StartError that names the option to change."""
        # gRPC's own message for a taken port is a paragraph; ask the kernel first.
        free_port(address, host_option=host_option, port_option=port_option)
        where = authority(address.host, address.port)
        try:
            if tls:
                return self._server.add_secure_port(where, tls.credentials())
            return self._server.add_insecure_port(where)
        except RuntimeError as error:
            raise StartError(f"{where} can't be listened on: {error}") from error

    async def start(self) -> None:
        for name in self._names:
            await self._health.set(name, self._status)
        await self._server.start()

    def serving(self, serving: bool) -> None:
        """What health says from now on. Nothing, once it drains."""
        self._status = _SERVING if serving else _NOT_SERVING
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        status = None
        while status != self._status:
            status = self._status
            for name in self._names:
                await self._health.set(name, status)

    async def drain(self, grace: float, delay: float = 0.0) -> None:
        """Health says NOT_SERVING at once; calls are taken for `delay` seconds more; then those
        under way get `grace` seconds to end, and new ones go elsewhere (GOAWAY)."""
        await self._health.enter_graceful_shutdown()
        if delay:
            await asyncio.sleep(delay)
        for service in self._streaming:
            service.end_streams()
        await self._server.stop(grace)
