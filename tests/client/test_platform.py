"""What other systems lack, made absent here; and which file systems are mapped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support_mounts import on_loop, tmpfs
from support_naiad import LONGER

from naiad import _platform
from naiad.spool.segment import MappedSegment, WrittenSegment, segment_kind

WITHOUT = """
import fcntl, os, random, subprocess, sys, tempfile, threading, types
import psutil, numpy

# Only for Naiad: what others need is imported.
real = fcntl
for name in {modules!r}:
    sys.modules[name] = None
for name in {functions!r}:
    if hasattr(os, name):
        delattr(os, name)
{more}
import pathlib, tempfile
from naiad import _platform
from naiad.spool.folder import RunMemory, host_folder, new_writer_id, spools, writer_lives
from naiad.spool.layout import Header
from naiad.spool.locks import HostLock, is_taken
from naiad.spool.reader import SpoolReader
from naiad.spool.writer import SpoolWriter

host = host_folder(pathlib.Path(sys.argv[1]))
epoch = RunMemory(host, "a/b", "r").next_epoch()
writer = SpoolWriter(host, Header(project="a/b", run_id="r", writer_id=new_writer_id(),
    epoch=epoch, url="", host="h", pid=os.getpid(), mode="async"))
for step in range(50_000):
    writer.metrics({{"a": 1.0, "b": 2.0}}, step, 0)
    if step % 10_000 == 0:
        writer.tend()
with open(max(writer.folder.glob("*.spool")), "r+b") as file:
    _platform.sync_data(file.fileno())
assert writer_lives(writer.folder)
reader = SpoolReader(writer.folder)
assert sum(len(row.steps) for row in reader.rows(1 << 30, writer_lives=True)) == 50_000
writer.close()
assert not writer_lives(writer.folder)
lock, other = HostLock(host / "l"), HostLock(host / "l")
assert lock.take()
{locks}
lock.release()
import naiad
run = naiad.Run(project="a/b", mode="offline", log_directory=sys.argv[1])
run.log_metrics({{"a": 1.0}}, step=1)
run.close()
assert _platform.user_tag()
_platform.default_signal(15)
print("done")
"""

FIXED = {"NAIAD_QUIET": "1", "NAIAD_SHIPPER": "thread", "NAIAD_SPOOL_IO": "write"}

# As msvcrt behaves, on the lock of the system that these tests run on.
MSVCRT = """
msvcrt = types.ModuleType("msvcrt")
msvcrt.LK_NBLCK, msvcrt.LK_LOCK = 2, 1
def locking(descriptor, how, count):
    assert count == 1 and os.lseek(descriptor, 0, 1) == 0
    try:
        real.flock(descriptor, real.LOCK_EX | (real.LOCK_NB if how == 2 else 0))
    except BlockingIOError:
        raise PermissionError(13, "Permission denied")
msvcrt.locking = locking
sys.modules["msvcrt"] = msvcrt
"""


@pytest.mark.parametrize(
    ("modules", "functions", "more", "locks"),
    [
        (["fcntl"], ["fdatasync"], "", "assert other.take()"),
        ([], ["fdatasync", "pread", "pwrite", "register_at_fork"], "", "assert not other.take()"),
        (
            ["fcntl"], ["getuid", "O_CLOEXEC", "O_NOFOLLOW", "fork", "pread", "pwrite"], MSVCRT,
            "assert not other.take(); assert is_taken(host / 'l')",
        ),
    ],
    ids=["no locks at all", "few calls", "as on Windows"],
)  # fmt: skip
def test_the_client_works_without(
    tmp_path: Path, modules: list[str], functions: list[str], more: str, locks: str
) -> None:
    code = WITHOUT.format(modules=modules, functions=functions, more=more, locks=locks)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NAIAD_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=60 * LONGER,
        env=environment | FIXED,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done\n")


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:40 / /data rw,relatime - nfs4 server:/export rw
31 30 8:2 / /data/local rw - xfs /dev/sdb rw
32 22 0:50 / /with\\040space rw shared:7 master:2 - btrfs /dev/sdc rw
33 22 0:51 / /cloud rw - fuse.gcsfuse bucket rw
34 22 0:52 / /twice rw - ext4 /dev/sdd rw
35 34 0:53 / /twice rw - zfs pool rw
36 22 0:54 / /\\303\\251t\\303\\251 rw - tmpfs tmpfs rw
a broken line
"""


