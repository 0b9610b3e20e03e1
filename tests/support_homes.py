"""The two homes of the platform: on one machine, and on the engines of a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from support_cluster import Cluster
from support_gateway import Gateway
from support_naiad import Naiad, start_naiad
from support_ports import free_port


@dataclass
class Served:
    url: str
    dashboard: str


class Home(Protocol):
    """A platform that keeps what it has from one `serving` to the next, on the same port."""

    # Of examples/demo.py.
    demo_options: list[str]
    url: str

    def serving(self, *, dashboard: bool = False) -> contextlib.AbstractContextManager[Served]: ...

    def start(self) -> None: ...

    def kill(self) -> None:
        """SIGKILL to every process of it."""

    def told(self) -> str:
        """What its parts have said lately, for whoever looks into a failure."""
        ...

    def close(self) -> None: ...


class OneMachine:
    """`naiad up`."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._port = free_port()
        self._naiad: Naiad | None = None
        self.url = f"grpc://127.0.0.1:{self._port}"
        # The demo has a `naiad up` of its own, on this data.
        self.demo_options = [
            "--data", str(self._data), "--port", str(self._port), "--dashboard-port", "0",
        ]  # fmt: skip

    @contextlib.contextmanager
    def serving(self, *, dashboard: bool = False) -> Iterator[Served]:
        self.start(dashboard=dashboard)
        assert self._naiad
        try:
            yield Served(self.url, self._naiad.dashboard)
        finally:
            self.close()

    def start(self, *, dashboard: bool = False) -> None:
        pages = ("--dashboard-port", "0") if dashboard else ("--no-dashboard",)
        self._naiad = start_naiad(self._data, "--port", str(self._port), *pages)

    def kill(self) -> None:
        assert self._naiad
        self._naiad.kill_tree()
        self.close()

    def told(self) -> str:
        return "".join(self._naiad.errors) if self._naiad else ""

    def close(self) -> None:
        if self._naiad:
            self._naiad.close()
            self._naiad = None


class InACluster:
    """Every stage a process, on Kafka with three brokers, the HTTP store and Valkey."""

    def __init__(self, platform: Cluster) -> None:
        self._platform = platform
        self._running = True
        self._gateway = Gateway(ingest=platform.ingest.listen, query=platform.query.listen)
        self.url = self._gateway.url
        self.demo_options = ["--url", self.url]

    @contextlib.contextmanager
    def serving(self, *, dashboard: bool = False) -> Iterator[Served]:
        if not dashboard:
            yield Served(self.url, "")
            return
        pages = self._platform.stages.start("dashboard", NAIAD_SERVER=self.url)
        try:
            yield Served(self.url, pages.url)
        finally:
            pages.stop()

    def start(self) -> None:
        if not self._running:
            self._platform.start_all()
            self._running = True

    def kill(self) -> None:
        self._platform.kill_all()
        self._running = False

    def told(self) -> str:
        return self._platform.told()

    def close(self) -> None:
        self._gateway.close()
