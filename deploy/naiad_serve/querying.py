"""The query stage as a process."""

from __future__ import annotations

import asyncio
from importlib.metadata import version

import grpc

from naiad_consumers.audit import audit
from naiad_eventlog import EventLog, EventLogError, open_event_log
from naiad_proto.v1 import query_pb2
from naiad_proto.v1.query_pb2 import AuditResponse
from naiad_query import QueryService, metrics
from naiad_query.errors import Refused
from naiad_query.service import Audit
from naiad_serve import engines
from naiad_serve.calls import CallObserver
from naiad_serve.grpcserver import GrpcServer
from naiad_serve.ingesting import check_port, file_store, serve, token_store
from naiad_serve.process import Process
from naiad_serve.stages import QuerySettings
from naiad_state import Cache, State
from naiad_store import Store

SERVICE = query_pb2.DESCRIPTOR.services_by_name["QueryService"].full_name


async def query(settings: QuerySettings, process: Process) -> None:
    check_port(settings)
    tokens = token_store(settings)
    store = await engines.store(process, settings.store)
    files = await file_store(process, settings.files, writable=False)
    service = QueryService(
        store,
        files,
        version=version("naiad"),
        dashboard_url=settings.dashboard_url or "",
        mode="cluster",
        threads=settings.query_threads,
        cache=cache(settings, process),
        audit=_audit(process, settings.event_log, store) if settings.event_log else None,
    )
    process.ending.push_async_callback(asyncio.to_thread, service.close)
    observer = CallObserver({SERVICE: metrics.answered})
    await serve(settings, process, GrpcServer({SERVICE: service}, tokens, [observer]))


def _audit(process: Process, url: str, store: Store) -> Audit:
    """Opens the log when the first audit is asked for: nothing else here needs it, and readers
    must not be kept waiting by a log that is away."""
    opened: list[EventLog] = []

    async def compare(project: str, run_id: str | None) -> AuditResponse:
        try:
            # One at a time, by who calls this.
            if not opened:
                opened.append(await open_event_log(url))
                process.ending.push_async_callback(opened[0].close)
            return await audit(opened[0], store, project, run_id)
        except EventLogError as error:
            raise Refused(
                grpc.StatusCode.UNAVAILABLE, f"the event log can't be read: {error}; ask again"
            ) from error

    return compare


def cache(settings: QuerySettings, process: Process) -> Cache | None:
    if not settings.state:
        return None
    state = State.open(settings.state)
    process.ending.push_async_callback(state.close)
    return Cache(state)
