"""SIGTERM while work is under way: nothing that was acknowledged is lost, and all can see it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support_batches import batch, group
from support_kafka import fresh, kafka_url, until
from support_naiad import LONGER, clean_environment, wait_until
from support_ports import free_port
from support_serve import Stage, Stages
from support_truth import calls_in, read_back, read_diaries

from naiad_eventlog import StartFrom, TopicPartition, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS
from naiad_proto.v1.ingest_pb2 import UploadFileHeader, UploadFileRequest, WriteBatchRequest
from naiad_proto.v1.ingest_pb2_grpc import IngestServiceStub
from naiad_proto.v1.log_pb2 import Envelope
from naiad_proto.v1.records_pb2 import Batch

__all__ = ["kafka_url"]
# Processes start slowly where many tests run at once.
pytestmark = [pytest.mark.crowd, pytest.mark.slow, pytest.mark.timeout(600)]

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE = "naiad.v1.IngestService"
PROJECT, SEED = "serve/draining", 23


async def logged(url: str) -> set[str]:
    """Runs of all batches in the log."""
    async with await open_event_log(url) as log:
        await log.create_topics(ALL_TOPICS)
        ends = {where: end for where, end in (await log.end_offsets(RECORDS.name)).items() if end}
        found = set()
        async with (
            asyncio.timeout(60 * LONGER),
            await log.subscribe(RECORDS.name, "test", StartFrom.EARLIEST) as reading,
        ):
            # Not until there is nothing: a member that stood still for longer than its session
            # has none for a while.
            while ends:
                for record in await reading.poll(wait=1):
                    envelope = Envelope.FromString(record.value)
                    found.add(Batch.FromString(envelope.batch).run_id)
                    where = TopicPartition(RECORDS.name, record.partition)
                    if record.offset + 1 >= ends.get(where, 0):
                        ends.pop(where, None)
        return found


class Load:
    """Clients that send, each one batch after the other, a run of its own for each."""

    def __init__(self, channel: grpc.aio.Channel, clients: int) -> None:
        self._stub = IngestServiceStub(channel)
        self.taken: set[str] = set()
        self.refused: list[grpc.StatusCode] = []
        self._tasks = [asyncio.create_task(self._send(n)) for n in range(clients)]

    async def _send(self, client: int) -> None:
        count = 0
        while True:
            run_id = f"run-{client}-{count}"
            count += 1
            request = WriteBatchRequest(batch=batch(group(rows=500), run_id=run_id))
            try:
                await self._stub.WriteBatch(request, timeout=30 * LONGER)
            except grpc.aio.AioRpcError as error:
                self.refused.append(error.code())
                return
            self.taken.add(run_id)

    async def until_taken(self, count: int) -> None:
        async with asyncio.timeout(60 * LONGER):
            while len(self.taken) < count:
                assert not self.refused, self.refused
                await asyncio.sleep(0.005)

    async def ended(self) -> None:
        async with asyncio.timeout(60 * LONGER):
            await asyncio.gather(*self._tasks)


async def test_every_batch_that_was_acknowledged_is_in_the_log(
    tmp_path: Path, kafka_url: str
) -> None:
    url = fresh(kafka_url)
    with Stages(tmp_path, event_log=url) as stages:
        ingest = await asyncio.to_thread(stages.start, "ingest")
        async with grpc.aio.insecure_channel(ingest.listen) as channel:
            load = Load(channel, clients=32)
            await load.until_taken(200)
            ingest.signal(signal.SIGTERM)
            await load.ended()
        assert await asyncio.to_thread(ingest.wait) == 0
        # A client sends again after either; the second is a call that came as it hung up.
        assert set(load.refused) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert await logged(url) >= load.taken
        assert "Traceback" not in ingest.said


async def test_a_call_that_is_under_way_is_finished(tmp_path: Path, kafka_url: str) -> None:
    content = b"half" * 1000
    coming = tmp_path / "files" / "coming"
    with Stages(tmp_path, event_log=fresh(kafka_url)) as stages:
        ingest = await asyncio.to_thread(stages.start, "ingest")
        drains = asyncio.Event()

        async def requests() -> AsyncIterator[UploadFileRequest]:
            yield UploadFileRequest(
                header=UploadFileHeader(
                    project=PROJECT, run_id="run", path="a", name="a", size_bytes=2 * len(content)
                )
            )
            yield UploadFileRequest(chunk=content)
            # A call that the server hasn't begun is not under way.
            await until(lambda: any(file.is_file() for file in coming.iterdir()))
            ingest.signal(signal.SIGTERM)
            await drains.wait()
            yield UploadFileRequest(chunk=content)

        async with grpc.aio.insecure_channel(ingest.listen) as channel:
            call = IngestServiceStub(channel).UploadFile(requests(), timeout=60 * LONGER)
            uploading = asyncio.create_task(call.code())

            def refuses() -> bool:
                with (
                    contextlib.suppress(OSError),
                    socket.create_connection(("127.0.0.1", ingest.port), timeout=1),
                ):
                    return False
                return True

            await until(lambda: refuses() or uploading.done())
            drains.set()
            assert await uploading is grpc.StatusCode.OK
            assert (await call).file.sha256 == hashlib.sha256(content * 2).hexdigest()
        assert await asyncio.to_thread(ingest.wait) == 0


async def test_health_says_so_before_calls_are_refused(tmp_path: Path, kafka_url: str) -> None:
    # All that is asked below has to fit into the delay.
    delay = f"{10 * LONGER:g}"
    with Stages(tmp_path, event_log=fresh(kafka_url), NAIAD_DRAIN_DELAY_SECONDS=delay) as stages:
        ingest = await asyncio.to_thread(stages.start, "ingest")
        async with grpc.aio.insecure_channel(ingest.listen) as channel:
            health = health_pb2_grpc.HealthStub(channel)

            async def statuses() -> set[int]:
                requests = [health_pb2.HealthCheckRequest(service=name) for name in ("", SERVICE)]
                return {(await health.Check(request)).status for request in requests}

            async def until_all_are(status: int) -> None:
                async with asyncio.timeout(8 * LONGER):
                    # Another process: nothing to wait on but asking.
                    while await statuses() != {status}:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)

            await until_all_are(SERVING)
            ingest.signal(signal.SIGTERM)
            await until_all_are(NOT_SERVING)
            assert "draining" in await asyncio.to_thread(ingest.because)
            # Who hasn't noticed yet is still served.
            request = WriteBatchRequest(batch=batch(group()))
            await IngestServiceStub(channel).WriteBatch(request, timeout=5 * LONGER)
        assert await asyncio.to_thread(ingest.wait) == 0


def test_a_second_signal_ends_it_at_once(tmp_path: Path, kafka_url: str) -> None:
    with Stages(tmp_path, event_log=fresh(kafka_url), NAIAD_DRAIN_DELAY_SECONDS="300") as stages:
        ingest = stages.start("ingest")
        ingest.signal(signal.SIGTERM)
        wait_until(lambda: "draining" in ingest.because(), 20, "it drains")
        ingest.signal(signal.SIGTERM)
        # With the delay over it would be 0.
        assert ingest.wait(40) == 128 + signal.SIGTERM


CLIENT = f"""
import sys, time
from pathlib import Path
from support_diary import Diary, plain_run

