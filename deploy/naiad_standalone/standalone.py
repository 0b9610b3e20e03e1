"""All stages in one process, wired together: what `naiad up` runs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import naiad_dashboard
from naiad_auth import TokenStore
from naiad_consumers import (
    AlertConfig,
    Alerter,
    Janitor,
    Live,
    Marks,
    Roller,
    Writer,
    retainer,
)
from naiad_consumers.alerter.alerter import GROUP as ALERTER_GROUP
from naiad_consumers.audit import audit
from naiad_consumers.live.live import GROUP as LIVE_GROUP
from naiad_consumers.writer import GROUP as WRITER_GROUP
from naiad_eventlog import EventLog, open_event_log
from naiad_eventlog.topics import ALL_TOPICS
from naiad_files import open_file_store
from naiad_ingest import IngestService
from naiad_ingest import metrics as ingest_metrics
from naiad_proto.v1 import ingest_pb2, query_pb2
from naiad_query import QueryService
from naiad_query import metrics as query_metrics
from naiad_query.clickhouse_http import ReadOnly, authentication, clickhouse_app
from naiad_serve.address import Address, authority, free_port, listening_socket
from naiad_serve.calls import CallObserver
from naiad_serve.children import Child
from naiad_serve.dashing import accepts
from naiad_serve.endpoint import endpoint
from naiad_serve.errors import StartError
from naiad_serve.grpcserver import GrpcServer
from naiad_serve.httpserver import HttpServer
from naiad_serve.logwatch import watch_log
from naiad_serve.readiness import Readiness
from naiad_serve.supervision import Consumer, keep_running
from naiad_standalone.control import Control, Say, Task
from naiad_standalone.datafolder import DataFolder
from naiad_standalone.grouping import groups
from naiad_standalone.options import Options
from naiad_standalone.reviewing import review
from naiad_standalone.snapshotting import contents, rollups, snapshot
from naiad_standalone.valkey import Valkey
from naiad_state import Cache, State
from naiad_store import Store

log = logging.getLogger(__name__)

# How long calls under way may take to end once the server was asked to stop.
_GRACE = 3.0

_STARTING = "start"

# ClickHouse's own, which its drivers take unasked.
_SQL_PORT = 8123

_INGEST = ingest_pb2.DESCRIPTOR.services_by_name["IngestService"].full_name
_QUERY = query_pb2.DESCRIPTOR.services_by_name["QueryService"].full_name


class Standalone:
    """A whole Naiad. `start` returns when every port answers, `stop` when all is drained.

    Each part is started after what it needs and stopped in reverse order, so that calls
    end before the log that they append to, and consumers before the store.
    """

    def __init__(self, options: Options, folder: DataFolder) -> None:
        self.options = options
        self.url = ""
        self.dashboard_url = ""
        self.metrics_url = ""
        self.sql_url = ""
        # Why nobody listens on the usual port.
        self.sql_lacks = ""
        # A token made because there was none; shown once, never kept.
        self.new_token: str | None = None
        self._folder = folder
        self._readiness = Readiness()
        self._ending = contextlib.AsyncExitStack()
        self._tokens: TokenStore | None = None

    async def start(self) -> None:
        """Raises StartError for a taken port or a part that does not start, OptionError, and
        whatever a stage says of its files."""
        options, folder = self.options, self._folder
        try:
            if options.needs_login:
                self._tokens = TokenStore(folder.tokens)
                if self._tokens.empty():
                    self.new_token = self._tokens.create(name="first start")
            # Before anything is started, so that a taken port costs a second, not five.
            free_port(self._address, host_option="--host", port_option="--port")
            dashboard_port = None
            if options.dashboard_port is not None:
                dashboard_port = free_port(
                    Address(self._address.host, options.dashboard_port),
                    host_option="--host",
                    port_option="--dashboard-port",
                )
                scheme = "https" if options.tls else "http"
                host = self._address.reachable_host
                self.dashboard_url = f"{scheme}://{authority(host, dashboard_port)}"

            if options.metrics_port is not None:
                await self._start_metrics(options.metrics_port)
            sql_socket = self._sql_socket()
            event_log = await open_event_log(folder.log_url + options.log_query)
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
            await self._start_control(event_log, store)
            if options.metrics_port is not None:
                self._watch_log(event_log)
            inner_url = await self._start_server(event_log, store, state)
            if sql_socket is not None:
                await self._start_sql(store, sql_socket)
            if dashboard_port is not None:
                await self._start_dashboard(dashboard_port, inner_url)
            self._readiness.has(_STARTING)
        except BaseException:
            await self._ending.aclose()
            raise

    async def stop(self) -> None:
        self._readiness.drain()
        await self._ending.aclose()

    @property
    def _address(self) -> Address:
        return Address(self.options.host.strip("[]"), self.options.port)

    async def _start_metrics(self, port: int) -> None:
        # Nobody has to log in there, so it is for this machine.
        address = Address("127.0.0.1", port)
        listening = listening_socket(address, host_option="", port_option="--metrics-port")
        self._readiness.lacks(_STARTING, "it is starting")
        http = HttpServer(endpoint(self._readiness), listening)
        await http.start()
        self._ending.push_async_callback(http.stop)
        self.metrics_url = f"http://127.0.0.1:{http.port}/metrics"

    def _sql_socket(self) -> socket.socket | None:
        """Raises StartError when the port that was asked for is taken; without the usual one the
        rest goes on."""
        port = self.options.sql_port
        if port is None:
            return None
        address = Address(self._address.host, _SQL_PORT if port == "" else port)
        try:
            found = listening_socket(address, host_option="--host", port_option="--sql-port")
        except StartError as error:
            if port != "":
                raise
            self.sql_lacks = str(error)
            return None
        # Closed twice where it is served too, which is nothing.
        self._ending.callback(found.close)
        return found

    async def _start_sql(self, store: Store, listening: socket.socket) -> None:
        tls = self.options.tls_files()
        # Where nobody has to log in, only by names that a web page elsewhere can't have.
        hosts = None if self._tokens else frozenset({"127.0.0.1", "::1", "localhost"})
        answering = await asyncio.to_thread(ReadOnly, store)
        app = clickhouse_app(answering, authentication(self._tokens), hosts=hosts)
        http = HttpServer(app, listening, tls)
        await http.start()
        self._ending.push_async_callback(http.stop)
        where = authority(self._address.reachable_host, http.port)
        self.sql_url = f"http{'s' if tls else ''}://{where}"

    def _watch_log(self, event_log: EventLog) -> None:
        groups = [WRITER_GROUP, LIVE_GROUP, ALERTER_GROUP]
        task = asyncio.create_task(watch_log(event_log, groups, self._folder.log_file))

        async def end() -> None:
            task.cancel()
            await asyncio.wait({task})

        self._ending.push_async_callback(end)

    async def _start_consumers(self, event_log: EventLog, store: Store, state: State) -> None:
        alerts = AlertConfig.load(self.options.alerts) if self.options.alerts else AlertConfig()
        files = open_file_store(self._folder.files_url)
        marks = Marks(store)
        makers: dict[str, Callable[[], Consumer]] = {
            "writer": lambda: Writer(event_log, store, marks=marks),
            "roller": lambda: Roller(store, marks),
            "live state": lambda: Live(event_log, state),
            "alerter": lambda: Alerter(event_log, store, alerts),
            "janitor": lambda: Janitor(event_log, store, files.remove),
            "retention": lambda: retainer(event_log),
        }
        stop = asyncio.Event()
        tasks = [
            asyncio.create_task(keep_running(name, make, stop, self._readiness), name=name)
            for name, make in makers.items()
        ]

        async def drain() -> None:
            stop.set()
            await asyncio.gather(*tasks)

        self._ending.push_async_callback(drain)

    async def _start_control(self, event_log: EventLog, store: Store) -> None:
        """For commands on this machine."""

        async def take(request: dict[str, Any], say: Say) -> dict[str, Any]:
            return await snapshot(event_log, store, str(request["target"]), say)

        async def check(_request: dict[str, Any], _say: Say) -> dict[str, Any]:
            return await asyncio.to_thread(contents, store)

        async def check_rollups(_request: dict[str, Any], _say: Say) -> dict[str, Any]:
            return await asyncio.to_thread(rollups, store)

        async def dead(request: dict[str, Any], _say: Say) -> dict[str, Any]:
            return await review(event_log, request)

        async def reading(request: dict[str, Any], _say: Say) -> dict[str, Any]:
            return await groups(event_log, request)

        tasks: dict[str, Task] = {
            "snapshot": take, "check": check, "check rollups": check_rollups,
            "dead": dead, "groups": reading,
        }  # fmt: skip
        control = Control(self._folder.path, tasks)
        await control.start()
        self._ending.push_async_callback(control.stop)

    async def _start_server(self, event_log: EventLog, store: Store, state: State) -> str:
        """Returns the URL at which a child on this machine reaches the server."""
        options = self.options
        files = open_file_store(self._folder.files_url)
        ingest = IngestService(event_log, files)
        query = QueryService(
            store,
            files,
            version=version("naiad"),
            dashboard_url=self.dashboard_url,
            cache=Cache(state),
            audit=functools.partial(audit, event_log, store),
        )
        observer = CallObserver({_INGEST: ingest_metrics.answered, _QUERY: query_metrics.answered})
        server = GrpcServer({_INGEST: ingest, _QUERY: query}, self._tokens, [observer])
        await ingest.start()
        self._ending.push_async_callback(ingest.stop)

        tls = options.tls_files()
        port = server.listen(self._address, tls, host_option="--host", port_option="--port")
        self.url = f"grpc{'s' if tls else ''}://{authority(self._address.reachable_host, port)}"
        inner_url = self.url
        if tls:
            # The certificate names the host that others use, so a child on this machine
            # comes in by loopback; it needs its user's token there like everyone.
            inner_port = server.listen(
                Address("127.0.0.1", 0), None, host_option="--host", port_option="--port"
            )
            inner_url = f"grpc://127.0.0.1:{inner_port}"
        await server.start()
        self._ending.push_async_callback(server.drain, _GRACE)
        server.serving(True)
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
        host = self._address.reachable_host
        try:
            async with asyncio.timeout(60):
                # Another process's port: nothing there to wait on but asking.
                while not await accepts(host, port):  # noqa: ASYNC110
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
