"""The gate, on a real server with all four kinds of calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from support_naiad import LONGER

from naiad_auth import (
    ANONYMOUS,
    AuthInterceptor,
    Principal,
    TokenStore,
    acting_as,
    current_principal,
)

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


async def _say() -> bytes:
    # Let other calls run in between: a shared variable would be overwritten.
    await asyncio.sleep(0)
    return current_principal().name.encode()


async def _unary_unary(request: bytes, context: object) -> bytes:
    return await _say()


async def _unary_stream(request: bytes, context: object) -> AsyncIterator[bytes]:
    for _ in range(3):
        yield await _say()


async def _stream_unary(requests: AsyncIterator[bytes], context: object) -> bytes:
    async for _ in requests:
        pass
    return await _say()


async def _stream_stream(requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
    async for _ in requests:
        yield await _say()


@contextlib.asynccontextmanager
async def serving(tokens: TokenStore | None) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=[AuthInterceptor(tokens)])
    handlers = {
        "unary_unary": grpc.unary_unary_rpc_method_handler(_unary_unary),
        "unary_stream": grpc.unary_stream_rpc_method_handler(_unary_stream),
        "stream_unary": grpc.stream_unary_rpc_method_handler(_stream_unary),
        "stream_stream": grpc.stream_stream_rpc_method_handler(_stream_stream),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Who", handlers)])
    registered = {"unary_unary": grpc.unary_unary_rpc_method_handler(_unary_unary)}
    server.add_registered_method_handlers("test.Registered", registered)
    status = health.aio.HealthServicer()
    await status.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    reflection.enable_server_reflection([reflection.SERVICE_NAME], server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


async def _nothing() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def ask(
    channel: grpc.aio.Channel, kind: str, token: str | None = None, *, silent: bool = False
) -> set[str]:
    """The names that the handler saw. `silent` sends no message of a stream: one that meets the
    refusal on its way makes an INTERNAL of it in grpc.aio's client."""
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    call = getattr(channel, kind)(f"/test.Who/{kind}")
    request: Any = b"a"
    if kind.startswith("stream"):
        request = _nothing() if silent else iter([b"a", b"b"])
    answer = call(request, metadata=metadata, timeout=20 * LONGER)
    if kind.endswith("stream"):
        return {part.decode() async for part in answer}
    return {(await answer).decode()}


@pytest.fixture
def tokens(tmp_path: Path) -> TokenStore:
    return TokenStore(tmp_path / "tokens.json")


@pytest.mark.parametrize("kind", KINDS)
async def test_handlers_of_every_kind_see_who_asks(tokens: TokenStore, kind: str) -> None:
    secrets = {name: tokens.create(name=name) for name in ("ann", "bob", "cem")}
    async with serving(tokens) as channel:
        # Many at once: none may see another's principal.
        names = list(secrets) * 10
        seen = await asyncio.gather(*(ask(channel, kind, secrets[name]) for name in names))
        assert seen == [{name} for name in names]


@pytest.mark.parametrize("kind", KINDS)
async def test_no_token_no_entry(tokens: TokenStore, kind: str) -> None:
    tokens.create()
    async with serving(tokens) as channel:
        for wrong in (None, "naiad_wrong"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(channel, kind, wrong, silent=True)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert "NAIAD_API_TOKEN" in (caught.value.details() or "")


@pytest.mark.parametrize("kind", KINDS)
async def test_without_a_store_all_are_anonymous(kind: str) -> None:
    async with serving(None) as channel:
        assert await ask(channel, kind) == {ANONYMOUS.name}
        assert await ask(channel, kind, "naiad_wrong") == {ANONYMOUS.name}


async def test_methods_registered_ahead_pass_the_gate_too(tokens: TokenStore) -> None:
    secret = tokens.create(name="ann")
    async with serving(tokens) as channel:
        call = channel.unary_unary("/test.Registered/unary_unary", _registered_method=True)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"")
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert await call(b"", metadata=[("authorization", f"Bearer {secret}")]) == b"ann"


async def test_health_is_open_and_reflection_is_not(tokens: TokenStore) -> None:
    async with serving(tokens) as channel:
        health_stub = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest()
        assert (await health_stub.Check(request)).status == request_serving()
        watch = health_stub.Watch(request)
        assert (await watch.read()).status == request_serving()
        watch.cancel()
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ServerReflectionInfo(iter([question])).read()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def request_serving() -> int:
    return int(health_pb2.HealthCheckResponse.SERVING)


async def test_an_unknown_method_is_unimplemented_with_and_without_a_token(
    tokens: TokenStore,
) -> None:
    secret = tokens.create()
    async with serving(tokens) as channel:
        call = channel.unary_unary("/test.Who/nothing")
        for metadata in ([], [("authorization", f"Bearer {secret}")]):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"", metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_token_works_from_its_creation_to_its_revocation(tokens: TokenStore) -> None:
    async with serving(tokens) as channel:
        secret = tokens.create(name="ann")
        assert await ask(channel, "unary_unary", secret) == {"ann"}
        tokens.revoke(tokens.list()[0].id)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, "unary_unary", secret)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_damaged_token_file_refuses_without_telling_where_it_is(
    tokens: TokenStore, tmp_path: Path
) -> None:
    secret = tokens.create()
    (tmp_path / "tokens.json").write_text("{")
    async with serving(tokens) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, "unary_stream", secret)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "tokens.json" not in (caught.value.details() or "")


def test_outside_of_a_call_there_is_no_principal() -> None:
    with pytest.raises(RuntimeError, match="AuthInterceptor"):
        current_principal()
    with acting_as(Principal("ann")):
        assert current_principal().name == "ann"
    with pytest.raises(RuntimeError, match="AuthInterceptor"):
        current_principal()
