"""Networks that misbehave, between a client and a server on this machine.

`CuttingProxy` works on bytes: it delays, stalls and cuts TCP connections. `MeddlingProxy`
works on calls: it forwards some twice, some late and out of order, and denies having
forwarded others.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from support_naiad import LONGER

T = TypeVar("T")
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class OwnLoop:
    """An event loop on a thread, for servers beside a test that is not made of coroutines."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30 * LONGER)

    def close(self) -> None:
        self.call(self._cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(20 * LONGER)
        self.loop.close()

    async def listen(self, handle: Handle) -> asyncio.Server:
        """On a free port of this machine."""

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # Known from here on: a handler that is cancelled before its first step, or while it
            # waits, closes nothing.
            self._writers.append(writer)
            task = self.loop.create_task(handle(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._done)

        return await asyncio.start_server(connected, "127.0.0.1", 0)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    async def _cancel(self) -> None:
        # A connection that was just taken shows up a turn or two later.
        for _ in range(5):
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.sleep(0)


class CuttingProxy:
    """Passes bytes on to `port` until it cuts the connection, at a place that it draws.

    `done` counts what it did; `calm` lets everything through from then on; `hold` swallows
    everything and answers nothing, as a firewall does; `cut` ends all connections, so that
    the next ones go to another `target`, say.
    """

    def __init__(self, port: int, seed: int) -> None:
        self.target = port
        self._ends: set[asyncio.WriteTransport] = set()
        self._random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.calm = False
        self.hold = False
        self._own = OwnLoop()
        self._server = self._own.call(self._start())
        self.port = int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._own.loop.call_soon_threadsafe(self._server.close)
        self._own.close()

    def cut(self) -> None:
        self._own.call(self._cut())

    async def _cut(self) -> None:
        for end in list(self._ends):
            end.abort()

    async def _start(self) -> asyncio.Server:
        return await self._own.listen(self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Python's own streams complain of a handler that ends so.
        with contextlib.suppress(asyncio.CancelledError):
            await self._connected(reader, writer)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.calm and self._random.random() < 0.2:
            self.done["refused"] += 1
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._ends.add(writer.transport)
        # Bytes until the cut, both ways together: within the greeting, a header, a batch.
        left = [self._random.choice((30, 300, 3_000, 30_000, 300_000))]
        ways = [
            asyncio.create_task(self._pass(reader, far_writer, left)),
            asyncio.create_task(self._pass(far_reader, writer, left)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._ends.discard(writer.transport)
            for end in (writer, far_writer):
                # RST, not FIN: nobody is told how far it got.
                end.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: list[int]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(16 * 1024):
                while self.hold:
                    self.done["held"] += 1
                    await asyncio.sleep(0.02)
                if not self.calm:
                    left[0] -= len(data)
                    if left[0] < 0:
                        self.done["cut"] += 1
                        writer.write(data[: len(data) // 2])
                        return
                    if self._random.random() < 0.1:
                        self.done["delayed"] += 1
                        await asyncio.sleep(self._random.uniform(0, 0.05))
                writer.write(data)
                await writer.drain()


class ConnectProxy:
    """An HTTP proxy that knows CONNECT, and one server, whatever name it is asked for."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.asked: list[str] = []
        self._own = OwnLoop()
        self._server = self._own.call(self._start())
        self.port = int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        self._own.loop.call_soon_threadsafe(self._server.close)
        self._own.close()

    async def _start(self) -> asyncio.Server:
        return await self._own.listen(self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.splitlines()[0])
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        ways = [
            asyncio.create_task(_copy(reader, far_writer)),
            asyncio.create_task(_copy(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.transport.abort()
            far_writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()


_WRITE = "/naiad.v1.IngestService/WriteBatch"
_UPLOAD = "/naiad.v1.IngestService/UploadFile"
_DENIALS = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
)
FAULTS = ("twice", "denied before", "denied after", "held", "replayed later", "told to wait")


class MeddlingProxy(grpc.GenericRpcHandler):
    """A gRPC server that passes calls on to another one, in its own way.

    `rate` of the calls meet a fault. `poison`: bytes; a WriteBatch with them in it is answered
    INTERNAL, each time.
    """

    def __init__(self, target: str, seed: int, rate: float = 0.5) -> None:
        self._target = target
        self._random = random.Random(seed)
        self.rate = rate
        self.poison = b""
        self.answer: grpc.StatusCode | None = None
        self.done: Counter[str] = Counter()
        self._later: list[bytes] = []
        self._own = OwnLoop()
        self._own.call(self._start())

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._own.call(self._stop())
        self._own.close()

    async def _start(self) -> None:
        # Back soon to a server that was away.
        backoff = ("grpc.initial_reconnect_backoff_ms", "grpc.max_reconnect_backoff_ms")
        self._channel = grpc.aio.insecure_channel(
            self._target, options=[(name, 200) for name in backoff]
        )
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()

    async def _stop(self) -> None:
        await self._server.stop(0)
        await self._channel.close()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        method = str(details.method)  # type: ignore[attr-defined]
        if method == _UPLOAD:

            async def upload(requests: AsyncIterator[bytes], context: Any) -> bytes:
                return await self._uploaded(requests, context)

            return grpc.stream_unary_rpc_method_handler(upload)

        async def one(request: bytes, context: Any) -> bytes:
            return await self._passed(method, request, context)

        return grpc.unary_unary_rpc_method_handler(one)

    async def _uploaded(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        parts = [part async for part in requests]
        if self._random.random() < self.rate / 2:
            self.done["upload denied"] += 1
            await context.abort(self._random.choice(_DENIALS), "a fault of the proxy's")
        answer: bytes = await self._channel.stream_unary(_UPLOAD)(iter(parts))
        if self._random.random() < self.rate / 2:
            self.done["upload denied after"] += 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "a fault of the proxy's")
        return answer

    async def _passed(self, method: str, request: bytes, context: Any) -> bytes:
        if self.answer is not None:
            self.done["answered"] += 1
            await context.abort(self.answer, "not today")
        if method == _WRITE and self.poison and self.poison in request:
            self.done["poisoned"] += 1
            await context.abort(grpc.StatusCode.INTERNAL, "the server stumbles")
        fault = self._random.choice(FAULTS) if self._random.random() < self.rate else ""
        if fault:
            self.done[fault] += 1
        if fault == "denied before":
            await context.abort(self._random.choice(_DENIALS), "a fault of the proxy's")
        if fault == "told to wait":
            await self._tell_to_wait(context)
        if fault == "held":
            # Others overtake it.
            await asyncio.sleep(self._random.uniform(0, 0.3))
        answer = await self._forward(method, request, context)
        if fault == "twice":
            answer = await self._forward(method, request, context)
        if fault == "replayed later" and method == _WRITE:
            self._later.append(request)
        elif self._later and self._random.random() < 0.3:
            await self._forward(_WRITE, self._later.pop(0), context)
        if fault == "denied after":
            await context.abort(self._random.choice(_DENIALS), "a fault of the proxy's")
        return answer

    async def _forward(self, method: str, request: bytes, context: Any) -> bytes:
        try:
            answer: bytes = await self._channel.unary_unary(method)(request, timeout=20)
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "")
            raise
        return answer

    async def _tell_to_wait(self, context: Any) -> None:
        info = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=50_000_000))
        detail = any_pb2.Any()
        detail.Pack(info)
        status = status_pb2.Status(
            code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="full", details=[detail]
        )
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
