"""`naiad audit` as its user runs it: after real runs, a killed one, and a planted loss."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from support_homes import Home, Served
from support_naiad import LONGER, clean_environment, running_naiad, wait_until

from naiad.spool.folder import host_folder, spools

pytestmark = [pytest.mark.crowd, pytest.mark.slow]

RUN = """
import sys, time, naiad
run = naiad.Run(project="team/audit", run_id=sys.argv[1], log_directory=sys.argv[2])
for step in range(int(sys.argv[3])):
    run.log_metrics({"loss": 1 / (step + 1), "lr": 0.1}, step=step % 700)
    if step % 100 == 0:
        run.add_tags([f"t{step}"])
run.log_configs({"depth": 3})
if sys.argv[4] == "end":
    run.close()
else:
    print("logged", flush=True)
    time.sleep(600)
"""


def train(server: Served, root: Path, run_id: str, steps: int, how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, run_id, str(root), str(steps), how],
        env=clean_environment(NAIAD_URL=server.url),
        stdout=subprocess.PIPE,
        text=True,
    )


def audit(server: Served, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "naiad", "audit", *arguments],
        env=clean_environment(NAIAD_URL=server.url),
        capture_output=True,
        text=True,
        timeout=100 * LONGER,
    )


@pytest.mark.timeout(600)
def test_all_there(home: Home, tmp_path: Path) -> None:
    with home.serving() as server:
        train_both(server, tmp_path)
        done = audit(server, "team/audit")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith("team/audit: all there: 2 runs, ")
        assert "600 overwritten" in done.stdout
        answer = json.loads(audit(server, "whole", "--project", "team/audit", "--json").stdout)
        assert answer["gaps"] == []
        (run,) = answer["runs"]
        assert run["overwritten_points"] == 600
        # What is unknown is said.
        assert "know a run 'absent'" in audit(server, "team/audit/absent").stderr
        assert audit(server, "absent").returncode == 2


def train_both(server: Served, folder: Path) -> None:
    """A run that ends and one that is killed, both of them stored."""
    with train(server, folder / "spool", "whole", 1000, "end") as whole:
        assert whole.wait(100 * LONGER) == 0
    with train(server, folder / "spool", "killed", 500, "stay") as killed:
        assert killed.stdout
        assert killed.stdout.readline() == "logged\n"
        os.kill(killed.pid, signal.SIGKILL)
    # All of it: what was sent so far may be there while the rest still waits to be sent.
    host = host_folder(folder / "spool")
    wait_until(lambda: spools(host) == [], 60, "what both had logged is sent")
    wait_until(lambda: audit(server, "team/audit").returncode == 0, 60, "it is stored")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_disk_that_forgets_what_was_acknowledged(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running_naiad(data) as naiad:
        train_both(Served(naiad.url, ""), tmp_path)
        answer = json.loads(audit(Served(naiad.url, ""), "team/audit/whole", "--json").stdout)[
            "runs"
        ][0]
    connection = sqlite3.connect(data / "log" / "log.db")
    with connection:
        lost = connection.execute(
            # The largest: points are in it, into however many batches they were cut.
            "DELETE FROM records WHERE rowid = (SELECT rowid FROM records WHERE partition = ?"
            " AND offset BETWEEN ? AND ? AND topic = (SELECT topic FROM topics"
            " WHERE name = 'naiad.records') ORDER BY length(value) DESC LIMIT 1)",
            (answer["log_partition"], answer["first_offset"], answer["last_offset"]),
        ).rowcount
    connection.close()
    assert lost == 1
    with running_naiad(data) as naiad:
        done = audit(Served(naiad.url, ""), "team/audit/whole")
        assert done.returncode == 1
        # If all of the run was in what is lost, its own counts went with it: only the store knows.
        assert (
            "acknowledged and are not in the log" in done.stdout
            or "are called stored and were never in the log" in done.stdout
        )
