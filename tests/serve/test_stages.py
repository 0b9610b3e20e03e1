"""Each stage wired up: what it does in a process of its own, on its engines alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import psutil
import pytest
from redis.asyncio import Redis
from support_batches import EPOCH, NOW, batch, group
from support_kafka import LONG_SESSION_SECONDS, fresh, kafka_url
from support_naiad import LONGER, clean_environment, running_naiad, wait_until
from support_ports import free_port
from support_serve import Stages
from support_valkey import running_valkey

from naiad.connection import open_channel
from naiad.query import QueryClient
from naiad_consumers.live.reading import latest_values
from naiad_proto.series import build_group
from naiad_proto.v1.ingest_pb2 import OpenWriterRequest, ProgressRequest, WriteBatchRequest
from naiad_proto.v1.ingest_pb2_grpc import IngestServiceStub
from naiad_proto.v1.records_pb2 import Batch

__all__ = ["kafka_url"]
# Processes start slowly where many tests run at once.
pytestmark = [pytest.mark.crowd, pytest.mark.slow, pytest.mark.timeout(600)]

PROJECT = "team/digits"
LOG_BYTES = "naiad_log_bytes "


def naiad(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "naiad", *arguments],
        env=clean_environment(**environment),
        capture_output=True, text=True, timeout=60 * LONGER, check=False,
    )  # fmt: skip


def send(url: str, *batches: Batch) -> None:
    with open_channel(url) as channel:
        for one in batches:
            request = WriteBatchRequest(batch=one)
            IngestServiceStub(channel).WriteBatch(request, timeout=30 * LONGER)


def not_a_number() -> Batch:
    steps = np.zeros(1, np.int64)
    return batch(
        build_group(
            ["loss"], steps=steps, timestamps=steps + NOW, values=np.array([[np.nan]]),
            first_record=1,
        )
    )  # fmt: skip


async def test_live_keeps_the_newest_values_in_redis(tmp_path: Path, kafka_url: str) -> None:
    with (
        running_valkey(tmp_path) as valkey,
        Stages(tmp_path, event_log=fresh(kafka_url), state=valkey.url) as stages,
    ):
        live = stages.start("live")
        send(stages.start("ingest").url, batch(group(("loss",), rows=10)))
        # More than once where it stood still for longer than its session.
        wait_until(lambda: live.metric("naiad_consumer_records_total") >= 1, 30, "it reads")
        assert live.stop() == 0
        async with Redis.from_url(valkey.url) as redis:
            (found,) = (await latest_values(redis, PROJECT, "run-1")).values()
        assert (found.step, found.value) == (9_000_000, 9.0)


@pytest.mark.long
def test_the_alerter_raises_what_it_reads(tmp_path: Path, kafka_url: str) -> None:
    store = f"chdb://{tmp_path / 'store'}"
    url = fresh(kafka_url, session_seconds=LONG_SESSION_SECONDS)
    with Stages(tmp_path, event_log=url, store=store) as stages:
        alerter = stages.make("alerter").spawn()
        # Not its business to make tables.
        alerter.until_said("which a writer or `naiad store migrate` brings", 60)
        assert alerter.stop() == 0
        assert naiad("store", "migrate", NAIAD_STORE=store).returncode == 0
        alerter.start()
        send(stages.start("ingest").url, not_a_number())
        raised = "naiad_alerts_raised_total"
        wait_until(lambda: alerter.metric(raised, rule="non-finite") == 1, 30, "an alert")
        assert alerter.metric(raised) == 1
        assert alerter.stop() == 0


@pytest.mark.long
def test_the_store_is_migrated_once(tmp_path: Path) -> None:
    store = f"chdb://{tmp_path / 'store'}"
    missing = naiad("store", "migrate", "--check", NAIAD_STORE=store)
    assert missing.returncode == 1
    assert "missing: 0001_records.sql" in missing.stdout.splitlines()
    applied = naiad("store", "migrate", NAIAD_STORE=store)
    assert applied.returncode == 0
    assert applied.stdout == missing.stdout.replace("missing", "applied")
    for arguments in ((), ("--check",)):
        done = naiad("store", "migrate", *arguments, NAIAD_STORE=store)
        assert done.returncode == 0
        assert done.stdout == "The store's tables are as this release needs them.\n"


def test_a_wrong_store_is_one_line() -> None:
    done = naiad("store", "migrate")
    assert done.returncode == 2
    assert done.stderr.startswith("naiad store migrate: NAIAD_STORE is not set; set it to ")
    done = naiad("store", "migrate", NAIAD_STORE=f"clickhouse://u:s3cret@127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.splitlines()) == 1
    assert "s3cret" not in done.stderr


@pytest.mark.long
def test_every_ingest_knows_what_is_stored_and_who_wrote(tmp_path: Path, kafka_url: str) -> None:
    """Replicas share nothing but the log; each reads what all need, whole."""
    url, store = fresh(kafka_url), f"chdb://{tmp_path / 'store'}"
    with Stages(tmp_path, event_log=url, store=store) as stages:
        doors = [stages.make("ingest").spawn(), stages.make("ingest").spawn()]
        stages.start("writer")
        for door in doors:
            door.until_ready()
        send(doors[0].url, batch(group(rows=3)))
        # One that comes later, too.
        doors.append(stages.start("ingest"))
        for door in doors:
            with open_channel(door.url) as channel:
                ingest = IngestServiceStub(channel)

                def stored(ingest: IngestServiceStub = ingest) -> bool:
                    request = ProgressRequest(project=PROJECT, run_id="run-1")
                    (writer,) = ingest.Progress(request, timeout=10 * LONGER).writers or [None]
                    return writer is not None and [r.last for r in writer.stored] == [3]

                wait_until(stored, 30, f"{door.url} knows what is stored")
                request = OpenWriterRequest(project=PROJECT, run_id="run-1", writer_id="f" * 32)
                opened = ingest.OpenWriter(request, timeout=10 * LONGER)
                assert opened.highest_epoch == EPOCH


def test_the_dashboard_serves_pages_and_takes_its_child_along(tmp_path: Path) -> None:
    server = f"grpc://127.0.0.1:{free_port()}"
    with Stages(tmp_path, NAIAD_SERVER=server) as stages:
        dashboard = stages.start("dashboard")
        assert dashboard.get("/healthz") == (200, "ok\n")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        health = f"{dashboard.url}/_stcore/health"
        with opener.open(health, timeout=10 * LONGER) as answer:
            assert answer.status == 200
        children = psutil.Process(dashboard.pid).children(recursive=True)
        assert children
        assert dashboard.stop() == 0
        _, alive = psutil.wait_procs(children, timeout=5 * LONGER)
        assert not alive

        dashboard.start()
        children = psutil.Process(dashboard.pid).children(recursive=True)
        os.kill(dashboard.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=10 * LONGER)
        assert not alive


def test_naiad_up_has_the_metrics_of_all_stages(tmp_path: Path) -> None:
    with running_naiad(tmp_path / "data", "--metrics-port", "0") as server:
        words = server.ready_line.split()
        url = words[words.index("metrics") + 1]
        assert url.startswith("http://127.0.0.1:")
        send(server.url, batch(group(rows=7)))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def scraped() -> str:
            with opener.open(url, timeout=10 * LONGER) as answer:
                return str(answer.read().decode())

        wait_until(lambda: "naiad_writer_points_total 7.0" in scraped(), 30, "7 points")
        with QueryClient(server.url) as client:
            assert client.list_projects() == [PROJECT]
        text = scraped()
        assert "naiad_ingest_points_total 7.0" in text
        assert 'naiad_query_requests_total{code="OK",method="ListProjects"} 1.0' in text
        # Looked at now and then.
        for reader in ("writer", "live", "alerter"):
            lag = f'naiad_consumer_lag_records{{group="naiad.{reader}",partition="0"}}'
            wait_until(lambda lag=lag: lag in scraped(), 30, lag)  # type: ignore[misc]

        def log_bytes() -> float:
            (size,) = [line for line in scraped().splitlines() if line.startswith(LOG_BYTES)]
            return float(size.split()[1])

        wait_until(lambda: log_bytes() > 0, 30, "the size of the log")
        with opener.open(url.replace("/metrics", "/readyz"), timeout=10 * LONGER) as answer:
            assert answer.status == 200
    with running_naiad(tmp_path / "data") as server:
        assert "metrics" not in server.ready_line.split()
