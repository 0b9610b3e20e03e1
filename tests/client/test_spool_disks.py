"""Bad file systems, real ones where they can be had: full, read-only, failing."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support_mounts import fill, on_loop, read_only, tmpfs
from support_naiad import LONGER, wait_until
from support_runs import all_sent, own_settings, plain_run, sending_to
from support_server import Server
from support_shipping import steps_at
from support_spools import ROW, spool_header, steps_in

import naiad
from naiad import _platform, _session
from naiad.shipper import shipper as shipper_module
from naiad.shipper.shipper import Shipper
from naiad.spool.folder import host_folder, read_progress, spools
from naiad.spool.layout import Header
from naiad.spool.reader import ItemRow, MetricRows, SpoolReader
from naiad.spool.segment_reader import SegmentReader
from naiad.spool.writer import SpoolWriter
from naiad_proto.v1 import records_pb2 as pb


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
