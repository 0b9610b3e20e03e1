"""What the client's tests share: a server to send to, and what sends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support_naiad import LONGER
from support_server import Server, serving
from support_shipping import Shipping

from naiad.spool.folder import host_folder


@pytest.fixture(autouse=True)
def not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all of this process stands still, a shipper of it must not say that the server does,
    beside what a test expects it to say."""
    monkeypatch.setattr("naiad.shipper.spool.SILENT_SECONDS", 30 * LONGER)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "server") as server:
        yield server


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return host_folder(tmp_path / "root")


@pytest.fixture
def shipping(host: Path) -> Iterator[Callable[..., Shipping]]:
    """Starts shippers of `host`'s spools, and ends them."""
    started: list[Shipping] = []

    def start(**options: Any) -> Shipping:
        started.append(Shipping(host, **options))
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture
def processes_end(tmp_path: Path) -> Iterator[None]:
    """Shippers that a test's scripts started end by themselves; the tests don't wait for it."""
    yield
    for process in psutil.process_iter(["cmdline"]):
        if str(tmp_path) in " ".join(process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture(params=["mmap", "write"])
def io(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to write a spool."""
    monkeypatch.setenv("NAIAD_SPOOL_IO", request.param)
    return str(request.param)
