"""However a process ends: never a hang, never a lost point. With the whole platform behind;
tests/client/test_endings.py has the states that runs get."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from support_bench import PROJECT, Bench
from support_naiad import LONGER, wait_until
from support_proxy import CuttingProxy

from naiad.query import QueryClient
from naiad.spool.folder import spools

LOG = "diary = keeper('w')\nfor step in range(100): diary.step(step)\n"
# What no end may take longer than, over the time that it is to wait: Python's own start and
# end on a machine that is busy with other tests.
SLACK = 18.0 * LONGER


def state(bench: Bench) -> str:
    with QueryClient(bench.platform.url) as client:
        asked = f"SELECT state FROM runs WHERE project = '{PROJECT}' AND run_id = '{bench.run_id}'"
        return str(client.sql(asked).column(0)[0].as_py())


def end(process: subprocess.Popen[str], within: float) -> str:
    """Waits for the end; what it said on stderr."""
    begin = time.monotonic()
    _, errors = process.communicate(timeout=within + SLACK)
    assert time.monotonic() - begin < within + SLACK
    return errors


ENDS = {
    "nothing at all": (LOG, "finished", 0),
    "sys.exit inside with": (LOG + "with run: sys.exit(0)", "finished", 0),
    "sys.exit(3) inside with": (LOG + "with run: sys.exit(3)", "failed", 3),
    "an exception in a thread": (
        LOG + "t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()", "finished", 0,
    ),
    "an exception in atexit": (
        "import atexit\natexit.register(lambda: 1 / 0)\n" + LOG
        + "atexit.register(lambda: 1 / 0)", "finished", 0,
    ),
    "logging in atexit": (
        LOG + "import atexit\natexit.register(lambda: diary.step(100))", "finished", 0,
    ),
    "a run that nobody holds": (
        LOG + "import gc\ndel run, diary.run\ndel diary\ngc.collect()", "finished", 0,
    ),
    "a daemon thread that logs on and on": (
        LOG + "def on():\n"
        "    while True: run.log_metrics({'w/loss': 1.0}, step=-1)\n"
        "import logging; logging.disable()\n"
        "threading.Thread(target=on, daemon=True).start()\n", "finished", 0,
    ),
    "a child process by fork and exec": (
        LOG + "import subprocess\n"
        "subprocess.run([sys.executable, '-c', 'print(1)'], check=True)\n"
        "subprocess.run(['sleep', '0'], close_fds=False, check=True)\n", "finished", 0,
    ),
    "a shipper killed just before": (
        LOG + "import psutil\n"
        "for p in psutil.Process().children(): p.kill()\n"
        "run.close()\n", "finished", 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_everything_arrives(bench: Bench, name: str) -> None:
    code, expected, status = ENDS[name]
    process = bench.script(code)
    errors = end(process, 10)
    assert process.returncode == status, errors
    bench.check(least=100)
    wait_until(lambda: state(bench) == expected, 20, f"{expected}: {state(bench)}")


def test_a_run_made_while_a_module_is_imported_and_one_in_a_thread(bench: Bench) -> None:
    module = bench.folder / "training.py"
    module.write_text(
        "import os, sys, threading\nfrom pathlib import Path\n"
        "from support_diary import Diary, plain_run\n"
        f"folder, seed = Path({str(bench.diaries)!r}), {bench.seed}\n"
        f"run = plain_run({PROJECT!r}, {bench.run_id!r})\n"
        "def log(run, name):\n"
        "    diary = Diary(run, folder, seed, name)\n"
        "    for step in range(100): diary.step(step)\n"
        "def other():\n"
        f"    log(plain_run({PROJECT!r}, {bench.run_id!r}), 'thread')\n"
        "thread = threading.Thread(target=other)\nthread.start()\n"
        "log(run, 'import')\nthread.join()\n"
    )
    process = bench.python("-c", f"import sys; sys.path.insert(0, {str(bench.folder)!r})\n"
                                 "import training")  # fmt: skip
    errors = end(process, 10)
    assert process.returncode == 0, errors
    bench.check(least=200)
    wait_until(lambda: state(bench) == "finished", 20, "it is finished")


@pytest.fixture
def away(bench: Bench) -> Iterator[Bench]:
    """The server can't be reached; `bench.sync` reaches it."""
    real, bench.url = bench.url, "grpc://127.0.0.1:1"
    yield bench
    bench.url = real


def deliver(bench: Bench, least: int = 100) -> None:
    """By sync alone, to where the server is now."""
    bench.kill_shippers()
    bench.sync("--url", bench.platform.url)
    bench.check(least=least)


