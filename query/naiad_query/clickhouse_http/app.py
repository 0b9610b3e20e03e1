"""The interface as an ASGI application, over whatever answers."""

from __future__ import annotations

import json
import logging
import secrets
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from naiad_auth import Principal
from naiad_query.clickhouse_http.asked import Asked, Credentials, asked, credentials
from naiad_query.clickhouse_http.compression import chosen, compressed
from naiad_query.clickhouse_http.errors import REQUIRED_PASSWORD, AskedWrongly, status_of

log = logging.getLogger(__name__)

# Raises AskedWrongly for who is nobody.
Authenticate = Callable[[Credentials], Principal]

# Questions that are begun, and answers under way, at a time; more wait.
_WORKERS = 8
_ANSWERS = 32
# Of an answer that is made before its status goes out; ClickHouse's own buffer has as much.
_HEAD_BYTES = 1 << 20
# A client that takes nothing for so long has gone.
_SEND_SECONDS = 60
_SUMMARY = (
    "read_rows", "read_bytes", "written_rows", "written_bytes", "total_rows_to_read",
    "result_rows", "result_bytes",
)  # fmt: skip
_PLAIN = "text/plain; charset=UTF-8"
_CONTENT_TYPES = {
    "json": "application/json; charset=UTF-8",
    "jsoncompact": "application/json; charset=UTF-8",
    "jsoneachrow": "application/x-ndjson; charset=UTF-8",
    "jsoncompacteachrow": "application/x-ndjson; charset=UTF-8",
    "csv": "text/csv; charset=UTF-8",
    "csvwithnames": "text/csv; charset=UTF-8",
    "tabseparated": "text/tab-separated-values; charset=UTF-8",
    "tsv": "text/tab-separated-values; charset=UTF-8",
    "tabseparatedwithnames": "text/tab-separated-values; charset=UTF-8",
    "tabseparatedwithnamesandtypes": "text/tab-separated-values; charset=UTF-8",
    "native": "application/octet-stream",
    "rowbinary": "application/octet-stream",
    "rowbinarywithnamesandtypes": "application/octet-stream",
    "arrow": "application/vnd.apache.arrow.file",
    "arrowstream": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
}


@dataclass(frozen=True)
class Answer:
    """`chunks` may raise AskedWrongly; the first ones are asked for before the status goes out,
    and `summary`, which they may change, is read then."""

    chunks: Iterable[bytes]
    format: str = "TabSeparated"
    summary: Mapping[str, int] = field(default_factory=dict)


class Answering(Protocol):
    """What stands behind the interface; called in threads, several at a time."""

    name: str
    timezone: str
    # Of a request, unpacked.
    max_bytes: int

    def answer(self, asked: Asked, principal: Principal) -> Answer:
        """Raises AskedWrongly."""


def clickhouse_app(
    answering: Answering,
    authenticate: Authenticate,
    *,
    hosts: frozenset[str] | None = None,
) -> Starlette:
    """`hosts`: names by which it may be asked, where nobody has to log in: a page in a browser
    may point a name of its own at this machine and read what it is answered."""
    begins, answers = anyio.CapacityLimiter(_WORKERS), anyio.CapacityLimiter(_ANSWERS)

    async def query(request: Request) -> Response:
        query_id = request.query_params.get("query_id") or str(uuid.uuid4())
        headers = {
            "X-ClickHouse-Server-Display-Name": answering.name,
            "X-ClickHouse-Query-Id": "".join(c for c in query_id if " " <= c <= "~")[:200],
            "X-ClickHouse-Timezone": answering.timezone,
            "X-Content-Type-Options": "nosniff",
        }
        try:
            if hosts is not None and _host(request) not in hosts:
                raise AskedWrongly(
                    f"this server is not asked by the name {_host(request)[:100]!r}; use"
                    " 127.0.0.1, or run it with --login",
                    497,
                )
            principal = authenticate(credentials(request))
            question = await asked(request, max_bytes=answering.max_bytes)
            if not question.statement.strip():
                if request.url.path == "/" and request.method in ("GET", "HEAD"):
                    return PlainTextResponse("Ok.\n", headers=headers)
                raise AskedWrongly("Empty query", 62)
            turn = object()
            await answers.acquire_on_behalf_of(turn)
            try:
                answer, chunks = await anyio.to_thread.run_sync(
                    _begun, answering, question, principal, limiter=begins
                )
            except BaseException:
                answers.release_on_behalf_of(turn)
                raise
        except AskedWrongly as error:
            return _refusal(error, headers)
        except RecursionError:
            return _refusal(AskedWrongly("the statement is nested too deeply", 62), headers)
        headers["X-ClickHouse-Format"] = answer.format
        summary = {name: str(answer.summary.get(name, 0)) for name in _SUMMARY}
        headers["X-ClickHouse-Summary"] = json.dumps(summary)
        tag = secrets.token_hex(8)
        headers["X-ClickHouse-Exception-Tag"] = tag
        content = _telling(chunks, tag)
        wants = request.query_params.get("enable_http_compression", "0") not in ("", "0")
        if wants and (encoding := chosen(request.headers.get("accept-encoding", ""))):
            headers["Content-Encoding"] = encoding
            content = compressed(content, encoding)
        return _Streaming(
            content,
            lambda: answers.release_on_behalf_of(turn),
            headers=headers,
            media_type=_CONTENT_TYPES.get(answer.format.lower(), _PLAIN),
        )

    async def alive(request: Request) -> Response:
        return PlainTextResponse("Ok.\n")

    async def unknown(request: Request) -> Response:
        return PlainTextResponse(
            f"There is no handle {request.url.path}\n\nUse / or /ping for health checks.\n"
            "Send queries from your program with POST method or GET /?query=...\n",
            404,
        )

    methods = ["GET", "POST", "HEAD"]
    return Starlette(
        routes=[
            Route("/", query, methods=methods),
            Route("/query", query, methods=methods),
            Route("/ping", alive, methods=["GET", "HEAD"]),
            # Of replicas, of which there are none.
            Route("/replicas_status", alive, methods=["GET", "HEAD"]),
            Route("/{path:path}", unknown, methods=methods),
        ]
    )


