"""The dashboard as a process: Streamlit as a child, and its health."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import naiad_dashboard
from naiad_serve.address import free_port
from naiad_serve.children import Child
from naiad_serve.process import Process
from naiad_serve.stages import DashboardSettings

log = logging.getLogger(__name__)

PAGES = "dashboard"
_LOOK_SECONDS = 2.0


async def dashboard(settings: DashboardSettings, process: Process) -> None:
    address = settings.listen
    port = free_port(address, host_option="NAIAD_LISTEN", port_option="NAIAD_LISTEN")
    command = naiad_dashboard.command(
        server_url=settings.server,
        host=address.host,
        port=port,
        login=settings.needs_login,
        tls_certificate=settings.tls.certificate if settings.tls else None,
        tls_key=settings.tls.key if settings.tls else None,
    )
    child = Child("dashboard", command, quiet=True)
    process.ending.push_async_callback(child.stop)
    process.readiness.lacks(PAGES, "it is starting")
    await child.start()
    process.watch(PAGES, _watch(process, address.reachable_host, port))
    await process.work(f"pages on port {port}")


async def _watch(process: Process, host: str, port: int) -> None:
    while True:
        if await accepts(host, port):
            process.readiness.has(PAGES)
        else:
            process.readiness.lacks(PAGES, "it takes no connections")
        await asyncio.sleep(_LOOK_SECONDS if process.readiness.ready else 0.1)


async def accepts(host: str, port: int) -> bool:
    """Whether something takes connections there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
