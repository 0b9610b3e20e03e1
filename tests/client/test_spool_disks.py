"""Bad file systems, real ones where they can be had: full, read-only, failing, removed."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support_mounts import fill, on_loop, read_only, tmpfs
from support_naiad import LONGER, wait_until
from support_runs import own_settings, plain_run, sending_to
from support_server import Server
from support_spools import spool_header

import naiad
from naiad import _platform, _session
from naiad.shipper import shipper as shipper_module
from naiad.shipper.shipper import Shipper
from naiad.spool.folder import host_folder, read_progress, spools
from naiad.spool.layout import Header
from naiad.spool.reader import ItemRow, MetricRows, SpoolReader
from naiad.spool.segment_reader import SegmentReader
from naiad.spool.writer import SpoolWriter
from naiad_proto.series import group_arrays
from naiad_proto.v1 import records_pb2 as pb

ROW = {f"m{i}": float(i) for i in range(500)}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own_settings(monkeypatch, tmp_path / "root")
    monkeypatch.setattr(_session, "CALM_SECONDS", 0.5)


@pytest.fixture(autouse=True)
def both_ways(quiet: None, io: str) -> None:
    """Everything here holds for both ways to write."""


@pytest.fixture
def server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with sending_to(server, monkeypatch):
        yield server


def steps_at(server: Server) -> list[int]:
    """Steps of `m0` in the server's log, in the order in which they came."""
    found = []
    for batch in server.batches():
        for group in batch.groups:
            if "m0" in group.paths:
                found += [int(step) // 1_000_000 for step in group_arrays(group).steps]
    return found


def steps_in(folder: Path) -> list[int]:
    reader = SpoolReader(folder)
    found: list[int] = []
    for row in reader.rows(1 << 30, writer_lives=False):
        assert isinstance(row, MetricRows | ItemRow), row
        if isinstance(row, MetricRows):
            found += row.steps.tolist()
    reader.close()
    return found


def all_sent(run: naiad.Run) -> bool:
    session = run._session
    assert session
    return int(session.progress().get("acknowledged", 0)) >= session.spool.last_record


def log_until(told: list[BaseException], run: naiad.Run, step: int) -> int:
    """Logs from `step` on until a callback tells it; returns the next step."""
    deadline = time.monotonic() + 60 * LONGER
    while not told:
        run.log_metrics(ROW, step=step)
        step += 1
        assert time.monotonic() < deadline, f"nothing is told until step {step}"
    return step


def messages(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if part in r.getMessage()]


def test_a_full_disk_costs_what_is_logged_meanwhile_and_one_warning(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with tmpfs(tmp_path / "disk", "24m") as disk:
        full: list[BaseException] = []
        run = plain_run(
            log_directory=disk / "root", on_queue_full_callback=lambda error, _: full.append(error)
        )
        for step in range(20):
            run.log_metrics(ROW, step=step)
        wait_until(lambda: all_sent(run), 30, "all sent")
        # No sending, so that nothing gets free by itself.
        server.stop()
        filler = fill(disk)
        step = log_until(full, run, 20)
        session = run._session
        assert session
        lost = session.lost
        for _ in range(1000):
            run.log_metrics(ROW, step=step)
            step += 1
        assert session.lost > lost
        assert len(full) == 1
        assert "No space" in str(full[0]) or "full" in str(full[0])
        assert len(messages(caplog, "what is logged now is lost")) == 1
        filler.unlink()
        server.start()

        def works() -> bool:
            before = session.lost
            run.log_metrics(ROW, step=900_000)
            return session.lost == before

        wait_until(works, 30, "logging goes on")
        wait_until(lambda: messages(caplog, "is written again"), 30, "that is told")
        run.close(60 * LONGER)
        (line,) = messages(caplog, "is written again")
        assert line.endswith(f" {session.lost:,} records were lost"), (line, session.lost)
        assert len(full) == 1
        arrived = steps_at(server)
        assert set(range(20)) <= set(arrived)
        assert 900_000 in arrived
        # Some of the middle is lost, and every record is either here or counted.
        assert step - len([s for s in arrived if s < 900_000]) <= session.lost
        assert len(arrived) == len(set(arrived)) or arrived.count(900_000) > 1


def test_a_mapped_file_never_meets_a_full_disk(tmp_path: Path) -> None:
    """Its blocks are there before a record comes: else this process would die of SIGBUS."""
    with tmpfs(tmp_path / "disk", "8m") as disk:
        writer = SpoolWriter(host_folder(disk), spool_header())
        fill(disk)
        kept = []
        for step in range(5000):
            with contextlib.suppress(OSError):
                writer.metrics({"a": 1.0}, step, 0)
                kept.append(step)
            with contextlib.suppress(OSError):
                writer.metrics(ROW, 10**6 + step, 0)
                kept.append(10**6 + step)
        assert writer.dropped == 10_000 - len(kept) > 0
        assert steps_in(writer.folder) == kept
        writer.close()


def test_a_disk_that_is_full_from_the_start_is_used_when_it_is_not(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "4m") as disk:
        host = host_folder(disk)
        filler = fill(disk)
        writer = SpoolWriter(host, spool_header(), patient=True)
        create = pb.Item(timestamp=1, create_run=pb.CreateRun(created_at=1))
        writer.opening(create)
        with pytest.raises(OSError, match=r"full|space"):
            writer.metrics(ROW, 0, 0)
        assert (writer.homeless, writer.dropped) == (True, 1)
        filler.unlink()
        assert writer.tend() is None
        writer.metrics(ROW, 1, 0)
        reader = SpoolReader(writer.folder)
        first, second = reader.rows(1 << 30, writer_lives=True)
        reader.close()
        assert isinstance(first, ItemRow)
        assert first.item == create.SerializeToString()
        assert isinstance(second, MetricRows)
        assert second.steps.tolist() == [1]
        writer.close()


def test_a_disk_that_turns_read_only_and_back(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with contextlib.ExitStack() as mounts:
        full: list[BaseException] = []
        run = plain_run(
            log_directory=disk / "root", on_queue_full_callback=lambda error, _: full.append(error)
        )
        session = run._session
        assert session
        for step in range(10):
            run.log_metrics(ROW, step=step)
        wait_until(lambda: all_sent(run), 30, "all sent")
        mounts.enter_context(read_only(disk))
        step = log_until(full, run, 10)
        assert "Read-only" in str(full[0])
        mounts.close()

        def works() -> bool:
            before = session.lost
            run.log_metrics(ROW, step=900_000)
            return session.lost == before

        wait_until(works, 30, "logging goes on")
        run.close(60 * LONGER)
        assert len(messages(caplog, "what is logged now is lost")) == len(full) == 1
        arrived = steps_at(server)
        assert len(set(arrived) - {900_000}) >= step - session.lost
        assert 900_000 in arrived


def test_a_folder_that_can_not_be_written_at_first(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    host = host_folder(tmp_path / "disk")
    with read_only(tmp_path / "disk"):
        with pytest.raises(OSError, match="Read-only"):
            SpoolWriter(host, spool_header())
        writer = SpoolWriter(host, spool_header(), patient=True)
        with pytest.raises(OSError, match="Read-only"):
            writer.metrics(ROW, 0, 0)
    writer.tend()
    writer.metrics(ROW, 1, 0)
    assert steps_in(writer.folder) == [1]
    writer.close()


def test_a_disk_that_fails_behind_its_file_system(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An ext4 whose blocks can't be stored: writing works, syncing fails. Nobody falls over
    it, the shipper says it once, and records are read as long as the kernel has them."""
    with (
        tmpfs(tmp_path / "below", "12m") as below,
        on_loop(tmp_path / "disk", below / "image", 64 << 20, "ext4") as disk,
    ):
        host = host_folder(disk)
        writer = SpoolWriter(
            host, Header(**spool_header().as_dict() | {"url": "grpc://127.0.0.1:1"})
        )
        fill(below)
        shipper = Shipper(host, sample_hardware=False)
        kept = []
        for step in range(1000):
            writer.metrics(ROW, step, 0)
            kept.append(step)
            if step % 100 == 0:
                shipper._next_scan = shipper._next_sync = 0.0
                shipper.tick()
        shipper.close()
        told = messages(caplog, "can't be synced to disk")
        assert told
        assert len(told) == len(set(told)) <= 4
        assert steps_in(writer.folder) == kept
        writer.close()


def log_many(writer: SpoolWriter, count: int) -> None:
    for step in range(count):
        writer.metrics(ROW, 10**6 + step, 0)


def test_quota_and_bad_blocks_are_as_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither can be had here, so the call fails."""
    writer = SpoolWriter(host_folder(tmp_path), spool_header())
    writer.metrics(ROW, 0, 0)
    real, real_truncate = _platform.write_at, os.ftruncate
    for number in (errno.EDQUOT, errno.EIO, errno.ESTALE):

        def fails(*_: object, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(_platform, "write_at", fails)
        monkeypatch.setattr(os, "ftruncate", fails)
        writer._health.try_again_at = 0
        dropped = writer.dropped
        with pytest.raises(OSError, match=os.strerror(number)):
            log_many(writer, 3000)
        assert writer.dropped == dropped + 1
        monkeypatch.setattr(_platform, "write_at", real)
        monkeypatch.setattr(os, "ftruncate", real_truncate)
        writer._health.try_again_at = 0
        writer.metrics(ROW, number, 0)
    assert [step for step in steps_in(writer.folder) if step < 10**6] == [
        0, errno.EDQUOT, errno.EIO, errno.ESTALE,
    ]  # fmt: skip
    writer.close()


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


def test_a_shipper_outlives_a_disk_that_refuses_everything(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It says so once, and goes on when the disk does."""
    host = host_folder(tmp_path / "disk")
    fields = spool_header().as_dict() | {"url": server.url}
    writer = SpoolWriter(host, Header(**fields))
    writer.item(pb.Item(timestamp=1, create_run=pb.CreateRun(created_at=1)))
    monkeypatch.setattr(shipper_module, "IDLE_SECONDS", 600.0)
    shipper = Shipper(host)
    stop = threading.Event()
    thread = threading.Thread(target=shipper.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: read_progress(writer.folder).get("acknowledged"), 30, "one is sent")
        with read_only(tmp_path / "disk"):
            for step in range(100):
                writer.metrics(ROW, step, 0)
            wait_until(lambda: len(steps_at(server)) == 100, 30, "they are sent all the same")
            wait_until(lambda: messages(caplog, "can't be written"), 10, "that is told")
        wait_until(
            lambda: read_progress(writer.folder)["acknowledged"] == writer.last_record,
            30, "it says how far it is",
        )  # fmt: skip
        writer.close()
        wait_until(lambda: not spools(host), 30, "the spool is gone")
        assert thread.is_alive()
        assert len(messages(caplog, "can't be written")) == 1
    finally:
        stop.set()
        thread.join(20 * LONGER)


def test_a_read_that_fails_loses_nothing_and_ends_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many open files, say, in the middle of a batch."""
    host = host_folder(tmp_path)
    writer = SpoolWriter(host, Header(**spool_header().as_dict() | {"url": server.url}))
    for step in range(1000):
        writer.metrics(ROW, step, 0)
    assert len(list(writer.folder.glob("*.spool"))) > 2
    writer.close()
    real, failed = SegmentReader.__init__, 0

    def fails(self: SegmentReader, path: Path) -> None:
        nonlocal failed
        if int(path.stem) > 0 and failed < 20:
            failed += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        real(self, path)

    monkeypatch.setattr(SegmentReader, "__init__", fails)
    assert Shipper(host, sample_hardware=False, watch=False).run()
    assert failed == 20
    assert sum(len(g.steps) // 8 for b in server.batches() for g in b.groups) == 1000
    states = [i.writer_status.state for b in server.batches() for i in b.items]
    assert states == [pb.WRITER_STATE_KILLED] or states == [pb.WRITER_STATE_FINISHED]
    assert not spools(host)


def test_what_can_not_be_removed_is_sent_once(server: Server, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    host = host_folder(tmp_path / "disk")
    writer = SpoolWriter(host, Header(**spool_header().as_dict() | {"url": server.url}))
    writer.metrics(ROW, 0, 0)
    writer.close()
    shipper = Shipper(host, sample_hardware=False)
    with read_only(tmp_path / "disk"):
        wait_until(lambda: (shipper.tick(), steps_at(server))[1], 30, "sent")
        for _ in range(20):
            shipper._next_scan = 0
            shipper.tick()
            assert len(steps_at(server)) == 1
    wait_until(lambda: (shipper.tick(), not spools(host))[1], 30, "gone")
    shipper.close()
    assert len(steps_at(server)) == 1
