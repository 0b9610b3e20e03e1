"""Spools whose files are removed while a run writes to them: logging goes on in another one."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support_mounts import read_only
from support_naiad import LONGER, wait_until
from support_runs import all_sent, own_settings, plain_run, sending_to
from support_server import Server
from support_shipping import steps_at
from support_spools import ROW, spool_header, steps_in

import naiad
from naiad.spool.folder import host_folder
from naiad.spool.writer import SpoolWriter
from naiad_proto.v1 import records_pb2 as pb


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, io: str) -> None:
    """Everything here holds for both ways to write."""
    own_settings(monkeypatch, tmp_path / "root")


@pytest.fixture
def server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with sending_to(server, monkeypatch):
        yield server


Removal = Callable[[naiad.Run, Path], object]


def spool_folder(run: naiad.Run) -> Path:
    assert run._session
    return run._session.spool.folder


def remove_root(run: naiad.Run, root: Path) -> None:
    """All of it at once: else the new spool, too, may be removed."""
    shutil.rmtree(root.rename(root.with_name("removed")))


REMOVALS: dict[str, Removal] = {
    # Meanwhile the run may put something new there, as it would under `rm -rf`.
    "the spool": lambda run, root: shutil.rmtree(spool_folder(run), ignore_errors=True),
    "the root": remove_root,
    "a segment": lambda run, root: [p.unlink() for p in spool_folder(run).glob("*.spool")],
    "the lock": lambda run, root: (spool_folder(run) / "lock").unlink(),
}


@pytest.mark.parametrize("what", REMOVALS)
def test_a_removed_folder_is_noticed_and_logging_goes_on(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    warned: list[BaseException] = []
    root = tmp_path / "root"
    run = plain_run(log_directory=root, on_warning_callback=lambda error, _: warned.append(error))
    session = run._session
    assert session
    for step in range(50):
        run.log_metrics(ROW, step=step)
    wait_until(lambda: all_sent(run), 30, "all sent")
    old, epoch = session.spool.folder, session.header.epoch
    server.stop()
    for step in range(50, 60):
        run.log_metrics(ROW, step=step)
    with contextlib.suppress(FileNotFoundError):
        REMOVALS[what](run, root)
    # While nobody has noticed yet.
    for step in range(60, 70):
        run.log_metrics(ROW, step=step)
    wait_until(lambda: session.spool.folder != old, 30, "a new spool")
    wait_until(lambda: warned, 30, "it is told")
    assert session.header.epoch > epoch
    server.start()
    for step in range(70, 80):
        run.log_metrics(ROW, step=step)
    run.close(60 * LONGER)
    assert str(old) in str(warned[0])
    # It may be noticed while there is still something.
    fates = ("nothing is lost", "what it still holds is sent from there")
    assert any(fate in str(warned[0]) for fate in fates)
    assert len([w for w in warned if "was removed" in str(w)]) == 1
    # What was logged before it was noticed was still in memory.
    assert set(steps_at(server)) == set(range(80))
    assert session.lost == session.removed == 0
    writers = {batch.writer_id for batch in server.batches() if batch.groups}
    assert session.header.writer_id in writers
    ends = {
        item.writer_status.state
        for batch in server.batches()
        for item in batch.items
        if item.WhichOneof("kind") == "writer_status"
    }
    # Nobody takes it for the death of the process.
    assert pb.WRITER_STATE_KILLED not in ends
    # The new writer says by itself what run it belongs to.
    kinds = [
        item.WhichOneof("kind")
        for batch in server.batches()
        if batch.writer_id == session.header.writer_id
        for item in batch.items
    ]
    assert kinds[:2] == ["writer_status", "create_run"]


def test_what_a_removed_folder_takes_with_it_is_said(server: Server, tmp_path: Path) -> None:
    server.stop()
    warned: list[BaseException] = []
    run = plain_run(
        log_directory=tmp_path / "root", on_warning_callback=lambda e, _: warned.append(e)
    )
    session = run._session
    assert session
    for step in range(1000):
        run.log_metrics(ROW, step=step)
    segment = session.spool._segment
    gone = segment.first_record - 1
    assert segment.number > 0
    old = session.spool.folder
    # All of it at once: it may be noticed while the rest is still there.
    old.rename(tmp_path / "removed")
    wait_until(lambda: warned, 30, "it is told")
    assert f"{gone:,} records that were not sent yet are lost" in str(warned[0])
    assert session.removed == gone
    server.start()
    run.close(60 * LONGER)
    kept = set(steps_at(server))
    # Two of them say that there is a run.
    assert kept == set(range(1000 - len(kept), 1000))
    assert gone - 2 <= 1000 - len(kept) <= gone


def test_a_removed_folder_that_can_not_be_made_again_is_a_loss_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    writer = SpoolWriter(host_folder(disk), spool_header())
    writer.metrics(ROW, 0, 0)
    shutil.rmtree(disk / writer.host.name)
    with read_only(disk):
        assert writer.tend() is None
        with pytest.raises(OSError, match="Read-only"):
            writer.metrics(ROW, 1, 0)
        assert writer.homeless
    move = writer.tend()
    assert move
    assert (move.records, move.rescued, move.kept) == (1, 1, False)
    writer.metrics(ROW, 2, 0)
    # Also what it had before it was homeless.
    assert steps_in(writer.folder) == [0, 2]
    writer.close()


def test_a_folder_that_goes_bit_by_bit_takes_nothing_with_it(tmp_path: Path) -> None:
    """Its lock goes first, and that is noticed before anybody has sent the rest."""
    writer = SpoolWriter(host_folder(tmp_path), spool_header())
    for step in range(3):
        writer.metrics(ROW, step, 0)
    old = writer.folder
    (old / "lock").unlink()
    move = writer.tend()
    assert move
    assert (move.left, move.records, move.rescued, move.kept) == (old, 3, 3, True)
    shutil.rmtree(old)
    writer.metrics(ROW, 3, 0)
    assert steps_in(writer.folder) == [0, 1, 2, 3]
    writer.close()


def test_threads_that_log_while_the_folder_goes_lose_nothing(tmp_path: Path) -> None:
    writer = SpoolWriter(host_folder(tmp_path), spool_header())
    stop = threading.Event()
    logged: list[list[int]] = [[], [], []]

    def log(which: int) -> None:
        step = which
        while not stop.is_set() and step < 6000:
            writer.metrics({f"t{which}": 1.0}, step, 0)
            logged[which].append(step)
            step += 3

    threads = [threading.Thread(target=log, args=(which,)) for which in range(3)]
    for thread in threads:
        thread.start()
    for moves in range(5):
        wanted = 100 * (moves + 1)
        wait_until(lambda n=wanted: all(len(x) > n or len(x) == 2000 for x in logged), 20, "logs")
        shutil.rmtree(writer.folder)
        assert writer.tend()
    stop.set()
    for thread in threads:
        thread.join()
    assert sorted(steps_in(writer.folder)) == sorted(itertools.chain(*logged))
    assert writer.dropped == 0
    writer.close()
