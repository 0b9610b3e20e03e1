"""The gateway's nginx in front of a real server: what clients do goes through it unchanged."""

from __future__ import annotations

import hashlib
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
import trustme
from support_naiad import LONGER, Naiad, clean_environment, running_naiad, wait_until
from support_nginx import Gateway, running_gateway
from support_ports import free_port

from naiad.connection import open_channel
from naiad.query import files, runs
from naiad_proto.v1 import ingest_pb2, ingest_pb2_grpc, query_pb2, query_pb2_grpc

pytestmark = pytest.mark.slow

PROJECT = "team/gateway"
PIECE = 1024 * 1024


@pytest.fixture(scope="module")
def naiad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Naiad]:
    with running_naiad(
        tmp_path_factory.mktemp("naiad") / "data", "--dashboard-port", str(free_port())
    ) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(naiad: Naiad, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    dashboard = int(naiad.dashboard.rpartition(":")[2])
    folder = tmp_path_factory.mktemp("gateway") / "nginx"
    with running_gateway(
        folder, ingest=naiad.port, query=naiad.port, dashboard=dashboard
    ) as running:
        yield running
    assert "error" not in running.said


def upload(
    channel: grpc.Channel, run: str, size: int, halfway: Callable[[], object] = lambda: None
) -> tuple[ingest_pb2.UploadFileResponse, str]:
    """A file of `size` bytes, of which the second half is sent after `halfway`; and its digest."""
    digest = hashlib.sha256()

    def parts() -> Iterator[ingest_pb2.UploadFileRequest]:
        yield ingest_pb2.UploadFileRequest(
            header=ingest_pb2.UploadFileHeader(
                project=PROJECT, run_id=run, path="file", name="f", mime_type="x/y",
                size_bytes=size,
            )
        )  # fmt: skip
        for start in range(0, size, PIECE):
            if start == size // 2:
                halfway()
            chunk = start.to_bytes(8, "little") * (min(PIECE, size - start) // 8)
            digest.update(chunk)
            yield ingest_pb2.UploadFileRequest(chunk=chunk)

    stub = ingest_pb2_grpc.IngestServiceStub(channel)
    return stub.UploadFile(parts(), timeout=110 * LONGER), digest.hexdigest()


WRITER = f"""
import pathlib, sys
import naiad

with naiad.Run(project=sys.argv[1], run_id=sys.argv[2]) as run:
    run.log_configs({{"lr": 0.25}})
    for step in range(60):
        run.log_metrics({{f"wide/m{{n}}": float(step * n) for n in range(5000)}}, step=step)
    run.assign_files({{"model": sys.argv[3]}})
    assert run.wait_for_processing(timeout={60 * LONGER})
"""


@pytest.mark.long
def test_a_run_is_logged_and_read_through_it(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model.bin"
    model.write_bytes(bytes(range(256)) * 100_000)
    subprocess.run(
        [sys.executable, "-c", WRITER, PROJECT, "real", str(model)],
        env=clean_environment(NAIAD_URL=gateway.url, NAIAD_LOG_DIRECTORY=str(tmp_path / "spool")),
        timeout=110 * LONGER, check=True,
    )  # fmt: skip
    monkeypatch.setenv("NAIAD_URL", gateway.url)
    points = runs.fetch_metrics(project=PROJECT, runs=["real"], attributes=r"wide/m[0-9]+")
    assert points.shape == (60, 5000)
    assert points.iloc[59]["wide/m4999"] == 59.0 * 4999
    table = runs.fetch_runs_table(project=PROJECT, runs=["real"], attributes=["model"])
    found = files.download_files(files=table, destination=tmp_path / "got")
    assert Path(found.iloc[0, 0]).read_bytes() == model.read_bytes()


def test_a_long_upload_goes_through(gateway: Gateway) -> None:
    with open_channel(gateway.url) as channel:
        answer, digest = upload(channel, "long", 64 * PIECE)
        assert (answer.file.sha256, answer.file.size_bytes) == (digest, 64 * PIECE)


def test_one_connection_carries_thousands_of_calls(gateway: Gateway) -> None:
    with open_channel(gateway.url) as channel:
        stub = query_pb2_grpc.QueryServiceStub(channel)
        states: list[grpc.ChannelConnectivity] = []
        channel.subscribe(states.append)
        calls = [stub.GetServerInfo.future(query_pb2.GetServerInfoRequest()) for _ in range(3000)]
        for call in calls:
            call.result(60 * LONGER)
        # nginx closes a connection after 1,000 calls unless told otherwise.
        assert grpc.ChannelConnectivity.IDLE not in states[1:]
        assert grpc.ChannelConnectivity.CONNECTING not in states[2:]


def test_a_refusal_comes_through_with_its_details(gateway: Gateway) -> None:
    with open_channel(gateway.url) as channel, pytest.raises(grpc.RpcError) as caught:
        ingest_pb2_grpc.IngestServiceStub(channel).WriteBatch(
            ingest_pb2.WriteBatchRequest(), timeout=10 * LONGER
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details()


def test_what_is_no_service_is_unimplemented(gateway: Gateway) -> None:
    with open_channel(gateway.url) as channel:
        call = channel.unary_unary("/naiad.v1.NoService/Do", lambda _: b"", lambda _: None)
        with pytest.raises(grpc.RpcError) as caught:
            call(None, timeout=10 * LONGER)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.details() == "the gateway knows no such service"


def test_each_service_has_its_own_process(naiad: Naiad, tmp_path: Path) -> None:
    dead = free_port()
    for ingest, query in ((naiad.port, dead), (dead, naiad.port)):
        with (
            running_gateway(tmp_path / f"{ingest}", ingest=ingest, query=query) as gateway,
            open_channel(gateway.url) as channel,
        ):
            questions = query_pb2_grpc.QueryServiceStub(channel)
            answers: dict[str, object] = {}
            try:
                upload(channel, "short", PIECE)
                answers["ingest"] = "OK"
            except grpc.RpcError as error:
                answers["ingest"] = error.code()
            try:
                questions.GetServerInfo(query_pb2.GetServerInfoRequest(), timeout=10 * LONGER)
                answers["query"] = "OK"
            except grpc.RpcError as error:
                answers["query"] = error.code()
            unavailable = grpc.StatusCode.UNAVAILABLE
            if ingest == dead:
                assert answers == {"ingest": unavailable, "query": "OK"}
            else:
                assert answers == {"ingest": "OK", "query": unavailable}


def test_a_process_that_is_away_is_unavailable_also_to_those_who_still_send(
    tmp_path: Path,
) -> None:
    """Nothing but UNAVAILABLE makes clients wait without suspecting what they send. A page with
    status 502 reached one in five of these as INTERNAL."""
    dead = free_port()
    answers: list[tuple[str, str]] = []

    def chunks() -> Iterator[ingest_pb2.UploadFileRequest]:
        for _ in range(10):
            yield ingest_pb2.UploadFileRequest(chunk=bytes(100_000))

    def send(url: str) -> None:
        for _ in range(20):
            with open_channel(url) as channel:
                try:
                    stub = ingest_pb2_grpc.IngestServiceStub(channel)
                    stub.UploadFile(chunks(), timeout=30 * LONGER)
                except grpc.RpcError as error:
                    answers.append((error.code().name, error.details() or ""))

    with running_gateway(tmp_path / "nginx", ingest=dead, query=dead) as gateway:
        senders = [threading.Thread(target=send, args=[gateway.url]) for _ in range(10)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(100 * LONGER)
    told = ("UNAVAILABLE", "the gateway reaches no process of this service")
    assert Counter(answers) == {told: 200}


def test_with_tls(naiad: Naiad, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    with running_gateway(
        tmp_path / "nginx",
        ingest=naiad.port,
        query=naiad.port,
        dashboard=int(naiad.dashboard.rpartition(":")[2]),
        certificate=(chain, issued.private_key_pem.bytes()),
    ) as gateway:
        with open_channel(gateway.url, ca_file=str(ca)) as channel:
            answer, digest = upload(channel, "tls", PIECE)
            assert answer.file.sha256 == digest
        page = httpx.get(
            f"https://127.0.0.1:{gateway.dashboard_port}/_stcore/health",
            verify=ssl.create_default_context(cafile=ca),
            timeout=30 * LONGER,
        )
        assert page.text == "ok"


def test_the_dashboard_goes_through_with_its_websocket(gateway: Gateway) -> None:
    base = f"http://127.0.0.1:{gateway.dashboard_port}"
    assert "<title>" in httpx.get(base, timeout=30 * LONGER).text
    with httpx.stream(
        "GET",
        f"{base}/_stcore/stream",
        headers={
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
            "Origin": base,
        },
        timeout=30 * LONGER,
    ) as answer:
        assert answer.status_code == 101


def test_calls_under_way_survive_a_reload(gateway: Gateway) -> None:
    """A new certificate or upstream costs nobody an upload."""
    with open_channel(gateway.url) as channel:
        result: list[object] = []
        half, reloaded = threading.Event(), threading.Event()

        def halfway() -> None:
            half.set()
            assert reloaded.wait(60 * LONGER)

        sending = threading.Thread(
            target=lambda: result.append(upload(channel, "reload", 32 * PIECE, halfway))
        )
        sending.start()
        try:
            assert half.wait(60 * LONGER)
            workers = _workers(gateway)
            gateway.process.send_signal(signal.SIGHUP)
            wait_until(lambda: _workers(gateway) - workers, 20, "new workers")
        finally:
            reloaded.set()
            sending.join(60 * LONGER)
        assert len(result) == 1


@pytest.mark.long
def test_a_client_may_pause_for_longer_than_a_minute(gateway: Gateway) -> None:
    with open_channel(gateway.url) as channel:
        answer, digest = upload(channel, "slow", 4 * PIECE, lambda: time.sleep(65))
        assert answer.file.sha256 == digest


def _workers(gateway: Gateway) -> set[int]:
    return {child.pid for child in psutil.Process(gateway.process.pid).children()}
