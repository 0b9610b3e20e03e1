"""Networks that drop, delay, duplicate, reorder and cut change nothing in what arrives."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest
from support_bench import Bench
from support_naiad import LONGER, wait_until
from support_proxy import FAULTS, ConnectProxy, CuttingProxy, MeddlingProxy
from support_truth import calls_in

SEED = int(os.environ.get("NAIAD_SEED", str(time.time_ns() % 1_000_000)))
# How often each fault is to strike, at the least.
STRIKES = min(int(os.environ.get("NAIAD_KILLS", "4")), 20)
PATIENCE = 40 + 10 * STRIKES


@pytest.fixture
def cutting(benches: Callable[[int], Bench]) -> Iterator[tuple[Bench, CuttingProxy]]:
    bench = benches(SEED)
    proxy = CuttingProxy(bench.platform.port, SEED)
    bench.url = proxy.url
    yield bench, proxy
    bench.close()
    proxy.close()


@pytest.fixture
def meddling(benches: Callable[[int], Bench]) -> Iterator[tuple[Bench, MeddlingProxy]]:
    bench = benches(SEED)
    proxy = MeddlingProxy(f"127.0.0.1:{bench.platform.port}", SEED)
    bench.url = proxy.url
    yield bench, proxy
    bench.close()
    proxy.close()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout((120 + PATIENCE) * LONGER)
def test_connections_that_are_cut_and_delayed(cutting: tuple[Bench, CuttingProxy]) -> None:
    bench, proxy = cutting
    writer = bench.writer("w", 1_000_000, pause=0.002)
    wait_until(lambda: calls_in(bench.diaries) > 100, 30, "it logs")
    wait_until(
        lambda: proxy.done["cut"] >= STRIKES and proxy.done["refused"] and proxy.done["delayed"],
        PATIENCE,
        "it cuts, refuses and delays",
    )
    writer.terminate()
    writer.communicate(timeout=60 * LONGER)
    proxy.calm = True
    bench.check(least=100)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout((120 + PATIENCE) * LONGER)
def test_calls_that_are_doubled_reordered_and_denied(
    meddling: tuple[Bench, MeddlingProxy],
) -> None:
    bench, proxy = meddling
    writer = bench.writer("w", 1_000_000, pause=0.002)
    wait_until(
        lambda: all(proxy.done[fault] >= STRIKES // 2 for fault in FAULTS),
        PATIENCE,
        "each of its faults",
    )
    writer.terminate()
    writer.communicate(timeout=60 * LONGER)
    bench.check(least=100)
    assert "No server has refused anything" in bench.sync("--rejected")


LOG = "diary = keeper('w')\nfor step in range(50): diary.step(step)\n"


def test_an_http_proxy_is_used_for_other_hosts(bench: Bench) -> None:
    proxy = ConnectProxy(bench.platform.port)
    bench.url = "grpc://naiad.example:7420"
    try:
        process = bench.script(LOG, http_proxy=f"http://127.0.0.1:{proxy.port}", no_proxy="")
        _, errors = process.communicate(timeout=60 * LONGER)
        assert process.returncode == 0, errors
        bench.check(least=50)
        assert proxy.asked
        assert set(proxy.asked) == {"CONNECT naiad.example:7420 HTTP/1.1"}
    finally:
        bench.close()
        proxy.close()


def test_no_http_proxy_stands_before_this_machine(bench: Bench) -> None:
    process = bench.script(LOG, http_proxy="http://127.0.0.1:1", no_proxy="")
    _, errors = process.communicate(timeout=60 * LONGER)
    assert process.returncode == 0, errors
    bench.check(least=50)
