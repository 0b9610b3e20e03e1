"""The ingest stage as a process."""

from __future__ import annotations

import logging

from naiad_auth import TokenFileError, TokenStore
from naiad_consumers.writer import GROUP as WRITER_GROUP
from naiad_eventlog import EventLogError
from naiad_files import FileStore, FileStoreError, open_file_store
from naiad_ingest import Admission, IngestService, metrics
from naiad_ingest.service import SERVICE
from naiad_serve import engines
from naiad_serve.address import free_port
from naiad_serve.calls import CallObserver
from naiad_serve.errors import StartError
from naiad_serve.grpcserver import GrpcServer
from naiad_serve.logwatch import watch_log
from naiad_serve.memory import give_back_freed
from naiad_serve.process import Process
from naiad_serve.stages import IngestSettings, Serving
from naiad_state import Limits, State, Throttle

log = logging.getLogger(__name__)


async def ingest(settings: IngestSettings, process: Process) -> None:
    give_back_freed()
    check_port(settings)
    tokens = token_store(settings)
    event_log = await engines.event_log(process, settings.event_log)
    files = await file_store(process, settings.files, writable=True)
    service = IngestService(
        event_log,
        files,
        admission=Admission(settings.ingest_max_bytes),
        throttle=throttle(settings, process),
    )
    await engines.until_there(process, "reading of epochs", service.start, EventLogError)
    process.ending.push_async_callback(service.stop)
    process.watch("lag", watch_log(event_log, [WRITER_GROUP]))
    observer = CallObserver({SERVICE: metrics.answered})
    await serve(settings, process, GrpcServer({SERVICE: service}, tokens, [observer]))


def throttle(settings: IngestSettings, process: Process) -> Throttle | None:
    limits = Limits.parse(settings.limits)
    if not limits:
        return None
    state = None
    if settings.state:
        state = State.open(settings.state)
        process.ending.push_async_callback(state.close)
    made = Throttle(limits, state)
    process.ending.push_async_callback(made.close)
    return made


async def serve(settings: Serving, process: Process, server: GrpcServer) -> None:
    """Serves until the process is to stop, then drains as the process ends."""
    port = server.listen(
        settings.listen, settings.tls, host_option="NAIAD_LISTEN", port_option="NAIAD_LISTEN"
    )
    process.readiness.watch(server.serving)
    await server.start()
    process.ending.push_async_callback(
        server.drain, settings.drain_seconds, settings.drain_delay_seconds
    )
    await process.work(f"gRPC on port {port}")


def check_port(settings: Serving) -> None:
    """Raises StartError for a port that is taken, before any engine is waited for."""
    free_port(settings.listen, host_option="NAIAD_LISTEN", port_option="NAIAD_LISTEN")


def token_store(settings: Serving) -> TokenStore | None:
    if settings.tokens is None:
        return None
    tokens = TokenStore(settings.tokens)
    try:
        if tokens.empty():
            log.warning(
                "there are no tokens in %s, so every call is refused; make one with:"
                " naiad token create --tokens %s",
                settings.tokens,
                settings.tokens,
            )
    except TokenFileError as error:
        raise StartError(f"NAIAD_TOKENS: {error}") from error
    return tokens


async def file_store(process: Process, url: str, *, writable: bool) -> FileStore:
    """`writable`: waits until files can be written, too."""

    async def open_() -> FileStore:
        try:
            opened = open_file_store(url)
        except ValueError as error:
            raise StartError(f"NAIAD_FILES: {error}") from error
        if writable:
            await opened.check()
        return opened

    return await engines.until_there(process, "file store", open_, FileStoreError)