def until_it_waits(process: subprocess.Popen[str]) -> None:
    """Until it says so, which it does after two seconds of it."""
    assert process.stderr
    said = []
    while "waiting for" not in (line := process.stderr.readline()):
        said.append(line)
        assert line, f"it ended: {''.join(said)}"


def says_where(errors: str, bench: Bench) -> None:
    assert "records are not sent yet" in errors
    assert str(bench.root) in errors
    assert "naiad sync" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("shipper", ["process", "thread"])
@pytest.mark.parametrize(
    "code", ["run.close(timeout=3)", "from naiad import _ending; _ending.EXIT_SECONDS = 3"]
)
def test_without_a_server_the_end_waits_its_time(away: Bench, code: str, shipper: str) -> None:
    process = away.script(LOG + code, NAIAD_SHIPPER=shipper)
    errors = end(process, 3)
    assert process.returncode == 0
    says_where(errors, away)
    deliver(away)


@pytest.mark.long
def test_two_runs_wait_no_longer_than_one(away: Bench) -> None:
    seconds = 4 * LONGER
    process = away.script(
        LOG + f"from naiad import _ending; _ending.EXIT_SECONDS = {seconds}\n"
        f"others = [plain_run({PROJECT!r}, {away.run_id!r}) for _ in range(8)]\n"
    )
    begin = time.monotonic()
    errors = end(process, seconds)
    # Nine times as many, were they each run's own.
    assert time.monotonic() - begin < seconds + SLACK < 9 * seconds
    says_where(errors, away)
    deliver(away)


@pytest.mark.long
def test_sigterm_without_a_server(away: Bench) -> None:
    process = away.script(LOG + "print('logged', flush=True)\nwhile True: time.sleep(1)")
    assert process.stdout
    assert process.stdout.readline() == "logged\n"
    process.send_signal(signal.SIGTERM)
    errors = end(process, 10)
    assert process.returncode == -signal.SIGTERM
    says_where(errors, away)
    deliver(away)
    wait_until(lambda: state(away) == "stopped", 20, "it is stopped")


@pytest.mark.long
def test_sigterm_while_the_interpreter_ends(away: Bench) -> None:
    process = away.script(LOG)
    until_it_waits(process)
    process.send_signal(signal.SIGTERM)
    errors = end(process, 10)
    assert process.returncode == -signal.SIGTERM
    assert "Traceback" not in errors
    deliver(away)


def test_the_second_ctrl_c_ends_the_wait(away: Bench) -> None:
    process = away.script(
        LOG + "other = plain_run('faults/proof', run.run_id)\n"
        "with run:\n    print('logged', flush=True)\n    while True: time.sleep(1)"
    )
    assert process.stdout
    assert process.stdout.readline() == "logged\n"
    process.send_signal(signal.SIGINT)
    until_it_waits(process)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    errors = end(process, 0)
    assert time.monotonic() - begin < SLACK
    assert process.returncode == -signal.SIGINT
    assert "records are not sent yet" in errors
    deliver(away)
    wait_until(lambda: state(away) == "stopped", 20, "it is stopped")


@pytest.mark.long
def test_a_server_that_is_stopped(bench: Bench) -> None:
    for process in bench.platform.tree():
        process.suspend()
    try:
        logging = bench.script(LOG + "run.close(timeout=7)")
        errors = end(logging, 7)
        assert logging.returncode == 0
        says_where(errors, bench)
    finally:
        for process in bench.platform.tree():
            process.resume()
    bench.check(least=100)


def test_a_network_that_swallows_everything(bench: Bench) -> None:
    proxy = CuttingProxy(bench.platform.port, seed=1)
    proxy.calm = proxy.hold = True
    bench.url = proxy.url
    try:
        process = bench.script(LOG + "run.close(timeout=3)")
        errors = end(process, 3)
        assert process.returncode == 0
        says_where(errors, bench)
        proxy.hold = False
        bench.check(least=100)
    finally:
        bench.close()
        proxy.close()


def test_a_shipper_that_is_stopped(bench: Bench) -> None:
    process = bench.script("sys.stdin.readline()\n" + LOG + "run.close(timeout=3)\n")
    wait_until(bench.shippers, 20, "the shipper is there")
    wait_until(lambda: spools(bench.host), 20, "the spool is there")
    for shipper in bench.shippers():
        shipper.suspend()
    assert process.stdin
    process.stdin.write("go\n")
    process.stdin.flush()
    errors = end(process, 3)
    assert process.returncode == 0
    says_where(errors, bench)
    for shipper in bench.shippers():
        shipper.resume()
    bench.check(least=100)
