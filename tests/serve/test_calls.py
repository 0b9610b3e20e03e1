"""How each call ended, told once, whatever its kind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from support_kafka import until

from naiad_auth import AuthInterceptor, TokenStore
from naiad_serve.calls import CallObserver

Told = list[tuple[str, str]]
# What the server has begun and won't end by itself.
waiting: list[bytes] = []
ABORT = grpc.StatusCode.FAILED_PRECONDITION


async def unary(request: bytes, context: Any) -> bytes:
    if request == b"abort":
        await context.abort(ABORT, "no")
    if request == b"raise":
        raise ValueError("a fault of ours")
    if request == b"wait":
        waiting.append(request)
        await asyncio.Event().wait()
    return request


async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield b"1"
    yield await unary(request, context)


async def gather(requests: AsyncIterator[bytes], context: Any) -> bytes:
    return b"".join([request async for request in requests])


async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


@contextlib.asynccontextmanager
async def serving(told: Told, tokens: TokenStore | None = None) -> AsyncIterator[grpc.aio.Channel]:
    def observe(method: str, code: str, seconds: float) -> None:
        assert seconds >= 0
        told.append((method, code))

    server = grpc.aio.server(
        interceptors=[CallObserver({"t.Watched": observe}), AuthInterceptor(tokens)]
    )
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
        "Gather": grpc.stream_unary_rpc_method_handler(gather),
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
    }
    for service in ("t.Watched", "t.Other"):
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


async def until_told(told: Told, expected: Told) -> None:
    await until(lambda: len(told) >= len(expected), 10)
    # A caller knows of an end before the observer does, or after.
    assert sorted(told) == sorted(expected)


@pytest.mark.parametrize(
    ("request_", "code"), [(b"x", "OK"), (b"abort", ABORT.name), (b"raise", "UNKNOWN")]
)
async def test_each_end_has_its_code(request_: bytes, code: str) -> None:
    told: Told = []
    async with serving(told) as channel:
        with contextlib.suppress(grpc.aio.AioRpcError):
            assert await channel.unary_unary("/t.Watched/Unary")(request_) == request_
            assert code == "OK"
        with contextlib.suppress(grpc.aio.AioRpcError):
            call = channel.unary_stream("/t.Watched/Stream")(request_)
            assert [answer async for answer in call] == [b"1", request_]
            assert code == "OK"
        await until_told(told, [("Unary", code), ("Stream", code)])


async def test_streams_of_requests_pass_through() -> None:
    told: Told = []

    async def requests() -> AsyncIterator[bytes]:
        for one in (b"a", b"b"):
            yield one

    async with serving(told) as channel:
        assert await channel.stream_unary("/t.Watched/Gather")(requests()) == b"ab"
        call = channel.stream_stream("/t.Watched/Echo")(requests())
        assert [answer async for answer in call] == [b"a", b"b"]
        await until_told(told, [("Gather", "OK"), ("Echo", "OK")])


async def test_one_that_its_caller_gave_up() -> None:
    told: Told = []
    async with serving(told) as channel:
        waiting.clear()
        # A call that the server hasn't begun is nobody's to tell of.
        unary = channel.unary_unary("/t.Watched/Unary")(b"wait")
        await until(lambda: len(waiting) == 1, 10)
        unary.cancel()
        with pytest.raises(asyncio.CancelledError):
            await unary
        stream = channel.unary_stream("/t.Watched/Stream")(b"wait")
        assert await stream.read() == b"1"
        await until(lambda: len(waiting) == 2, 10)
        stream.cancel()
        await until_told(told, [("Unary", "CANCELLED"), ("Stream", "CANCELLED")])


async def test_one_that_login_refused_and_others_services(tmp_path: Any) -> None:
    told: Told = []
    async with serving(told, TokenStore(tmp_path / "tokens.json")) as channel:
        for method in ("Watched/Unary", "Other/Unary", "Watched/Absent", "Nobody/Unary"):
            with pytest.raises(grpc.aio.AioRpcError):
                await channel.unary_unary(f"/t.{method}")(b"x")
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_stream("/t.Watched/Stream")(b"x").read()
        await until_told(told, [("Unary", "UNAUTHENTICATED"), ("Stream", "UNAUTHENTICATED")])