folder, end = Path(sys.argv[1]), Path(sys.argv[2])
with plain_run({PROJECT!r}, "run") as run:
    diary, step = Diary(run, folder, {SEED}, "writer"), 0
    while not end.exists():
        diary.step(step)
        step += 1
        time.sleep(0.002)
    assert run.wait_for_processing(timeout={100 * LONGER})
"""


@pytest.mark.long
def test_stages_that_are_replaced_under_load_lose_and_double_nothing(
    tmp_path: Path, kafka_url: str
) -> None:
    diaries, end = tmp_path / "diaries", tmp_path / "end"
    diaries.mkdir()
    url, store = fresh(kafka_url), f"chdb://{tmp_path / 'store'}"

    def wait_for_calls(more: int) -> None:
        wanted = calls_in(diaries) + more
        wait_until(lambda: calls_in(diaries) >= wanted, 60, "calls")

    with Stages(tmp_path, event_log=url, store=store) as stages:
        # One address for all lives of ingest, as the client knows only one.
        door = f"127.0.0.1:{free_port()}"
        ingest, writer = stages.start("ingest", NAIAD_LISTEN=door), stages.start("writer")
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(diaries), str(end)],
            env=clean_environment(
                NAIAD_URL=ingest.url,
                NAIAD_LOG_DIRECTORY=str(tmp_path / "spool"),
                PYTHONPATH=str(Path(__file__).resolve().parent.parent),
            ),
        )
        try:
            for _ in range(2):
                wait_for_calls(200)
                replace(writer)
                wait_for_calls(200)
                replace(ingest)
            wait_for_calls(100)
            end.touch()
            assert client.wait(110 * LONGER) == 0
        finally:
            client.kill()
            client.wait()
        assert writer.stop() == 0
        query = stages.start("query")
        truth = read_diaries(diaries, SEED)
        assert len(truth.must) > 1000
        truth.check(read_back(query.url, PROJECT, "run"))


def replace(stage: Stage) -> None:
    assert stage.stop() == 0, stage.said
    assert "Traceback" not in stage.said
    stage.start()
