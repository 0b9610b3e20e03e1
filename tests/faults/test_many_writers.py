"""Many processes and threads, one run, no coordination."""

from __future__ import annotations

from support_bench import Bench
from support_naiad import LONGER

PROCESSES, THREADS, STEPS = 8, 4, 60


def test_8_processes_of_4_threads_log_to_one_run(bench: Bench) -> None:
    writers = [bench.writer(f"p{n}", STEPS, threads=THREADS) for n in range(PROCESSES)]
    for writer in writers:
        _, errors = writer.communicate(timeout=100 * LONGER)
        assert writer.returncode == 0, errors
    bench.check(least=PROCESSES * THREADS * STEPS * 2)
