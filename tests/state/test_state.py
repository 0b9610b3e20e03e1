"""The connection, against a real Valkey to which everything happens that can."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trustme
from prometheus_client import REGISTRY
from redis.asyncio import Redis
from support_naiad import LONGER
from support_ports import free_port
from support_valkey import Valkey, running_valkey

from naiad_state import State, StateUnavailable
from naiad_state import breaker as breaker_module
from naiad_state.state import PATIENCE

PASSWORD = "s3cret"
# Seconds for a call that has to succeed: a tenth of one may be too short on a busy machine.
ENOUGH = 20.0 * LONGER


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker_module, "LONGEST_PAUSE", 0.3)


async def ping(redis: Redis) -> object:
    return await redis.get("x")


async def store(redis: Redis) -> object:
    return await redis.set("x", b"1")


async def works(call: Awaitable[object]) -> bool:
    try:
        await call
    except StateUnavailable:
        return False
    return True


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds * LONGER):
        # Another process's state: nothing there to wait on but asking.
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name.startswith("naiad_state")]


@pytest.mark.usefixtures("patience")
async def test_read_and_write(valkey: Valkey) -> None:
    async with State.open(valkey.url) as state:
        assert await state.read(ping) is None
        assert await state.write(store) is True
        assert await state.read(ping) == b"1"
        assert not state.away


@pytest.mark.parametrize("how", ["killed", "paused"])
async def test_an_outage_is_told_once_costs_nothing_and_ends(
    valkey: Valkey, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    def errors() -> float:
        return REGISTRY.get_sample_value("naiad_state_errors_total") or 0.0

    at_first = errors()
    async with State.open(valkey.url) as state:
        await state.write(store, patience=ENOUGH)
        if how == "killed":
            valkey.stop()
        else:
            valkey.pause()
        longest = 0.0
        for _ in range(3):
            began = time.monotonic()
            assert not await works(state.read(ping))
            longest = max(longest, time.monotonic() - began)
        # A busy machine adds to it, and no call may hang.
        assert longest < PATIENCE + 10 * LONGER
        assert state.away
        before = errors()
        times = [time.monotonic()]
        for _ in range(10_000):
            assert not await works(state.read(ping))
            times.append(time.monotonic())
        # Of most: this process may stand still in one.
        each = statistics.median(after - began for began, after in itertools.pairwise(times))
        assert each < PATIENCE / 100
        # Nor is it tried all the time.
        least = breaker_module.FIRST_PAUSE / 2
        assert errors() - before <= (times[-1] - times[0]) / least + 1
        for _ in range(5):
            await works(state.write(store))
        assert errors() >= at_first + 2
        if how == "killed":
            valkey.start()
        else:
            valkey.resume()
        await until(lambda: works(state.read(ping)))
        await until(lambda: works(state.write(store)))
        assert not state.away
        for _ in range(100):
            # Answers that came late are nobody else's.
            echo = state.read(lambda redis: redis.echo("mine"), patience=ENOUGH)
            assert await echo == b"mine"
            assert await state.read(ping, patience=ENOUGH) == b"1"
    told = said(caplog)
    assert len(told) == 2, told
    assert "can't be used" in told[0]
    assert "is back" in told[1]


async def test_many_at_once_share_few_connections_also_after_a_pause(valkey: Valkey) -> None:
    async with State.open(valkey.url) as state:
        await state.write(store, patience=ENOUGH)
        valkey.pause()
        answers = await asyncio.gather(*(works(state.read(ping)) for _ in range(200)))
        assert not any(answers)
        valkey.resume()
        await until(lambda: works(state.read(ping)))
        found = await asyncio.gather(
            *(state.read(ping, patience=ENOUGH) for _ in range(200)), return_exceptions=True
        )
        assert found == [b"1"] * 200
        clients = await state.read(lambda redis: redis.info("clients"), patience=ENOUGH)
        assert clients["connected_clients"] <= 20


async def test_a_cancelled_call_leaves_nothing_behind(valkey: Valkey) -> None:
    async with State.open(valkey.url) as state:
        await state.write(store, patience=ENOUGH)
        valkey.pause()
        calls = [asyncio.create_task(state.read(ping, patience=300)) for _ in range(40)]
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30 * LONGER)
        assert all(call.cancelled() for call in calls)
        valkey.resume()
        for _ in range(50):
            await until(lambda: works(state.read(ping)))


@pytest.mark.usefixtures("patience")
async def test_a_full_redis_is_read_from_and_not_written_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_valkey(tmp_path, maxmemory="3mb", maxmemory_policy="noeviction") as valkey:
        async with State.open(valkey.url) as state:
            await state.write(store)
            number = 0

            async def fill(redis: Redis) -> object:
                nonlocal number
                number += 1
                return await redis.set(f"fill{number}", b"x" * 100_000)

            while await works(state.write(fill)):
                assert number < 1000
            for _ in range(10):
                assert await works(state.read(ping))
                assert not await works(state.write(fill))
            assert state.away
            assert valkey.command("FLUSHALL") == "+OK"
            await until(lambda: works(state.write(store)))
    told = said(caplog)
    assert len(told) == 2, told
    assert "maxmemory" in told[0]


@pytest.mark.usefixtures("patience")
async def test_a_replica_without_its_master_is_read_from_and_not_written_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_valkey(tmp_path) as valkey:
        assert valkey.command("SET", "x", "1") == "+OK"
        assert valkey.command("REPLICAOF", "127.0.0.1", str(free_port())) == "+OK"
        async with State.open(valkey.url) as state:
            for _ in range(10):
                assert await state.read(ping) == b"1"
                assert not await works(state.write(store))
            assert valkey.command("REPLICAOF", "NO", "ONE") == "+OK"
            await until(lambda: works(state.write(store)))
    told = said(caplog)
    assert len(told) == 2, told
    assert "replica" in told[0]


@pytest.mark.usefixtures("patience")
async def test_a_wrong_password_is_told_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with running_valkey(tmp_path, requirepass="right") as valkey:
        for password, reason in (
            ("", "Authentication required"),
            (f":{PASSWORD}@", "invalid username-password pair"),
        ):
            caplog.clear()
            url = valkey.url.replace("unix://", f"unix://{password}")
            async with State.open(url) as state:
                for _ in range(5):
                    assert not await works(state.read(ping))
            assert reason in caplog.text
            assert PASSWORD not in caplog.text
        async with State.open(valkey.url.replace("unix://", "unix://:right@")) as state:
            assert await works(state.read(ping))


async def test_a_redis_that_was_never_there_and_what_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def web_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(web_server, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        for url in (
            f"unix://{tmp_path}/absent.sock",
            f"redis://127.0.0.1:{free_port()}",
            f"redis://127.0.0.1:{port}",
            "redis://no-such-host.invalid",
        ):
            caplog.clear()
            async with State.open(url) as state:
                for _ in range(10):
                    assert not await works(state.read(ping))
            told = said(caplog)
            assert len(told) == 1, told
            assert url in told[0]


@contextlib.asynccontextmanager
async def behind_tls(valkey: Valkey, context: ssl.SSLContext) -> AsyncIterator[int]:
    """A port that speaks TLS, for the wheel's Valkey can't."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        inner_reader, inner_writer = await asyncio.open_unix_connection(valkey.socket)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_tls_with_an_authority_of_ones_own(
    valkey: Valkey, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ca, stranger = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    stranger.cert_pem.write_to_path(str(tmp_path / "stranger.pem"))
    ours = ca.issue_cert("naiad.test")
    ours.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "ours.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    login = f"cert={tmp_path}/ours.pem&key={tmp_path}/ours.pem"
    async with behind_tls(valkey, context) as port:
        async with State.open(f"rediss://localhost:{port}?ca={tmp_path}/ca.pem&{login}") as state:
            assert await state.write(store, patience=ENOUGH) is True
        for url in (
            f"rediss://localhost:{port}?ca={tmp_path}/stranger.pem&{login}",
            # The certificate names another host.
            f"rediss://127.0.0.1:{port}?ca={tmp_path}/ca.pem&{login}",
            # No certificate of ours.
            f"rediss://localhost:{port}?ca={tmp_path}/ca.pem",
            f"redis://localhost:{port}",
        ):
            async with State.open(url) as state:
                assert not await works(state.read(ping, patience=10)), url
