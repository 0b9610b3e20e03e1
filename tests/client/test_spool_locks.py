"""Who is at work, where there are locks and where there are none."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support_mounts import tmpfs
from support_naiad import LONGER, wait_until
from support_server import Server, serving
from support_shipping import spool_for

from naiad import _platform
from naiad.cli import main
from naiad.shipper import shipper as shipper_module
from naiad.shipper.shipper import Shipper
from naiad.spool import locks
from naiad.spool.folder import host_folder, read_progress, spools
from naiad.spool.layout import HEARTBEAT, LOCK
from naiad.spool.locks import HostLock, Life, WriterLock, is_taken, writer_life, writer_lives


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "server") as server:
        yield server


@pytest.fixture(params=[errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks; a heart is not taken for silent where only this test is."""
    monkeypatch.setattr(locks, "SILENT_SECONDS", 500.0)

    def refuse(*_: object, **__: object) -> bool:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(_platform, "lock_record", refuse)
    monkeypatch.setattr(_platform, "lock_file", refuse)


def seen_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shipper's process sees spools of this one."""
    monkeypatch.setattr(locks, "_own", set())


def grow_old(folder: Path) -> None:
    (folder / HEARTBEAT).write_text(f"{time.time() - 1000:017.3f}")


def statuses(server: Server) -> list[int]:
    return [
        item.writer_status.state
        for batch in server.batches()
        for item in batch.items
        if item.WhichOneof("kind") == "writer_status"
    ]


def test_a_lock_and_no_heartbeat_where_there_are_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = spool_for(host_folder(tmp_path), "")
    assert (writer.folder / LOCK).exists()
    assert not (writer.folder / HEARTBEAT).exists()
    writer.close()
    assert writer_life(writer.folder) is Life.ENDED


@pytest.mark.usefixtures("no_locks")
def test_a_heartbeat_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = spool_for(host_folder(tmp_path), "")
    seen_from_outside(monkeypatch)
    assert not (writer.folder / LOCK).exists()
    assert writer_life(writer.folder) is Life.LIVES
    grow_old(writer.folder)
    assert writer_life(writer.folder) is Life.SILENT
    assert writer_lives(writer.folder)
    # The thread that looks after the spool renews it.
    assert writer.lock
    writer.lock._next_beat = 0
    writer.tend()
    assert writer_life(writer.folder) is Life.LIVES
    # An end is an end also without locks.
    writer.close()
    assert writer_life(writer.folder) is Life.ENDED


def test_who_can_not_lock_what_another_locked_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = spool_for(host_folder(tmp_path), "")
    seen_from_outside(monkeypatch)

    def refuse(_: int) -> bool:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(_platform, "lock_record", refuse)
    assert writer_life(writer.folder) is Life.SILENT
    writer.close()


def test_a_second_writer_is_told(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from naiad.spool.locks import WriterLock\n"
        "lock = WriterLock(Path(sys.argv[1])); print('has it', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "has it\n"
        with pytest.raises(BlockingIOError, match="another process"):
            WriterLock(tmp_path)
        assert writer_lives(tmp_path)
        other.kill()
    assert not writer_lives(tmp_path)


@pytest.mark.usefixtures("no_locks")
def test_a_silent_spool_is_sent_and_kept_and_does_not_hold_the_shipper(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper_module, "IDLE_SECONDS", 0.5)
    host = host_folder(tmp_path / "root")
    writer = spool_for(host, server.url)
    for step in range(100):
        writer.metrics({"a": 1.0}, step, 0)
    seen_from_outside(monkeypatch)
    thread = threading.Thread(target=Shipper(host, sample_hardware=False).run)
    thread.start()
    wait_until(
        lambda: read_progress(writer.folder).get("acknowledged") == writer.last_record, 30, "sent"
    )
    # A writer whose heart beats holds it.
    assert thread.is_alive()
    grow_old(writer.folder)
    thread.join(20 * LONGER)
    assert not thread.is_alive()
    # Nobody said that it is dead.
    assert spools(host) == [writer.folder]
    assert statuses(server) == []
    # It was only asleep, and what it logs then is sent by the next shipper.
    writer.metrics({"a": 2.0}, 100, 0)
    thread = threading.Thread(target=Shipper(host, sample_hardware=False).run)
    thread.start()
    wait_until(
        lambda: read_progress(writer.folder).get("acknowledged") == writer.last_record, 30, "sent"
    )
    thread.join(20 * LONGER)
    assert not thread.is_alive()
    # Who asks for it has it sent and cleared away; still nobody says "killed".
    done = CliRunner().invoke(main, ["sync", str(tmp_path / "root")])
    assert done.exit_code == 0, done.output
    assert spools(host) == []
    assert statuses(server) == []
    writer.close()


@pytest.mark.usefixtures("no_locks")
def test_one_shipper_at_a_time_also_without_locks_on_that_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    real = _platform.lock_file
    here = os.stat(tmp_path).st_dev

    def only_elsewhere(descriptor: int, *, wait: bool = False) -> bool:
        if os.fstat(descriptor).st_dev == here:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        return real(descriptor, wait=wait)

    with tmpfs(tmp_path / "tmp", "1m") as other:
        monkeypatch.setattr("tempfile.tempdir", str(other))
        monkeypatch.setattr(_platform, "lock_file", only_elsewhere)
        first, second = HostLock(tmp_path / "l"), HostLock(tmp_path / "l")
        assert first.take()
        assert not second.take()
        assert is_taken(tmp_path / "l")
        assert not is_taken(tmp_path / "another")
        first.release()
        assert second.take()
        second.release()


@pytest.mark.usefixtures("no_locks")
def test_no_locks_anywhere_and_all_is_sent_all_the_same(server: Server, tmp_path: Path) -> None:
    host = host_folder(tmp_path / "root")
    writer = spool_for(host, server.url)
    stop = threading.Event()
    threads = [
        threading.Thread(target=Shipper(host, sample_hardware=False).run, args=(stop,))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for step in range(1000):
        writer.metrics({"a": 1.0}, step, 0)
    writer.close()
    wait_until(lambda: spools(host) == [], 30, "all is sent")
    stop.set()
    for thread in threads:
        thread.join(20 * LONGER)
    assert sum(len(g.steps) // 8 for b in server.batches() for g in b.groups) >= 1000


def test_a_shipper_ends_when_its_folder_is_removed(tmp_path: Path) -> None:
    import shutil

    host = host_folder(tmp_path / "root")
    writer = spool_for(host, "grpc://127.0.0.1:1")
    ended: list[Any] = []
    shipper = Shipper(host, sample_hardware=False)
    thread = threading.Thread(target=lambda: ended.append(shipper.run()))
    thread.start()
    wait_until(lambda: shipper.ships, 20, "it has begun")
    shutil.rmtree(tmp_path / "root", ignore_errors=True)
    thread.join(20 * LONGER)
    assert ended == [True]
    writer.close()
