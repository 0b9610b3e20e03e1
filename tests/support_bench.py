"""One run under torture: its spools, its diaries, and the processes around them."""

from __future__ import annotations

import contextlib
import itertools
import random
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from support_naiad import LONGER, Naiad, clean_environment, wait_until
from support_truth import Truth, read_back, read_diaries

from naiad.spool.folder import host_folder, spools

TESTS = Path(__file__).parent
PROJECT = "faults/proof"
_NUMBERS = itertools.count(1)


class Bench:
    """A run of its own on a platform that others use too."""

    def __init__(self, folder: Path, platform: Naiad, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.random = random.Random(seed)
        self.run_id = f"run-{next(_NUMBERS)}-{seed}"
        self.platform = platform
        # Where the client sends; a proxy may stand in between.
        self.url = platform.url
        self.root = folder / "root"
        self.diaries = folder / "diaries"
        self.diaries.mkdir()
        self._started: list[subprocess.Popen[str]] = []

    @property
    def host(self) -> Path:
        return host_folder(self.root)

    def environment(self, **more: str) -> dict[str, str]:
        return clean_environment(
            NAIAD_URL=self.url, NAIAD_LOG_DIRECTORY=str(self.root), NAIAD_QUIET="1",
            PYTHONPATH=str(TESTS), **more,
        )  # fmt: skip

    def python(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=self.environment(**environment),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._started.append(process)
        return process

    def script(self, code: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Runs `code` with `run` and `diary` at hand."""
        head = (
            "import os, signal, sys, threading, time\n"
            "from pathlib import Path\n"
            "import naiad\n"
            "from support_diary import Diary, plain_run\n"
            f"run = plain_run({PROJECT!r}, {self.run_id!r})\n"
            f"def keeper(name): return Diary(run, Path({str(self.diaries)!r}), {self.seed}, name)\n"
        )
        return self.python("-c", head + code, *arguments, **environment)

    def writer(
        self, name: str, steps: int, threads: int = 1, pause: float = 0.0
    ) -> subprocess.Popen[str]:
        """A process that logs so many steps and ends."""
        return self.python(
            str(TESTS / "support_diary.py"), str(self.diaries), PROJECT, self.run_id,
            str(self.seed), name, str(steps), str(threads), str(pause),
        )  # fmt: skip

    def shippers(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or ()
            if "naiad.shipper" in line and str(self.host) in line:
                found.append(process)
        return found

    def kill_shippers(self) -> int:
        """Returns how many there were."""
        killed = 0
        for process in self.shippers():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                process.wait(10 * LONGER)
                killed += 1
        return killed

    def sync(self, *arguments: str, status: int | None = 0) -> str:
        """`naiad sync`; returns what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "naiad", "sync", str(self.root), *arguments],
            env=self.environment(), capture_output=True, text=True, check=False,
            timeout=100 * LONGER,
        )  # fmt: skip
        assert status is None or done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def truth(self) -> Truth:
        return read_diaries(self.diaries, self.seed)

    def problems(self) -> list[str]:
        return self.truth().problems(read_back(self.platform.url, PROJECT, self.run_id))

    def check(self, least: int = 1) -> None:
        """That everything is sent and exactly what was logged can be read."""
        wait_until(lambda: spools(self.host) == [], 60, "all spools are sent and gone")
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self.problems(), 20, "everything is readable")
        truth = self.truth()
        assert len(truth.must) >= least
        truth.check(read_back(self.platform.url, PROJECT, self.run_id))

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.communicate()
        for shipper in self.shippers():
            with contextlib.suppress(psutil.NoSuchProcess):
                shipper.send_signal(signal.SIGCONT)
                shipper.kill()
