"""`naiad up` whose Valkey dies, stands still, or is full: nothing is lost and it comes back."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from support_naiad import LONGER, Naiad, running_naiad, wait_until
from support_shipping import PROJECT, Shipping, acknowledged, spool_for

from naiad.exceptions import NaiadQueryError
from naiad.query.client import QueryClient, Runs
from naiad.spool.writer import SpoolWriter
from naiad_consumers.live.layout import unpack_values, values_key

pytestmark = pytest.mark.slow

RUN = "r"


def valkey_of(server: Naiad) -> psutil.Process | None:
    for process in server.tree():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "valkey-server" in process.name():
                return process
    return None


def client_of(valkey: psutil.Process) -> redis.Redis:
    # It makes a title of the words that it was started with.
    socket = re.search(r"unixsocket[: ](\S+)", " ".join(valkey.cmdline()))
    assert socket, valkey.cmdline()
    return redis.Redis(unix_socket_path=socket[1], socket_timeout=10 * LONGER)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Naiad]:
    with running_naiad(tmp_path_factory.mktemp("up") / "data", "--no-dashboard") as server:
        yield server


@pytest.mark.parametrize("fault", ["killed", "paused", "full"])
def test_what_is_logged_meanwhile_is_there(server: Naiad, tmp_path: Path, fault: str) -> None:
    run = f"{RUN}-{fault}"
    writer = spool_for(tmp_path / "spool", server.url, run=run)
    shipping = Shipping(tmp_path / "spool")
    written = 0

    def log(rows: int, writer: SpoolWriter = writer) -> None:
        nonlocal written
        for _ in range(rows):
            writer.metrics({"loss": float(written)}, written * 1_000_000, 1_700_000_000_000)
            written += 1

    def live() -> float | None:
        """The newest value in the Valkey that is there now."""
        process = valkey_of(server)
        if process is None:
            return None
        with contextlib.suppress(redis.RedisError, OSError, psutil.Error):
            with client_of(process) as client:
                packed = client.hget(values_key(PROJECT, run), "loss")
            (value,) = unpack_values([packed]) if packed else [None]
            return value.value if value else None
        return None

    try:
        log(100)
        wait_until(lambda: live() == 99.0, 30, "live values are there")
        valkey = valkey_of(server)
        assert valkey
        match fault:
            case "killed":
                valkey.kill()
            case "paused":
                valkey.send_signal(signal.SIGSTOP)
            case "full":
                with client_of(valkey) as client:
                    client.config_set("maxmemory-policy", "noeviction")
                    client.config_set("maxmemory", "1")
        with QueryClient(server.url) as client:

            def stored() -> bool:
                try:
                    points = client.metrics(PROJECT, Runs(names=[run]))
                except NaiadQueryError:
                    # No project yet.
                    return False
                steps = points.column("step").to_pylist()
                values = points.column("value").to_pylist()
                return steps == [n * 1_000_000 for n in range(written)] and values == [
                    float(n) for n in range(written)
                ]

            log(100)
            wait_until(lambda: acknowledged(writer), 30, "all is acknowledged")
            wait_until(stored, 30, "all is stored")
            table = client.runs_table(PROJECT, Runs(names=[run]))
            assert table.column("loss:float_series").to_pylist() == [199.0]
            since = written
            match fault:
                case "paused":
                    valkey.send_signal(signal.SIGCONT)
                case "full":
                    with client_of(valkey) as full:
                        full.config_set("maxmemory", "256mb")

            def back() -> bool:
                log(1)
                value = live()
                return value is not None and value >= since

            wait_until(back, 60, "live values are there again")
            wait_until(stored, 30, "all is stored")
        if fault == "killed":
            again = valkey_of(server)
            assert again
            assert again.pid != valkey.pid
    finally:
        shipping.end()
        writer.close()
    # Of each outage once; a busy machine may have more of them than these.
    told = [line for line in server.errors if "can't be used" in line or "is back" in line]
    outages = sum("can't be used" in line for line in told)
    assert outages <= len(told) - outages + 1, told
