"""What a logging process says of itself, apart from everything that the client does.

Each thread of it writes to a file of its own, one write(2) per line and no buffer: before a
call what it is about to log, and after the call that it has returned. What was logged can be
told from these files alone, also of a process that was killed between any two instructions.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import naiad


def number(seed: int, path: str, step: int) -> float:
    """What `path` has at `step`. Nothing that could come out right by chance or by order."""
    digest = hashlib.blake2b(f"{seed}/{path}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**61 - 4.0


def text(seed: int, path: str, step: int) -> str:
    return f"{path} at {step}: {number(seed, path, step)!r} é\n" * (1 + step % 3)


def long_text(seed: int, path: str, step: int) -> str:
    """Fills a segment in a few calls."""
    return text(seed, path, step) * 2000


def histogram(seed: int, path: str, step: int) -> tuple[list[float], list[float]]:
    """(edges, counts)"""
    counts = [abs(number(seed, f"{path}/{bin}", step)) for bin in range(3)]
    return [0.0, 1.0, 2.0, 4.0], counts


def content(seed: int, path: str, step: int) -> bytes:
    return text(seed, path, step).encode() * 5


class Diary:
    """Logs to `run` as `writer` and keeps a record of it in `folder`."""

    def __init__(self, run: naiad.Run, folder: Path, seed: int, writer: str) -> None:
        self.run = run
        self._seed = seed
        self._writer = writer
        self._calls = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(folder / f"{writer}.diary", flags, 0o600)

    def call(self, kind: str, paths: list[str], step: int) -> None:
        """One call of the run, with what belongs to `paths` at `step`."""
        full = [f"{self._writer}/{path}" for path in paths]
        seed, run = self._seed, self.run
        self._calls += 1
        self._write({"about": self._calls, "kind": kind, "paths": full, "step": step})
        if kind == "metrics":
            run.log_metrics({path: number(seed, path, step) for path in full}, step=step)
        elif kind == "strings":
            run.log_string_series({path: text(seed, path, step) for path in full}, step=step)
        elif kind == "long":
            run.log_string_series({path: long_text(seed, path, step) for path in full}, step=step)
        elif kind == "histograms":
            made = {}
            for path in full:
                edges, counts = histogram(seed, path, step)
                made[path] = naiad.Histogram(bin_edges=edges, counts=counts)
            run.log_histograms(made, step=step)
        elif kind == "configs":
            run.log_configs({path: number(seed, path, 0) for path in full})
        elif kind == "tags":
            run.add_tags(full)
        elif kind == "files":
            run.log_files({path: content(seed, path, step) for path in full}, step=step)
        else:
            raise ValueError(kind)
        self._write({"returned": self._calls})

    def step(self, step: int) -> None:
        """What a training logs at one step: something of everything, now and then."""
        self.call("metrics", ["loss", "accuracy"], step)
        if step % 3 == 0:
            self.call("metrics", ["loss/eval", "a", "b/c", "grad", "é"], step)
        if step % 10 == 0:
            self.call("strings", ["notes"], step)
        if step % 20 == 5:
            self.call("configs", [f"config/{step}", f"more/{step}"], 0)
            self.call("tags", [f"tag-{step}"], 0)
        if step % 40 == 7:
            self.call("histograms", ["weights"], step)
        if step % 60 == 9:
            self.call("files", ["sample"], step)

    def _write(self, line: dict[str, Any]) -> None:
        data = json.dumps(line).encode() + b"\n"
        # A short write would be a fault of the test's own.
        assert os.write(self._file, data) == len(data)


def plain_run(project: str, run_id: str) -> naiad.Run:
    """A run that records nothing by itself."""
    return naiad.Run(
        project=project, run_id=run_id, hardware_interval=None, source_tracking_config=None,
        enable_console_log_capture=False,
    )  # fmt: skip


def main() -> None:
    """python support_diary.py FOLDER PROJECT RUN SEED WRITER STEPS THREADS PAUSE

    PAUSE: seconds between steps, so that a long test of many kills does not become one of
    the server's throughput."""
    import threading
    import time

    folder, project, run_id = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    seed, writer, steps = int(sys.argv[4]), sys.argv[5], int(sys.argv[6])
    threads, pause = int(sys.argv[7]), float(sys.argv[8])
    with plain_run(project, run_id) as run:

        def log(name: str) -> None:
            diary = Diary(run, folder, seed, name)
            for step in range(steps):
                diary.step(step)
                time.sleep(pause)

        started = [threading.Thread(target=log, args=(f"{writer}t{n}",)) for n in range(threads)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()


if __name__ == "__main__":
    main()
