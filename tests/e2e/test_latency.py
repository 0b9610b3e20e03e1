"""How soon what was logged can be read: the figure that a user waits for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support_naiad import LONGER, clean_environment, running_naiad

from naiad.query import runs

# 2,000 calls of 50 metrics: 100,000 points by one process, flat out.
WRITER = """
import json, time
import naiad

with naiad.Run(project="speed/latency", run_id="r", enable_console_log_capture=False) as run:
    # The run is set up and its shipper is awake, as in any training but for the first moment.
    run.log_metrics({"warm": 0.0}, step=0)
    assert run.wait_for_processing(timeout=100)
    paths = [f"layer/{n}/norm" for n in range(50)]
    began = time.time()
    for step in range(2000):
        run.log_metrics({path: step + n / 64 for n, path in enumerate(paths)}, step=step)
    last = time.time()
    assert run.wait_for_processing(timeout=100)
    print(json.dumps({"logging": last - began, "readable": time.time() - last}))
"""


def test_100_000_points_are_readable_soon_after_the_last_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report_figure: Callable[[str], None]
) -> None:
    with running_naiad(tmp_path / "data") as naiad:
        environment = clean_environment(
            NAIAD_URL=naiad.url, NAIAD_LOG_DIRECTORY=str(tmp_path / "spool")
        )
        done = subprocess.run(
            [sys.executable, "-c", WRITER],
            env=environment, capture_output=True, text=True, check=False, timeout=100 * LONGER,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        monkeypatch.setenv("NAIAD_URL", naiad.url)
        found = runs.fetch_metrics(project="speed/latency", runs=["r"], attributes="^layer/")
        # "Readable" must not be the client's word alone.
        assert found.shape == (2000, 50)
        assert found.notna().all(axis=None)
        for n in (0, 49):
            values = found[f"layer/{n}/norm"].tolist()
            assert values == [step + n / 64 for step in range(2000)]
    took = json.loads(done.stdout)
    report_figure(
        f"100,000 points by one process: logged in {took['logging']:.3f} s, all readable"
        f" {took['readable']:.2f} s after the last call (target 2 s)"
    )
