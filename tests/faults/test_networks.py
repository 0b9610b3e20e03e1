"""Networks that drop, delay, duplicate, reorder and cut change nothing in what arrives."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest
from support_bench import Bench
from support_naiad import wait_until
from support_proxy import FAULTS, CuttingProxy, MeddlingProxy
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


@pytest.mark.slow
@pytest.mark.timeout(120 + PATIENCE)
def test_connections_that_are_cut_and_delayed(cutting: tuple[Bench, CuttingProxy]) -> None:
    bench, proxy = cutting
    writer = bench.writer("w", 1_000_000, pause=0.002)
    wait_until(lambda: calls_in(bench.diaries) > 100, 30, "it logs")
    wait_until(lambda: proxy.done["cut"] >= STRIKES, PATIENCE, "it cuts")
    writer.terminate()
    writer.communicate(timeout=60)
    proxy.calm = True
    bench.check(least=100)
    assert proxy.done["refused"]
    assert proxy.done["delayed"]


@pytest.mark.slow
@pytest.mark.timeout(120 + PATIENCE)
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
    writer.communicate(timeout=60)
    bench.check(least=100)
    assert "No server has refused anything" in bench.sync("--rejected")
