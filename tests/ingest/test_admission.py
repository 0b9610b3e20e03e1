"""What waits for its turn is not received, and is told when to come again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from support_batches import batch, group
from support_ingest import SERVICE, Ingest, serving_ingest
from support_naiad import LONGER

from naiad_eventlog import EventLog, Position, open_event_log
from naiad_eventlog.topics import ALL_TOPICS
from naiad_ingest import Admission, service
from naiad_ingest.errors import Refused
from naiad_proto.limits import TARGET_BATCH_BYTES
from naiad_proto.v1.ingest_pb2 import WriteBatchRequest

_MIB = 1024 * 1024
# As large as shippers make them.
LARGE = WriteBatchRequest(batch=batch(group(rows=250_000))).SerializeToString()
# What HTTP/2 lets a sender send into a call that nobody reads.
WINDOW = 64 * 1024
# What waits, waits until the test goes on, however late that is.
LONG = 60 * LONGER


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20 * LONGER):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


async def test_bytes_under_way_are_bounded_and_given_back() -> None:
    admission = Admission(2 * TARGET_BATCH_BYTES, wait_seconds=0.05)
    async with admission.enter() as small:
        small.received(100)
        async with admission.enter():
            assert admission.bytes_in_flight == TARGET_BATCH_BYTES + 100
            with pytest.raises(Refused, match="Send it again later") as caught:
                async with admission.enter():
                    pass
            assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert caught.value.retry_after
        with contextlib.suppress(KeyError):
            async with admission.enter() as large:
                large.received(4 * TARGET_BATCH_BYTES)
                raise KeyError
    assert admission.bytes_in_flight == admission.waiting == 0
    # One is let in always, or a large one would wait for ever.
    async with Admission(100, wait_seconds=0.05).enter() as only:
        only.received(500)


async def test_who_waits_is_let_in_when_there_is_room_and_only_so_many_wait() -> None:
    admission = Admission(TARGET_BATCH_BYTES, most_waiting=2, wait_seconds=LONG)

    async def one() -> None:
        async with admission.enter():
            await asyncio.sleep(0)

    async with admission.enter():
        waiting = [asyncio.create_task(one()) for _ in range(2)]
        await until(lambda: admission.waiting == 2)
        with pytest.raises(Refused):
            await one()
        waiting[0].cancel()
        await until(lambda: admission.waiting == 1)
    await waiting[1]
    assert admission.bytes_in_flight == 0


class Standing:
    """A log whose appends stand still until `go`."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.go = asyncio.Event()
        self.appending = 0
        self._append = log.append
        log.append = self._wait  # type: ignore[method-assign, assignment]

    async def _wait(
        self, topic: str, key: bytes, value: bytes, among: int | None = None
    ) -> Position:
        self.appending += 1
        await self.go.wait()
        return await self._append(topic, key, value, among=among)


@contextlib.asynccontextmanager
async def standing_ingest(
    folder: Path, admission: Admission
) -> AsyncIterator[tuple[Ingest, Standing]]:
    async with await open_event_log(f"sqlite:///{folder}/log.db") as log:
        await log.create_topics(ALL_TOPICS)
        async with serving_ingest(folder, log=log, admission=admission) as ingest:
            # The writer is known, so that what is appended from here on are batches.
            await ingest.stub.WriteBatch(WriteBatchRequest(batch=batch(group())))
            yield ingest, Standing(log)


class CountingWay:
    """Passes bytes on to `port` and counts what clients have sent."""

    def __init__(self, port: int) -> None:
        self.sent = 0
        self._port = port
        self._ways: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for way in self._ways:
                way.cancel()
            await asyncio.gather(*self._ways, return_exceptions=True)

    async def quiet(self) -> None:
        """Returns when nobody has sent anything for a while."""
        before = -1
        while before != self.sent:
            before = self.sent
            await asyncio.sleep(0.3)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        for way in (self._pass(reader, far_writer, 1), self._pass(far_reader, writer, 0)):
            self._ways.add(asyncio.create_task(way))

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counted: int
    ) -> None:
        try:
            while data := await reader.read(64 * 1024):
                self.sent += counted * len(data)
                writer.write(data)
                await writer.drain()
        finally:
            writer.transport.abort()


async def test_batches_that_have_to_wait_stay_with_their_senders(tmp_path: Path) -> None:
    calls = 24
    admission = Admission(TARGET_BATCH_BYTES, wait_seconds=LONG)
    async with standing_ingest(tmp_path, admission) as (ingest, log):
        way = CountingWay(ingest.port)
        async with (
            way.listening() as port,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            write = channel.unary_unary(f"{SERVICE}/WriteBatch")
            sending = [asyncio.ensure_future(write(LARGE, timeout=LONG)) for _ in range(calls)]
            await until(lambda: log.appending == 1 and admission.waiting == calls - 1)
            await way.quiet()
            assert way.sent < len(LARGE) + calls * WINDOW + _MIB
            log.go.set()
            # Then each gets its turn.
            await asyncio.gather(*sending)


async def test_who_waits_for_too_long_is_told_when_to_come_again(tmp_path: Path) -> None:
    admission = Admission(TARGET_BATCH_BYTES, wait_seconds=0.1)
    async with standing_ingest(tmp_path, admission) as (ingest, log):
        first = asyncio.ensure_future(ingest.write_batch(LARGE))
        await until(lambda: log.appending == 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ingest.write_batch(LARGE)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert _says_when(caught.value)
        log.go.set()
        await first
        # And then it is taken.
        await ingest.write_batch(LARGE)
        assert len(await ingest.logged()) == 3


def _says_when(error: grpc.aio.AioRpcError) -> bool:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            info = RetryInfo()
            (detail,) = Status.FromString(value).details  # type: ignore[arg-type]
            return detail.Unpack(info) and info.retry_delay.ToTimedelta().total_seconds() > 0
    return False


async def test_a_call_that_sends_nothing_or_goes_away_gives_its_place_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admission = Admission(TARGET_BATCH_BYTES, wait_seconds=LONG)
    async with serving_ingest(tmp_path, admission=admission) as ingest:
        write = ingest.channel.stream_unary(f"{SERVICE}/WriteBatch")
        leaving = write()
        await until(lambda: admission.bytes_in_flight > 0)
        waiting = asyncio.ensure_future(ingest.write_batch(LARGE))
        await until(lambda: admission.waiting == 1)
        waiting.cancel()
        await until(lambda: admission.waiting == 0)
        leaving.cancel()
        await until(lambda: admission.bytes_in_flight == 0)

        ended = write()
        await ended.done_writing()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ended
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "without a message" in (caught.value.details() or "")

        with monkeypatch.context() as patch:
            patch.setattr(service, "_RECEIVE_SECONDS", 0.2)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await write()
        # Shippers send it again.
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "did not arrive within 0.2 s" in (caught.value.details() or "")
        assert admission.bytes_in_flight == 0
        await ingest.write_batch(LARGE)
