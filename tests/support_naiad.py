"""A real `naiad up` in a process tree of its own, on free ports, for tests from outside."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from support_child import child

START_SECONDS = 90.0
# A machine that runs all tests at once may stand still for seconds; whoever runs one wants to
# be told soon.
LONGER = 3.0 if os.environ.get("CI") else 1.0


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Until `condition()` is true; fails with `what` when it isn't after `seconds`, or in CI
    three times as long."""
    seconds *= LONGER
    deadline = time.monotonic() + seconds
    while True:
        # Looked up first, so that who stood still looks once more before it complains.
        late = time.monotonic() >= deadline
        if condition():
            return
        assert not late, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without settings of Naiad that a developer may have in the shell."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NAIAD_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **extra}


@dataclass
class Naiad:
    """A running `naiad up`."""

    data: Path
    arguments: tuple[str, ...]
    process: subprocess.Popen[str]
    ready_line: str
    errors: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.ready_line.split()[3]

    @property
    def dashboard(self) -> str:
        words = self.ready_line.split()
        return words[words.index("dashboard") + 1] if "dashboard" in words else ""

    @property
    def sql(self) -> str:
        words = self.ready_line.split()
        return words[words.index("sql") + 1] if "sql" in words else ""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def tree(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def kill_tree(self) -> None:
        """SIGKILL to every process of it at once."""
        processes = self.tree()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=10 * LONGER)
        self.process.wait(10 * LONGER)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 30) -> int:
        """Asks it to end; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(seconds * LONGER)
            except subprocess.TimeoutExpired:
                self.kill_tree()
                raise
        return self.process.returncode

    def close(self) -> None:
        """Ends it, whatever state it is in."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.stop()
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()


def start_naiad(data: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Naiad:
    """Starts it and waits for the ready line; fails with what it said if there is none."""
    process = subprocess.Popen(
        child(sys.executable, "-m", "naiad", "up", "--data", str(data), *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(**(environment or {})),
        start_new_session=True,
    )
    errors: list[str] = []
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout
    assert process.stderr

    def read_errors(stream: Iterator[str] = process.stderr) -> None:
        with contextlib.suppress(ValueError):
            errors.extend(stream)

    def read_lines(stream: Iterator[str] = process.stdout) -> None:
        with contextlib.suppress(ValueError):
            for line in stream:
                lines.put(line)
        lines.put("")

    for reader in (read_errors, read_lines):
        threading.Thread(target=reader, daemon=True).start()
    try:
        line = lines.get(timeout=START_SECONDS * LONGER)
    except queue.Empty:
        line = "(nothing in time)"
    if not line.startswith("Naiad is ready: "):
        process.kill()
        process.wait()
        raise AssertionError(f"naiad up printed {line!r} and said:\n{''.join(errors)}")
    return Naiad(data, arguments, process, line.strip(), errors)


@contextlib.contextmanager
def running_naiad(
    data: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[Naiad]:
    """`naiad up` on free ports, without what is not asked for by its port."""
    if "--port" not in arguments:
        arguments = ("--port", "0", *arguments)
    if "--dashboard-port" not in arguments:
        arguments = ("--no-dashboard", *arguments)
    if "--sql-port" not in arguments:
        arguments = ("--no-sql", *arguments)
    naiad = start_naiad(data, *arguments, environment=environment)
    try:
        yield naiad
    finally:
        naiad.close()
