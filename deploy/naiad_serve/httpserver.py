"""A small HTTP server on the event loop that everything else runs on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from naiad_serve.tls import TlsFiles

# Requests under way at the end get this long, in seconds.
_GRACE = 2


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # They are the process's, which ends this when its turn has come.
        yield


class HttpServer:
    """Serves `app` on a listening socket, which it closes, from `start` to `stop`; by HTTPS
    with `tls`."""

    def __init__(self, app: ASGIApp, listening: socket.socket, tls: TlsFiles | None = None) -> None:
        self._socket = listening
        self._server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=_GRACE,
                ssl_certfile=tls.certificate if tls else None,
                ssl_keyfile=tls.key if tls else None,
                ssl_ca_certs=str(tls.client_ca) if tls and tls.client_ca else None,
                ssl_cert_reqs=(ssl.CERT_REQUIRED if tls and tls.client_ca else ssl.CERT_NONE),
            )
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Requests that come before it is up wait in the socket."""
        self._task = asyncio.create_task(self._server.serve([self._socket]), name="http")

    async def stop(self) -> None:
        self._server.should_exit = True
        if self._task:
            await self._task
        self._socket.close()
