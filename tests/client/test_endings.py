"""How processes end: never a hang, never a lost point, and the run's state says how."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support_naiad import LONGER, clean_environment, wait_until
from support_runs import PATIENT
from support_server import Server

from naiad.spool.folder import host_folder, spools
from naiad_proto.series import group_arrays
from naiad_proto.v1 import records_pb2 as pb

pytestmark = pytest.mark.usefixtures("processes_end")

HEAD = f"""
import os, signal, sys, time
import naiad
{PATIENT}
run = naiad.Run(project="team/p", run_id="r", hardware_interval=None,
                source_tracking_config=None, enable_console_log_capture=False)
for step in range(1000):
    run.log_metrics({{"a": step}}, step=step)
print("logged", flush=True)
"""


def start(tmp_path: Path, url: str, tail: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + tail],
        env=clean_environment(
            NAIAD_URL=url, NAIAD_LOG_DIRECTORY=str(tmp_path / "root"), **environment
        ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def count(server: Server) -> int:
    found = set()
    for batch in server.batches():
        for group in batch.groups:
            found |= set(group_arrays(group).steps.tolist())
    return len(found)


def states(server: Server) -> list[tuple[int, str]]:
    return [
        (item.writer_status.state, item.writer_status.reason)
        for batch in server.batches()
        for item in batch.items
        if item.HasField("writer_status") and item.writer_status.state != pb.WRITER_STATE_RUNNING
    ]


# In short pieces: a handler of Python's that comes an instant before a blocking call has to wait
# for that to return.
WAIT = "for _ in range(600): time.sleep(0.1)"

ENDINGS = {
    "close": ("run.close()", pb.WRITER_STATE_FINISHED, "", 0),
    "nothing": ("", pb.WRITER_STATE_FINISHED, "", 0),
    "sys.exit": ("sys.exit(0)", pb.WRITER_STATE_FINISHED, "", 0),
    "uncaught": ("1 / 0", pb.WRITER_STATE_FAILED, "ZeroDivisionError: division by zero", 1),
    "interrupt": ("raise KeyboardInterrupt", pb.WRITER_STATE_STOPPED, "interrupted (Ctrl-C)", -2),
    "os._exit": ("os._exit(0)", pb.WRITER_STATE_KILLED, "the process ended", 0),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", pb.WRITER_STATE_KILLED, "the process", -9),
    "SIGSEGV": ("os.kill(os.getpid(), signal.SIGSEGV)", pb.WRITER_STATE_KILLED, "the proc", -11),
    "SIGTERM": (WAIT, pb.WRITER_STATE_STOPPED, "SIGTERM", -15),
    "SIGTERM while busy": ("while True: pass", pb.WRITER_STATE_STOPPED, "SIGTERM", -15),
    "atexit raises": (
        "import atexit; atexit.register(lambda: 1 / 0)", pb.WRITER_STATE_FINISHED, "", 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("shipper", ["process", "thread"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_all_points_arrive_and_the_state_says_how(
    server: Server, tmp_path: Path, ending: str, shipper: str
) -> None:
    tail, state, reason, status = ENDINGS[ending]
    kills = state == pb.WRITER_STATE_KILLED
    process = start(tmp_path, server.url, tail, NAIAD_SHIPPER=shipper)
    assert process.stdout
    assert process.stdout.readline() == "logged\n"
    if ending.startswith("SIGTERM"):
        process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60 * LONGER)
    assert process.returncode == status, errors
    if shipper == "thread" and (kills or ending.startswith("SIGTERM")):
        # Nobody is left to send it, or to clear it away; the next run or `naiad sync` does.
        sync = [sys.executable, "-m", "naiad", "sync", str(tmp_path / "root")]
        subprocess.run(sync, check=True, capture_output=True, env=clean_environment())
    wait_until(lambda: states(server), 20, "the end arrived")
    wait_until(lambda: spools(host_folder(tmp_path / "root")) == [], 20, "the spool is gone")
    assert count(server) == 1000
    # Twice the same where the shipper ended before it heard the answer.
    ((found, why),) = set(states(server))
    assert found == state
    assert why.startswith(reason)


def test_the_end_waits_in_vain_only_for_its_time_and_says_what_is_left(
    server: Server, tmp_path: Path
) -> None:
    server.stop()
    # Said at once: a machine that stands still may be on its way only when the time is up.
    tail = "from naiad import _session; _session.QUIET_SECONDS = 0.0; run.close(timeout=3)"
    process = start(tmp_path, server.url, tail)
    _, errors = process.communicate(timeout=60 * LONGER)
    assert process.returncode == 0
    assert "waiting for" in errors
    assert "naiad sync" in errors
    assert str(tmp_path / "root") in errors
    server.start()
    wait_until(lambda: count(server) == 1000, 30, "the shipper went on")


def test_ctrl_c_ends_the_wait(server: Server, tmp_path: Path) -> None:
    server.stop()
    process = start(tmp_path, server.url, "print('closing', flush=True); run.close(timeout=500)")
    assert process.stdout
    while process.stdout.readline() != "closing\n":
        pass
    assert process.stderr
    while "waiting for" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60 * LONGER)
    assert process.returncode == 0, errors
    assert "naiad sync" in errors


def test_a_killed_shipper_is_replaced(server: Server, tmp_path: Path) -> None:
    process = start(
        tmp_path,
        server.url,
        f"""