class _Streaming(StreamingResponse):
    """Breaks off where the answer does, and where a client doesn't take it: what makes it has
    something of the engine's all the while."""

    def __init__(self, content: Generator[bytes], ended: Callable[[], None], **more: Any) -> None:
        super().__init__(iterate_in_threadpool(content), **more)
        self._source = content
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Of a client that went away too: what made it must not go on until somebody sweeps up.
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._source.close)
            self._ended()

    async def stream_response(self, send: Send) -> None:
        async def taken(message: Message) -> None:
            with anyio.fail_after(_SEND_SECONDS):
                await send(message)

        try:
            await super().stream_response(taken)
        except AskedWrongly as error:
            # It has been told, behind the rows. Without an end the client knows that it is none.
            log.info("an answer broke off: %s", error.message)
        except TimeoutError:
            log.warning("a client took nothing of its answer for %d s", _SEND_SECONDS)


def _begun(
    answering: Answering, question: Asked, principal: Principal
) -> tuple[Answer, Generator[bytes]]:
    """The answer and its chunks, the first of which are there, or all of them."""
    answer = answering.answer(question, principal)
    content = _from_file(answer.chunks) if question.whole else _with_head(answer.chunks)
    # Its head is what is asked for first, and may raise.
    next(content)
    return answer, content


def _with_head(chunks: Iterable[bytes]) -> Generator[bytes]:
    """Nothing, once as much is there as ClickHouse holds back, so that what goes wrong by then has
    a status; then the chunks."""
    source = iter(chunks)
    try:
        head, size = [], 0
        while size < _HEAD_BYTES and (chunk := next(source, None)) is not None:
            head.append(chunk)
            size += len(chunk)
        yield b""
        yield b"".join(head)
        yield from source
    finally:
        _closed(source)


def _from_file(chunks: Iterable[bytes]) -> Generator[bytes]:
    """The same of all of them, which wait on disk where they are many."""
    source = iter(chunks)
    with tempfile.SpooledTemporaryFile(_HEAD_BYTES) as file:
        try:
            for chunk in source:
                file.write(chunk)
        finally:
            _closed(source)
        yield b""
        file.seek(0)
        while piece := file.read(_HEAD_BYTES):
            yield piece


def _closed(chunks: Iterator[bytes]) -> None:
    """Of an answer that nobody wants any more, the question ends."""
    if isinstance(chunks, Generator):
        chunks.close()


def _telling(chunks: Generator[bytes], tag: str) -> Generator[bytes]:
    """An error in the middle of an answer, as ClickHouse says it there: behind what was sent,
    between two tags. Then the answer breaks off."""
    try:
        yield from chunks
    except AskedWrongly as error:
        text = error.text.encode() + b"\n"
        yield (
            b"\r\n__exception__\r\n" + tag.encode() + b"\r\n" + text
            + f"{len(text)} {tag}".encode() + b"\r\n__exception__\r\n"
        )  # fmt: skip
        raise


def _refusal(error: AskedWrongly, headers: Mapping[str, str]) -> Response:
    given = {**headers, "X-ClickHouse-Exception-Code": str(error.code)}
    if error.code == REQUIRED_PASSWORD:
        given["WWW-Authenticate"] = 'Basic realm="Naiad"'
    return PlainTextResponse(f"{error.text}\n", status_of(error.code), given)


def _host(request: Request) -> str:
    host = request.headers.get("host", "")
    name, bracket, _ = host.partition("]")
    return name.removeprefix("[") if bracket else host.partition(":")[0].lower()