@pytest.mark.parametrize(
    ("folder", "kind", "keeps"),
    [
        ("/home/me", "ext4", True), ("/data/x", "nfs4", False), ("/database", "ext4", True),
        ("/data/local/spool", "xfs", True), ("/with space/x", "btrfs", False),
        ("/cloud", "fuse.gcsfuse", False), ("/twice/x", "zfs", False), ("/été/x", "tmpfs", True),
    ],
)  # fmt: skip
def test_file_systems_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, kind: str, keeps: bool
) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(_platform, "_MOUNTS", tmp_path / "mounts")
    assert _platform.file_system(Path(folder)) == kind
    assert _platform.keeps_blocks(Path(folder)) is keeps


def test_what_is_not_known_is_written_and_not_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_platform, "_MOUNTS", tmp_path / "absent")
    monkeypatch.delenv("NAIAD_SPOOL_IO", raising=False)
    assert _platform.file_system(tmp_path) == ""
    assert segment_kind(tmp_path) is WrittenSegment
    monkeypatch.setenv("NAIAD_SPOOL_IO", "mmap")
    assert segment_kind(tmp_path) is MappedSegment


def test_real_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAIAD_SPOOL_IO", raising=False)
    with tmpfs(tmp_path / "a b", "1m") as disk:
        (tmp_path / "link").symlink_to(disk)
        assert _platform.file_system(tmp_path / "link" / "not yet") == "tmpfs"
        assert segment_kind(disk) is MappedSegment
    with on_loop(tmp_path / "c", tmp_path / "image", 128 << 20, "btrfs") as disk:
        assert _platform.file_system(disk) == "btrfs"
        assert segment_kind(disk) is WrittenSegment


LOGS_ON_A_FULL_DISK = """
import os, pathlib, sys
sys.path.insert(0, sys.argv[2])
from support_mounts import fill
from naiad.spool.folder import host_folder, new_writer_id
from naiad.spool.layout import Header
from naiad.spool.reader import SpoolReader
from naiad.spool.writer import SpoolWriter

disk = pathlib.Path(sys.argv[1])
writer = SpoolWriter(host_folder(disk), Header(project="a/b", run_id="r",
    writer_id=new_writer_id(), epoch=1, url="", host="h", pid=os.getpid(), mode="async"))
os.sync()
fill(disk)
os.sync()
kept = []
for step in range(20_000):
    try:
        writer.metrics({"a": 1.0, "b": 2.0}, step, 0)
        kept.append(step)
    except OSError:
        pass
found = [s for r in SpoolReader(writer.folder).rows(1 << 30, writer_lives=True)
    for s in r.steps.tolist()]
assert found == kept, (len(found), len(kept))
assert writer.dropped == 20_000 - len(kept)
print("alive")
"""


@pytest.mark.parametrize("how", ["", "mmap"])
def test_a_full_disk_that_copies_on_write(tmp_path: Path, how: str) -> None:
    """Why some are not mapped: blocks that were written once are no promise there."""
    with on_loop(tmp_path / "disk", tmp_path / "image", 128 << 20, "btrfs") as disk:
        done = subprocess.run(
            [sys.executable, "-c", LOGS_ON_A_FULL_DISK, str(disk), str(Path(__file__).parents[1])],
            capture_output=True, text=True, check=False, timeout=60 * LONGER,
            env={**os.environ, "NAIAD_SPOOL_IO": how},
        )  # fmt: skip
    if how:
        assert done.returncode == -signal.SIGBUS
    else:
        assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
