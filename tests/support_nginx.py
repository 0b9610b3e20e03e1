"""The gateway's own nginx configuration in a real nginx on free ports of this machine."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from support_child import child
from support_naiad import LONGER, wait_until
from support_ports import free_port

GATEWAY = Path(__file__).parent.parent / "deploy" / "gateway"


@dataclass
class Gateway:
    folder: Path
    grpc_port: int
    dashboard_port: int
    # Without TLS, for what runs beside it.
    internal_port: int
    process: subprocess.Popen[bytes]
    scheme: str = "grpc"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.grpc_port}"

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()


def nginx_binary() -> str:
    """Skips, loudly, where there is none."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not found:
        pytest.skip("needs nginx: Debian: apt-get install nginx-light")
    return found


@contextlib.contextmanager
def running_gateway(
    folder: Path,
    *,
    ingest: int,
    query: int,
    dashboard: int = 9,
    certificate: tuple[bytes, bytes] | None = None,
) -> Iterator[Gateway]:
    """nginx in front of processes on these ports; `certificate` and its key make it TLS."""
    binary = nginx_binary()
    folder.mkdir()
    ports = {"7420": free_port(), "7421": free_port(), "8501": free_port(), "8080": free_port()}
    for source in GATEWAY.glob("*.conf"):
        # Of the deployment only: ports and the folder that may be written.
        text = source.read_text().replace("/tmp/", f"{folder}/")
        for usual, here in ports.items():
            text, _ = re.subn(rf"listen {usual}\b", f"listen 127.0.0.1:{here}", text)
        (folder / source.name).write_text(text)
    (folder / "upstreams.conf").write_text(
        "".join(
            f"upstream naiad_{name} {{ server 127.0.0.1:{port}; keepalive 64; }}\n"
            for name, port in {"ingest": ingest, "query": query, "dashboard": dashboard}.items()
        )
    )
    listeners = "tls.conf" if certificate else "plain.conf"
    (folder / listeners).rename(folder / "listeners.conf")
    if certificate:
        (folder / "tls").mkdir()
        (folder / "tls" / "tls.crt").write_bytes(certificate[0])
        (folder / "tls" / "tls.key").write_bytes(certificate[1])
    with (folder / "said").open("wb") as output:
        process = subprocess.Popen(
            child(binary, "-c", f"{folder}/nginx.conf", "-p", str(folder), "-g", "daemon off;"),
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    gateway = Gateway(
        folder, ports["7420"], ports["8501"], ports["7421"], process,
        "grpcs" if certificate else "grpc",
    )  # fmt: skip

    def up() -> bool:
        assert process.poll() is None, gateway.said
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{ports['8080']}/healthz").text == "ok\n"
        return False

    try:
        wait_until(up, 20, "nginx answers")
        yield gateway
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20 * LONGER)
