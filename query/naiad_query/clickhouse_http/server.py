"""An ASGI application on a port, in the event loop that runs already."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

# How long answers under way may take once it was asked to stop, in seconds.
_GRACE = 3


class HttpServer:
    """`start` returns when it can be connected to; `stop` lets answers under way end."""

    def __init__(
        self,
        app: Starlette,
        *,
        certificate: Path | None = None,
        key: Path | None = None,
        client_ca: Path | None = None,
    ) -> None:
        """Over TLS with a certificate, and for clients with one of `client_ca` alone, if given."""
        self._server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",
                ws="none",
                http="h11",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_GRACE,
                ssl_certfile=certificate,
                ssl_keyfile=key,
                ssl_ca_certs=str(client_ca) if client_ca else None,
                ssl_cert_reqs=ssl.CERT_REQUIRED if client_ca else ssl.CERT_NONE,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Returns the port, a free one for 0. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host.strip("[]"), port))
            found = int(listening.getsockname()[1])
        except BaseException:
            listening.close()
            raise
        self._serving = asyncio.create_task(self._server.serve([listening]), name="clickhouse http")
        ready = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait({self._serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._serving.done():
            listening.close()
            await self._serving
            raise OSError(f"{host}:{port} can't be listened on")
        return found

    async def stop(self) -> None:
        """Idempotent."""
        if self._serving is not None:
            self._server.should_exit = True
            serving, self._serving = self._serving, None
            await serving


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals are for who runs the whole process.
        yield
