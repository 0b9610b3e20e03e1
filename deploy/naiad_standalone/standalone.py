"""All stages in one process, wired together: what `naiad up` runs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

import naiad_dashboard
from naiad_auth import AuthInterceptor, TokenStore
from naiad_consumers import AlertConfig, Alerter, Live, Writer
from naiad_eventlog import EventLog, open_event_log
from naiad_eventlog.topics import ALL_TOPICS
from naiad_files import open_file_store
from naiad_ingest import SERVER_OPTIONS, IngestService
from naiad_proto.v1 import ingest_pb2, query_pb2
from naiad_query import QueryService
from naiad_standalone.children import Child, StartError
from naiad_standalone.datafolder import DataFolder
from naiad_standalone.options import OptionError, Options, authority, is_any
from naiad_standalone.supervision import Consumer, keep_running
from naiad_standalone.valkey import Valkey
from naiad_state import State
from naiad_store import Store

log = logging.getLogger(__name__)

# How long calls under way may take to end once the server was asked to stop.
_GRACE = 3.0

_SERVICES = (
    ingest_pb2.DESCRIPTOR.services_by_name["IngestService"].full_name,
    query_pb2.DESCRIPTOR.services_by_name["QueryService"].full_name,
)


class Standalone:
    """A whole Naiad. `start` returns when every port answers, `stop` when all is drained.

    Each part is started after what it needs and stopped in reverse order, so that calls
    end before the log that they append to, and consumers before the store.
    """

    def __init__(self, options: Options, folder: DataFolder) -> None:
        self.options = options
        self.url = ""
        self.dashboard_url = ""
        # A token made because there was none; shown once, never kept.
        self.new_token: str | None = None
        self._folder = folder
        self._ending = contextlib.AsyncExitStack()
        self._tokens: TokenStore | None = None

    async def start(self) -> None:
        """Raises OptionError for a taken port, StartError for a part that does not start, and
        whatever a stage says of its files."""
        options, folder = self.options, self._folder
        try:
            if options.needs_login:
                self._tokens = TokenStore(folder.tokens)
                if self._tokens.empty():
                    self.new_token = self._tokens.create(name="first start")
            # Before anything is started, so that a taken port costs a second, not five.
            _free_port(options.host, options.port, option="--port")
            dashboard_port = _free_port(options.host, options.dashboard_port)
            if dashboard_port is not None:
                scheme = "https" if options.tls else "http"
                self.dashboard_url = f"{scheme}://{authority(self._shown_host, dashboard_port)}"

            event_log = await open_event_log(folder.log_url)
            self._ending.push_async_callback(event_log.close)
            await event_log.create_topics(ALL_TOPICS)
            store = await asyncio.to_thread(_open_store, folder.store_url)
            self._ending.push_async_callback(asyncio.to_thread, store.close)
            valkey = Valkey(folder.valkey)
            self._ending.push_async_callback(valkey.stop)
            await valkey.start()

            state = State.open(valkey.url)
            self._ending.push_async_callback(state.close)
            await self._start_consumers(event_log, store, state)
            inner_url = await self._start_server(event_log, store)
            if dashboard_port is not None:
                await self._start_dashboard(dashboard_port, inner_url)
        except BaseException:
            await self._ending.aclose()
            raise

    async def stop(self) -> None:
        await self._ending.aclose()

    @property
    def _shown_host(self) -> str:
        """A host that a browser or client on this machine can type in."""
        return "127.0.0.1" if is_any(self.options.host) else self.options.host

    async def _start_consumers(self, event_log: EventLog, store: Store, state: State) -> None:
        alerts = AlertConfig.load(self.options.alerts) if self.options.alerts else AlertConfig()
        makers: dict[str, Callable[[], Consumer]] = {
            "writer": lambda: Writer(event_log, store),
            "live state": lambda: Live(event_log, state),
            "alerter": lambda: Alerter(event_log, store, alerts),
        }
        stop = asyncio.Event()
        tasks = [
            asyncio.create_task(keep_running(name, make, stop), name=name)
            for name, make in makers.items()
        ]

        async def drain() -> None:
            stop.set()
            await asyncio.gather(*tasks)

        self._ending.push_async_callback(drain)

    async def _start_server(self, event_log: EventLog, store: Store) -> str:
        """Returns the URL at which a child on this machine reaches the server."""
        options = self.options
        files = open_file_store(self._folder.files_url)
        ingest = IngestService(event_log, files)
        query = QueryService(
            store, files, version=version("naiad"), dashboard_url=self.dashboard_url
        )
        server = grpc.aio.server(
            interceptors=[AuthInterceptor(self._tokens)],
            # Without this two servers could share a port and each get half of the calls.
            options=[*SERVER_OPTIONS, ("grpc.so_reuseport", 0)],
        )
        await ingest.start()
        self._ending.push_async_callback(ingest.stop)
        ingest.add_to(server)
        query.add_to(server)
        status = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(status, server)
        names = (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)

        port = _listen(server, options)
        scheme = "grpcs" if options.tls else "grpc"
        self.url = f"{scheme}://{authority(self._shown_host, port)}"
        inner_url = self.url
        if options.tls:
            # The certificate names the host that others use, so a child on this machine
            # comes in by loopback; it needs its user's token there like everyone.
            inner_url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()

        async def end() -> None:
            await status.enter_graceful_shutdown()
            await server.stop(_GRACE)

        self._ending.push_async_callback(end)
        for name in ("", *_SERVICES):
            await status.set(name, health_pb2.HealthCheckResponse.SERVING)
        return inner_url

    async def _start_dashboard(self, port: int, server_url: str) -> None:
        options = self.options
        command = naiad_dashboard.command(
            server_url=server_url,
            host=options.host,
            port=port,
            login=options.needs_login,
            tls_certificate=options.tls_certificate,
            tls_key=options.tls_key,
        )
        child = Child("dashboard", command, quiet=True)
        self._ending.push_async_callback(child.stop)
        await child.start()
        host = "127.0.0.1" if is_any(options.host) else options.host.strip("[]")
        try:
            async with asyncio.timeout(60):
                # Another process's port: nothing there to wait on but asking.
                while not await _accepts(host, port):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise StartError(
                "the dashboard does not answer within a minute; --no-dashboard goes without it"
            ) from None


def _open_store(url: str) -> Store:
    Path(url.removeprefix("chdb://")).mkdir(mode=0o700, parents=True, exist_ok=True)
    store = Store.open(url)
    try:
        store.migrate()
    except BaseException:
        store.close()
        raise
    return store


def _listen(server: grpc.aio.Server, options: Options) -> int:
    address = authority(options.host, options.port)
    # gRPC's own message for a taken port is a paragraph; ask the kernel first.
    _free_port(options.host, options.port, option="--port")
    try:
        if options.tls_certificate and options.tls_key:
            client_ca = options.tls_client_ca
            credentials = grpc.ssl_server_credentials(
                [(options.tls_key.read_bytes(), options.tls_certificate.read_bytes())],
                root_certificates=client_ca.read_bytes() if client_ca else None,
                require_client_auth=client_ca is not None,
            )
            return server.add_secure_port(address, credentials)
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise OptionError(f"{address} can't be listened on: {error}") from error


def _free_port(host: str, port: int | None, option: str = "--dashboard-port") -> int | None:
    """`port` if it can be listened on now, or a free one for 0.

    Raises OptionError that names the port and the option to change.
    """
    if port is None:
        return None
    host = host.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: a port whose last connections are only waiting out is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except socket.gaierror as error:
        raise OptionError(f"--host {host} is not an address of this machine: {error}") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OptionError(
                f"port {port} on {host} is taken by another program (another Naiad, perhaps);"
                f" end it or choose another with {option}"
            ) from error
        if error.errno == errno.EACCES:
            raise OptionError(
                f"port {port} on {host} is not for this user; choose one above 1023 with {option}"
            ) from error
        raise OptionError(f"--host {host} can't be listened on: {error.strerror}") from error


async def _accepts(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True
