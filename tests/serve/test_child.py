"""What tests start ends with them, however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
from support_naiad import wait_until

STARTS = """
import subprocess, sys
from support_child import child
print(subprocess.Popen(child(sys.executable, "-c", "print('up'); import time; time.sleep(60)")).pid)
sys.stdout.flush()
input()
"""


def test_a_stage_does_not_outlive_a_test_that_is_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(__file__))}
    with subprocess.Popen(
        [sys.executable, "-uc", STARTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env=environment,
    ) as tests:  # fmt: skip
        assert tests.stdout
        pid = int(tests.stdout.readline())
        tests.send_signal(signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(pid) or _ended(pid), 20, "it ends")


def _ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
