"""A stage and its engines: waited for, missed, and welcomed back."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import kafka_cluster
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kafka_cluster import KafkaCluster
from support_naiad import LONGER, clean_environment, wait_until
from support_ports import free_port
from support_serve import Stages

from naiad.connection import open_channel

# Processes start slowly where many tests run at once.
pytestmark = [pytest.mark.crowd, pytest.mark.slow, pytest.mark.timeout(600)]

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.long
def test_an_engine_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    nowhere = f"kafka://127.0.0.1:{free_port()}"
    store = f"clickhouse://naiad:s3cret@127.0.0.1:{free_port()}"
    with Stages(tmp_path, event_log=nowhere, store=store, NAIAD_LOG_FORMAT="json") as stages:
        ingest, writer = stages.make("ingest").spawn(), stages.make("writer").spawn()
        for stage, part in ((ingest, "event log"), (writer, "store")):
            wait_until(lambda s=stage: s.get("/healthz")[0] == 200, 60, "it lives")  # type: ignore[misc]
            stage.until_said(f"waiting for the {part}", 60)
            assert stage.because().keys() == {"start", part}
            assert stage.get("/readyz")[0] == 503
        # Several tries, one line: it says the same each time.
        time.sleep(3)
        for stage in (ingest, writer):
            lines = [json.loads(line) for line in stage.said.splitlines()]
            assert len([one for one in lines if "waiting for" in one["message"]]) == 1, stage.said
            assert {one["stage"] for one in lines} == {stage.name}
            assert all({"time", "level", "logger", "message"} <= one.keys() for one in lines)
            assert "s3cret" not in stage.said
            # Asked to end, it doesn't wait any longer.
            assert stage.stop(20) == 0
            assert "Traceback" not in stage.said


@pytest.mark.parametrize("setting", ["NAIAD_LISTEN", "NAIAD_METRICS_LISTEN"])
def test_a_taken_port_is_one_line_and_status_1(tmp_path: Path, setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, Stages(tmp_path) as stages:
        port = taken.getsockname()[1]
        ingest = stages.make(
            "ingest", NAIAD_EVENT_LOG="kafka://127.0.0.1:1", NAIAD_LOG_LEVEL="WARNING",
            **{setting: f"127.0.0.1:{port}"},
        ).spawn()  # fmt: skip
        assert ingest.wait(60) == 1
        assert ingest.said.splitlines() == [
            f"naiad serve ingest: port {port} on 127.0.0.1 is taken by another program (another"
            f" Naiad, perhaps); end it or choose another with {setting}"
        ]


HANGS = """
import asyncio, sys
from naiad_serve.process import run
from naiad_serve.settings import load
from naiad_serve.stages import LiveSettings

async def stage(process):
    async def hang():
        await asyncio.sleep(600)
    process.ending.push_async_callback(hang)
    await process.work("it hangs")

sys.exit(run("live", load(LiveSettings), stage))
"""


def test_a_drain_that_hangs_is_given_up(tmp_path: Path) -> None:
    metrics = f"127.0.0.1:{free_port()}"
    with subprocess.Popen(
        [sys.executable, "-c", HANGS], stderr=subprocess.PIPE, text=True,
        env=clean_environment(
            NAIAD_EVENT_LOG="kafka://127.0.0.1:1", NAIAD_STATE="redis://127.0.0.1:1",
            NAIAD_METRICS_LISTEN=metrics, NAIAD_DRAIN_SECONDS="1",
        ),
    ) as process:  # fmt: skip
        live = Stages(tmp_path).make("live", NAIAD_METRICS_LISTEN=metrics)
        wait_until(lambda: live.get("/readyz")[0] == 200, 30, "it works")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30 * LONGER) == 1
        assert process.stderr
        assert "could not finish within 4 s of the signal and ends" in process.stderr.read()


def test_a_chdb_store_in_use_is_one_line_and_status_1(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    nowhere = f"kafka://127.0.0.1:{free_port()}"
    with Stages(tmp_path, event_log=nowhere, store=f"chdb://{folder}") as stages:
        writer = stages.make("writer").spawn()
        writer.until_said("waiting for the event log", 60)
        query = stages.make("query").spawn()
        assert query.wait(60) == 1
        (line,) = [line for line in query.said.splitlines() if line.startswith("naiad serve")]
        assert f"is open in process {writer.pid}" in line
        assert writer.stop() == 0


def health(url: str) -> int:
    with open_channel(url) as channel:
        request = health_pb2.HealthCheckRequest(service="naiad.v1.IngestService")
        return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=10 * LONGER).status)


@pytest.mark.long
def test_kafka_comes_goes_and_comes_back(tmp_path: Path) -> None:
    if lack := kafka_cluster.missing():
        pytest.skip(lack)
    cluster = KafkaCluster(tmp_path / "kafka")
    store = f"chdb://{tmp_path / 'store'}"
    with Stages(tmp_path / "stages", event_log=cluster.url, store=store) as stages:
        # Both are there before it.
        ingest, writer = stages.make("ingest").spawn(), stages.make("writer").spawn()
        ingest.until_said("waiting for the event log", 60)
        writer.until_said("waiting for the event log", 60)
        with cluster:
            for stage in (ingest, writer):
                stage.until_ready(60)
                stage.until_said("the event log is there")
            wait_until(lambda: health(ingest.url) == SERVING, 10, "health says so")
            cluster.kill_broker(1)
            for stage in (ingest, writer):
                wait_until(lambda s=stage: "event log" in s.because(), 60, "it is missed")  # type: ignore[misc]
                assert stage.process
                assert stage.process.poll() is None
            wait_until(lambda: health(ingest.url) == NOT_SERVING, 10, "health says so")
            cluster.spawn(1)
            for stage in (ingest, writer):
                stage.until_ready(90)
                stage.until_said("the event log answers again")
            wait_until(lambda: health(ingest.url) == SERVING, 10, "health says so")
            # One that goes for good doesn't hold up the end.
            cluster.kill_broker(1, signal.SIGKILL)
            for stage in (ingest, writer):
                assert stage.stop(60) in {0, 1}, stage.said
