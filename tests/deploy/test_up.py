"""`naiad up` from outside: what it prints, refuses, and leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import psutil
import pytest
import trustme
from support_naiad import LONGER, clean_environment, running_naiad, start_naiad, wait_until

from naiad.connection import open_channel
from naiad_proto.v1 import query_pb2, query_pb2_grpc

pytestmark = pytest.mark.slow


def naiad(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "naiad", *arguments],
        env=clean_environment(**environment),
        capture_output=True, text=True, timeout=60 * LONGER, check=False,
    )  # fmt: skip


def projects(url: str, token: str | None = None, ca_file: str | None = None) -> list[str]:
    with open_channel(url, token, ca_file=ca_file) as channel:
        service = query_pb2_grpc.QueryServiceStub(channel)
        request = query_pb2.ListProjectsRequest()
        return list(service.ListProjects(request, timeout=10 * LONGER).projects)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_and_leaves_no_process(tmp_path: Path, number: int) -> None:
    with running_naiad(tmp_path / "data") as server:
        tree = server.tree()
        assert len(tree) > 1, "Valkey should run beside it"
        assert projects(server.url) == []
        assert server.stop(number) == 0
        _, alive = psutil.wait_procs(tree, timeout=5 * LONGER)
        assert not alive
        assert "Traceback" not in "".join(server.errors)


@pytest.mark.long
def test_a_killed_one_takes_its_children_along_and_starts_again(tmp_path: Path) -> None:
    with running_naiad(tmp_path / "data") as server:
        children = server.tree()[1:]
        os.kill(server.process.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=10 * LONGER)
        assert not alive
    with running_naiad(tmp_path / "data") as server:
        assert projects(server.url) == []


def test_a_data_folder_in_use_is_one_line(tmp_path: Path) -> None:
    with running_naiad(tmp_path / "data") as server:
        done = naiad("up", "--data", str(tmp_path / "data"), "--port", "0", "--no-dashboard")
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.splitlines() == [
            f"naiad up: the data folder {tmp_path / 'data'} is in use by process"
            f" {server.process.pid}; stop it or name another folder with --data"
        ]


@pytest.mark.parametrize("option", ["--port", "--dashboard-port"])
def test_a_taken_port_is_one_line(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {"--port": "0", "--dashboard-port": "0", option: str(port)}
        words = [word for pair in ports.items() for word in pair]
        done = naiad("up", "--data", str(tmp_path / "data"), *words)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"naiad up: port {port} on 127.0.0.1 is taken by another program")
    assert option in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "--port 70000 is not a port"),
        (["--port", "9", "--dashboard-port", "9"], "are both 9"),
        (["--tls-cert", "x.pem"], "--tls-cert and --tls-key go together"),
        (["--host", "256.1.1.1", "--port", "0"], "--host 256.1.1.1 is not an address"),
        (["--alerts", "absent.yaml", "--port", "0"], "absent.yaml"),
    ],
)
def test_wrong_options_are_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = naiad("up", "--data", str(tmp_path / "data"), "--dashboard-port", "0", *arguments)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if "NAIAD_API_TOKEN" not in line]
    assert message in lines[-1]
    assert "Traceback" not in done.stderr


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    done = naiad("up", "--data", str(tmp_path), "--port", "0", "--no-dashboard")
    assert done.returncode == 1
    assert "is not empty and was not made by Naiad (it holds 'thesis.tex')" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_beyond_loopback_a_token_is_made_once_and_asked_for(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_naiad(data, "--host", "0.0.0.0") as server:
        # Another pipe than that of the ready line.
        wait_until(lambda: any("NAIAD_API_TOKEN=" in s for s in server.errors), 10, "a token")
        shown = [line for line in server.errors if "NAIAD_API_TOKEN=" in line]
        assert len(shown) == 1
        token = shown[0].strip().partition("NAIAD_API_TOKEN=")[2]
        assert token not in "".join(p.read_text() for p in data.glob("*.json"))
        with pytest.raises(grpc.RpcError) as refused:
            projects(server.url)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "NAIAD_API_TOKEN" in refused.value.details()
        assert projects(server.url, token) == []
        # A token made while it runs is good at once, and a revoked one is not.
        made = naiad("token", "create", "--data", str(data), "--read-only", "--name", "ci")
        assert made.returncode == 0, made.stderr
        assert projects(server.url, made.stdout.strip()) == []
    with running_naiad(data, "--host", "0.0.0.0") as server:
        assert not [line for line in server.errors if "NAIAD_API_TOKEN=" in line]
        assert projects(server.url, token) == []


def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    chain, key, ca = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    authority.cert_pem.write_to_path(str(ca))
    options = ("--tls-cert", str(chain), "--tls-key", str(key))
    with running_naiad(tmp_path / "data", *options) as server:
        assert server.url.startswith("grpcs://127.0.0.1:")
        assert projects(server.url, ca_file=str(ca)) == []
        with pytest.raises(grpc.RpcError):
            projects(server.url.replace("grpcs", "grpc"))
    done = naiad(
        "up", "--data", str(tmp_path / "data"), "--tls-cert", str(key), "--tls-key", str(chain)
    )
    assert done.returncode == 1
    assert "are not a PEM certificate and its key" in done.stderr


def test_health_and_reflection(tmp_path: Path) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
        ProtoReflectionDescriptorDatabase,
    )

    with running_naiad(tmp_path / "data") as server, open_channel(server.url) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "naiad.v1.IngestService", "naiad.v1.QueryService"):
            request = health_pb2.HealthCheckRequest(service=service)
            answer = health.Check(request, timeout=10 * LONGER)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
        assert {"naiad.v1.IngestService", "naiad.v1.QueryService"} <= set(services)


def test_doctor_says_what_it_sees(tmp_path: Path) -> None:
    data = tmp_path / "data"
    nothing = naiad("doctor", "--data", str(data), NAIAD_URL="grpc://127.0.0.1:1")
    assert nothing.returncode == 1
    assert "no server answers at grpc://127.0.0.1:1" in nothing.stdout
    with running_naiad(data) as server:
        said: list[str] = []

        def well() -> bool:
            # It gives the server five seconds.
            done = naiad("doctor", "--data", str(data), NAIAD_URL=server.url)
            said.append(done.stdout)
            return done.returncode == 0

        wait_until(well, 30, f"all is well: {said}")
    assert f"in use by process {server.process.pid}" in said[-1]
    assert "All is well." in said[-1]


def test_token_commands_need_a_data_folder(tmp_path: Path) -> None:
    done = naiad("token", "create", "--data", str(tmp_path))
    assert done.returncode == 1
    assert "is not a data folder of Naiad" in done.stderr
    done = naiad("token", "create", "--data", str(tmp_path), "--project", "nowhere")
    assert done.returncode == 1
    assert "'nowhere' is not of the form 'workspace/name'" in done.stderr


def test_it_starts_where_the_socket_path_would_be_too_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / "data"
    server = start_naiad(deep, "--port", "0", "--no-dashboard")
    try:
        assert projects(server.url) == []
    finally:
        server.close()
