"""SIGKILL to the whole platform while a run logs: nothing is lost, nothing is there twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from support_homes import Home
from support_naiad import LONGER, clean_environment, wait_until

from naiad.query import runs

pytestmark = pytest.mark.crowd

# Logs until told to end, and says after each call that it returned.
WRITER = """
import os, sys, time
import naiad

with naiad.Run(project="faults/kill", run_id="survivor") as run:
    run.log_configs({"lr": 0.25, "layers": 3})
    step = 0
    while not os.path.exists(sys.argv[1]):
        run.log_metrics({"loss": 1.0 / (step + 1), "twice": 2.0 * step}, step=step)
        if step % 10 == 0:
            run.log_string_series({"notes": f"at {step}"}, step=step)
        step += 1
        print(step, flush=True)
        time.sleep(0.0005)
    assert run.wait_for_processing(timeout=300)
"""


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_kill_all_of_it_while_a_run_logs(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, said = tmp_path / "end", tmp_path / "said"

    def calls() -> int:
        return len(said.read_text().splitlines())

    def wait_for_calls(more: int, what: str) -> None:
        wanted = calls() + more
        wait_until(lambda: calls() >= wanted, 60, what)

    home.start()
    environment = clean_environment(NAIAD_URL=home.url, NAIAD_LOG_DIRECTORY=str(tmp_path / "spool"))
    with said.open("w") as output:
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(end)], stdout=output, env=environment
        )
    try:
        for _ in range(3):
            wait_for_calls(400, "calls while the server runs")
            home.kill()
            wait_for_calls(200, "calls without a server")
            home.start()
        wait_for_calls(400, "calls after the last restart")
        end.touch()
        assert writer.wait(150 * LONGER) == 0
        monkeypatch.setenv("NAIAD_URL", home.url)
        check(calls())
    except BaseException as error:
        error.add_note(home.told())
        raise
    finally:
        if writer.poll() is None:
            writer.kill()
        writer.wait()


def check(steps: int) -> None:
    project = "faults/kill"

    def facts() -> dict[str, object]:
        table = runs.fetch_runs_table(
            project=project, runs=["survivor"], attributes=["lr", "layers", "sys/state"]
        )
        return table.loc["survivor"].to_dict()

    # A process that has ended has sent its end, which is readable soon after.
    wait_until(lambda: facts()["sys/state"] == "finished", 20, "the run's end is readable")
    assert facts() == {"lr": 0.25, "layers": 3, "sys/state": "finished"}
    index = pd.Index([float(step) for step in range(steps)], name="step")
    expected = pd.DataFrame(
        {"loss": [1.0 / (s + 1) for s in range(steps)], "twice": [2.0 * s for s in range(steps)]},
        index=index,
    )
    found = runs.fetch_metrics(project=project, runs=["survivor"], attributes=["loss", "twice"])
    pd.testing.assert_frame_equal(
        found.loc["survivor"], expected, check_names=False, check_column_type=False
    )
    notes = runs.fetch_series(project=project, runs=["survivor"], attributes=["notes"])
    assert list(notes.loc["survivor"]["notes"]) == [f"at {s}" for s in range(0, steps, 10)]
