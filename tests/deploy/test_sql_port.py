"""`naiad up` by ClickHouse's HTTP interface: as docs/sql.md tells it, from outside."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import httpx
import pytest
import trustme
from support_naiad import (
    LONGER,
    Naiad,
    clean_environment,
    running_naiad,
    start_naiad,
    wait_until,
)

import naiad

pytestmark = pytest.mark.slow

PATIENCE = 30 * LONGER
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sql.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
CURLS = [
    "curl" + command
    for block in BLOCKS
    for command in ("\n" + block.replace("\\\n", " ")).split("\ncurl")[1:]
]
(PYTHON,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Naiad]:
    """One that asks for a token, with a run of two points in it."""
    folder = tmp_path_factory.mktemp("sql")
    with running_naiad(folder / "data", "--sql-port", "0", "--login") as server:
        wait_until(lambda: "NAIAD_API_TOKEN=" in "".join(server.errors), 10, "the token")
        server.token = re.findall(r"NAIAD_API_TOKEN=(\S+)", "".join(server.errors))[0]
        log_two_points(folder, server)
        yield server


def log_two_points(folder: Path, server: Naiad) -> None:
    run = naiad.Run(
        project="team/p", run_id="one", log_directory=folder / "spool", url=server.url,
        api_token=server.token,
    )  # fmt: skip
    run.log_metrics({"train/loss": 2.0}, step=1)
    run.log_metrics({"train/loss": 1.0}, step=2)
    assert run.wait_for_processing(timeout=60 * LONGER)
    run.close()


def test_the_commands_of_the_page(server: Naiad) -> None:
    if not (bash := shutil.which("bash")) or not shutil.which("curl"):
        pytest.skip("needs curl: apt-get install curl")
    assert len(CURLS) == 4
    for command in CURLS:
        command = command.strip().replace("http://127.0.0.1:8123", server.sql)
        if "-u me" not in command:
            command += " -u me:$NAIAD_API_TOKEN"
        done = subprocess.run(
            [bash, "-c", command.replace("curl ", "curl -sS --fail-with-body ", 1)],
            env=clean_environment(NAIAD_API_TOKEN=server.token),
            capture_output=True, text=True, timeout=30 * LONGER, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert done.stdout
    # The last one.
    assert int(done.stdout) >= 2


def test_the_python_of_the_page(server: Naiad) -> None:
    scope: dict[str, object] = {"token": server.token}
    exec(PYTHON.replace("8123", server.sql.rpartition(":")[2]), scope)
    assert scope["frame"].to_dict("records") == [{"run_id": "one", "best": 1.0}]
    scope["client"].close()


def test_without_a_token_and_with_another(server: Naiad) -> None:
    with httpx.Client(timeout=PATIENCE) as client:
        assert client.post(server.sql, content="select 1").status_code == 401
        assert client.post(server.sql, content="select 1", auth=("me", "x")).status_code == 403


def test_a_taken_port_of_ones_own_choice_ends_it_and_the_usual_one_does_not(
    tmp_path: Path,
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "naiad", "up", "--data", str(tmp_path / "data"), "--port", "0",
             "--no-dashboard", "--sql-port", str(port)],
            env=clean_environment(), capture_output=True, text=True, timeout=60 * LONGER,
            check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"naiad up: port {port} on 127.0.0.1 is taken by another program")
    assert done.stderr.endswith("choose another with --sql-port\n")


def test_the_usual_port_is_not_insisted_on(tmp_path: Path) -> None:
    with socket.socket() as other:
        with contextlib.suppress(OSError):
            # Taken by us, or by somebody else already.
            other.bind(("127.0.0.1", 8123))
            other.listen()
        server = start_naiad(tmp_path / "data", "--port", "0", "--no-dashboard")
        try:
            assert not server.sql
            wait_until(lambda: "no SQL over HTTP: port 8123" in "".join(server.errors), 10, "why")
        finally:
            server.close()


def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    chain, key, ca = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    authority.cert_pem.write_to_path(str(ca))
    options = ("--tls-cert", str(chain), "--tls-key", str(key), "--sql-port", "0")
    with running_naiad(tmp_path / "data", *options) as server:
        assert server.sql.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=str(ca))
        with httpx.Client(verify=trusted, timeout=PATIENCE) as client:
            assert client.post(server.sql, content="select 1").text == "1\n"
        with pytest.raises(httpx.ConnectError):
            httpx.post(server.sql, content="select 1", timeout=PATIENCE)
        with clickhouse_connect.get_client(
            interface="https", host="127.0.0.1", port=int(server.sql.rpartition(":")[2]),
            ca_cert=str(ca),
        ) as driver:  # fmt: skip
            assert driver.query("select 1").result_rows == [(1,)]