sys.stdin.readline()
for step in range(1000, 2000):
    run.log_metrics({{"a": step}}, step=step)
assert run.wait_for_submission(timeout={30 * LONGER})
print("sent", flush=True)
""",
    )
    assert process.stdout
    assert process.stdout.readline() == "logged\n"
    wait_until(lambda: count(server) == 1000, 20, "the first half arrived")
    (shipper,) = [
        found
        for found in psutil.process_iter(["cmdline"])
        if "naiad.shipper" in (found.info["cmdline"] or ())
        and str(tmp_path) in " ".join(found.info["cmdline"])
    ]
    shipper.kill()
    out, errors = process.communicate("go\n", timeout=90 * LONGER)
    assert "sent" in out, errors
    assert count(server) == 2000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_that_logs_is_a_writer_of_its_own(server: Server, tmp_path: Path) -> None:
    process = start(
        tmp_path,
        server.url,
        """
import warnings
warnings.simplefilter("ignore")
pid = os.fork()
if pid == 0:
    for step in range(1000, 1500):
        run.log_metrics({"a": step}, step=step)
    os._exit(0)
os.waitpid(pid, 0)
for step in range(1500, 2000):
    run.log_metrics({"a": step}, step=step)
""",
    )
    _, errors = process.communicate(timeout=60 * LONGER)
    assert process.returncode == 0, errors
    wait_until(lambda: len(states(server)) == 2, 30, "both ended")
    # Nobody waits for the child's: its end is told at its beginning.
    wait_until(lambda: count(server) == 2000, 30, "all points of both")
    assert {state for state, _ in states(server)} == {pb.WRITER_STATE_FINISHED}


def test_a_forked_child_that_logs_nothing_is_not_seen(server: Server, tmp_path: Path) -> None:
    process = start(
        tmp_path,
        server.url,
        """
import multiprocessing
multiprocessing.set_start_method("fork")
with multiprocessing.Pool(2) as pool:
    assert pool.map(abs, range(100)) == list(range(100))
""",
    )
    _, errors = process.communicate(timeout=60 * LONGER)
    assert process.returncode == 0, errors
    wait_until(lambda: states(server), 30, "the end arrived")
    assert states(server) == [(pb.WRITER_STATE_FINISHED, "")]
    assert count(server) == 1000


def test_a_forked_child_that_logs_nothing_has_no_handler_of_ours(
    server: Server, tmp_path: Path
) -> None:
    """One of Python's may wait for a blocking call to return, and a pool for its worker."""
    process = start(
        tmp_path,
        server.url,
        """
def handler(queue, log):
    if log:
        run.log_metrics({"child": 1}, step=0)
    queue.put(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
import multiprocessing
context = multiprocessing.get_context("fork")
queue = context.SimpleQueue()
for log in (False, True):
    child = context.Process(target=handler, args=(queue, log))
    child.start()
    print(queue.get(), flush=True)
    child.join()
print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
""",
    )
    output, errors = process.communicate(timeout=60 * LONGER)
    assert process.returncode == 0, errors
    assert output.split()[-3:] == ["True", "False", "False"]


def test_no_sigterm_handler_where_somebody_else_has_one(server: Server, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
            + HEAD
            + WAIT,
        ],
        env=clean_environment(NAIAD_URL=server.url, NAIAD_LOG_DIRECTORY=str(tmp_path / "root")),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "logged\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60 * LONGER)
    assert process.returncode == 3
    wait_until(lambda: count(server) == 1000, 30, "all points")
