"""Engines and stages for a measurement, on loopback, with their data in a folder that goes."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from kafka_cluster import KafkaCluster
from support_clickhouse import ClickHouse, clickhouse
from support_serve import Stages
from support_valkey import running_valkey


@dataclass(frozen=True)
class Engines:
    folder: Path
    kafka: KafkaCluster
    store: ClickHouse | None
    stages: Stages

    @property
    def spool(self) -> Path:
        return self.folder / "spool"


@contextlib.contextmanager
def engines(*, brokers: int = 1, store: bool = True, state: bool = False) -> Iterator[Engines]:
    # Not in /tmp, which may be memory: a log that is synced to memory is too fast to be true.
    with contextlib.ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-"))
        )
        kafka = stack.enter_context(KafkaCluster(folder / "kafka", brokers))
        server = stack.enter_context(clickhouse(folder / "clickhouse")) if store else None
        redis = ""
        if state:
            (folder / "valkey").mkdir()
            redis = stack.enter_context(running_valkey(folder / "valkey")).url
        stages = stack.enter_context(
            Stages(
                folder / "stages", event_log=kafka.url, store=server.url if server else "",
                state=redis,
            )
        )  # fmt: skip
        yield Engines(folder, kafka, server, stages)


def cpu_seconds(pid: int) -> float:
    """Used by a process and its children so far."""
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                total += times.user + times.system
    return total
