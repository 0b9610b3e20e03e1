"""`naiad up` under siege, and what can befall it.

Where root may mount file systems its data lies on a small disk of its own (ext4 on a loop
device), which can be filled, and have its power cut.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support_mounts import boot, fill, lose_power, on_loop
from support_naiad import LONGER, Naiad, clean_environment, start_naiad, wait_until
from support_ports import free_port
from support_siege import Fault, Siege

DISK_BYTES = 1 << 30


class Embedded:
    """Can be killed and started again, on the same port with the same data."""

    def __init__(self, data: Path, disk: Path | None, lack: str) -> None:
        self.data = data
        # Where a file system of its own is mounted, and why none is.
        self.disk = disk
        self.lack = lack
        self.port = free_port()
        self.naiad: Naiad | None = None
        # Once: docs/faults.md says why that matters to a later power cut.
        self.disk_was_full = False

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    @property
    def _arguments(self) -> tuple[str, ...]:
        return "--port", str(self.port), "--no-dashboard"

    def start(self) -> None:
        self.naiad = start_naiad(self.data, *self._arguments)

    def kill(self) -> None:
        assert self.naiad
        self.naiad.kill_tree()
        self.naiad.close()
        self.naiad = None

    def start_and_kill(self, seconds: float) -> None:
        """Killed so long after its start, ready or not."""
        command = [sys.executable, "-m", "naiad", "up", "--data", str(self.data), *self._arguments]
        process = subprocess.Popen(
            command, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        time.sleep(seconds)
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for one in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(tree, timeout=10 * LONGER)
        process.wait(10 * LONGER)

    def processes(self) -> list[psutil.Process]:
        assert self.naiad
        return self.naiad.tree()

    def valkey(self) -> psutil.Process | None:
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                # A dead one that nobody has waited for has no command.
                if any("valkey" in Path(word).name for word in process.cmdline()[:1]):
                    return process
        return None

    def told(self) -> str:
        return "".join(self.naiad.errors[-60:]) if self.naiad else ""

    def close(self) -> None:
        if self.naiad:
            for process in self.processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()
            self.naiad.close()


@contextlib.contextmanager
def embedded(folder: Path, *, own_disk: bool) -> Iterator[Embedded]:
    """`own_disk`: where this machine allows to mount one; `lack` says why it has none."""
    with contextlib.ExitStack() as ending:
        disk, lack = None, ""
        if own_disk:
            image = folder / "image"
            try:
                disk = ending.enter_context(on_loop(folder / "disk", image, DISK_BYTES, "ext4"))
            except pytest.skip.Exception as skipped:
                lack = str(skipped)
        # Not the root of the disk, which has a folder of its own in it.
        platform = Embedded((disk or folder) / "data", disk, lack)
        ending.callback(platform.close)
        platform.start()
        yield platform


def _of(siege: Siege) -> Embedded:
    assert isinstance(siege.platform, Embedded)
    return siege.platform


def _start_again(siege: Siege) -> float:
    siege.load.log(siege.random.randint(20, 200))
    began = time.monotonic()
    _of(siege).start()
    return began


def killed(siege: Siege) -> float:
    _of(siege).kill()
    return _start_again(siege)


def killed_in_an_insert(siege: Siege) -> float:
    """While a part of a table is being written. That takes a few milliseconds, so it is lain
    in wait for."""
    platform = _of(siege)
    store = platform.data / "store" / "store"
    patience = 10 * LONGER
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if any(store.glob("*/*/tmp_insert_*")):
            break
    else:
        raise AssertionError(f"no insert was seen within {patience:g} s")
    platform.kill()
    return _start_again(siege)


def killed_while_it_starts(siege: Siege) -> float:
    platform = _of(siege)
    platform.kill()
    for _ in range(2):
        platform.start_and_kill(siege.random.uniform(0.2, 3.0))
    return _start_again(siege)


def valkey_killed(siege: Siege) -> float:
    platform = _of(siege)
    valkey = platform.valkey()
    assert valkey
    valkey.kill()
    began = time.monotonic()
    wait_until(
        lambda: (now := platform.valkey()) is not None and now.pid != valkey.pid, 60,
        "another Valkey",
    )  # fmt: skip
    return began


def stopped(siege: Siege) -> float:
    """SIGSTOP: it neither works nor ends connections."""
    processes = _of(siege).processes()
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    siege.moment(4.0)
    for process in processes:
        process.send_signal(signal.SIGCONT)
    return time.monotonic()


def disk_full(siege: Siege) -> float:
    disk = _of(siege).disk
    assert disk
    filler = fill(disk)
    _of(siege).disk_was_full = True
    siege.load.log(300)
    siege.moment(3.0)
    # What became free meanwhile too.
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as more:
        while True:
            more.write(bytes(4096))
    siege.moment(2.0)
    filler.unlink()
    return time.monotonic()


def power_cut(siege: Siege) -> float:
    """What was not synced is gone, as if the machine had lost its power; then it boots."""
    platform = _of(siege)
    disk = platform.disk
    assert disk
    lose_power(disk)
    platform.kill()
    boot(disk, disk.parent / "image")
    began = _start_again(siege)
    # Of one there are still the parts it was made of, or none. Luck is not to be counted on.
    broken = sorted((platform.data / "store").glob("store/*/*/detached/broken*"))
    assert platform.disk_was_full or not broken, f"parts were taken for synced: {broken}"
    return began


PROCESSES: dict[str, Fault] = {
    "killed": killed,
    "killed in an insert": killed_in_an_insert,
    "killed while it starts": killed_while_it_starts,
    "Valkey killed": valkey_killed,
    "stopped for a while": stopped,
}
DISKS: dict[str, Fault] = {"disk full": disk_full, "power cut": power_cut}
