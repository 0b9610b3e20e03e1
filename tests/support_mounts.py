"""Real small file systems for tests that run as root; others are skipped, with the reason."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support_naiad import LONGER

# include/uapi/linux/fs.h (as in xfstests): everything that is not on the disk is gone, the
# running transaction of the journal too.
_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSHING = 2


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60 * LONGER)
    if done.returncode:
        pytest.skip(f"{' '.join(command[:3])}: {done.stderr.strip()[:200]}")


def _need_root() -> None:
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root may mount a file system")


@contextmanager
def _mounted(folder: Path, *arguments: str) -> Iterator[Path]:
    _need_root()
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", *arguments, str(folder))
    try:
        yield folder
    finally:
        # Lazily: a shipper of the test may still have a file open.
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=60 * LONGER)


@contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    """A disk of a size like "8m"."""
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs") as mounted:
        yield mounted


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """From now on nothing there can be opened for writing; what is open stays so, as on a
    disk that the kernel turned read-only after an error."""
    with _mounted(folder, "--bind", str(folder)):
        _run("mount", "-o", "remount,bind,ro", str(folder))
        yield


@contextmanager
def on_loop(folder: Path, image: Path, size: int, kind: str) -> Iterator[Path]:
    """A file system of `kind` in a sparse file."""
    _need_root()
    if not shutil.which(f"mkfs.{kind}"):
        pytest.skip(f"mkfs.{kind} is not installed")
    with image.open("wb") as file:
        file.truncate(size)
    _run(f"mkfs.{kind}", "-q", str(image))
    with _mounted(folder, "-o", "loop", str(image)) as mounted:
        yield mounted


def lose_power(folder: Path) -> None:
    """Nothing more gets to the disk that is mounted at `folder`, and nothing comes from it. Who
    has files open there has to be killed before it can `boot`."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(opened, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSHING))
    finally:
        os.close(opened)


def boot(folder: Path, image: Path) -> None:
    """What was on the disk is there again, and nothing else."""
    for command in (("umount", folder), ("mount", "-o", "loop", image, folder)):
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60 * LONGER
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"


def fill(folder: Path) -> Path:
    """Takes all of the disk; returns the file that has it."""
    file = folder / "filler"
    with file.open("wb", buffering=0) as out:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    out.write(bytes(size))
            except OSError:
                continue
    return file
