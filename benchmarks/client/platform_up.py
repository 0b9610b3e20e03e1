"""A server to log to, as users start it, in a process tree of its own."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from support_naiad import Naiad, free_port, running_naiad

__all__ = ["Up", "free_port", "running_naiad", "server"]


@dataclass(frozen=True)
class Up:
    url: str
    folder: Path
    naiad: Naiad

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def cpu_seconds(self) -> float:
        """Used by the server's processes so far."""
        total = 0.0
        for process in self.naiad.tree():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def part_folders(self) -> int:
        """Folders of parts of the points' table, those that merges have replaced and that are
        not removed yet among them."""
        return sum(1 for _ in self.folder.glob("data/store/data/naiad/points/all*"))


@contextlib.contextmanager
def server() -> Iterator[Up]:
    # Not in /tmp, which may be memory: a log that is synced to memory is too fast to be true.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name:
        folder = Path(name)
        with running_naiad(folder / "data") as naiad:
            yield Up(naiad.url, folder, naiad)
