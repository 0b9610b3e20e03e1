"""The spool's limit: what happens there, and that it costs nothing before."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support_naiad import LONGER, wait_until
from support_spools import spool_header

import naiad
from naiad import _platform
from naiad.exceptions import NaiadValueError
from naiad.settings import size_in_bytes, spool_bounds
from naiad.spool.bounds import ALWAYS_BYTES, Bounds, spooled_bytes
from naiad.spool.folder import host_folder
from naiad.spool.health import Health, SpoolFull
from naiad.spool.layout import FIRST_SEGMENT_BYTES
from naiad.spool.reader import MetricRows, SpoolReader, TornRow
from naiad.spool.writer import SpoolClosed, SpoolWriter

pytestmark = pytest.mark.usefixtures("io")

ROW = {f"m{i}": float(i) for i in range(1000)}
# What a row of these takes, about.
ROW_BYTES = 8040


def steps_in(folder: Path) -> list[int]:
    # What was freed was shipped.
    oldest = min(folder.glob("*.spool")).read_bytes()
    reader = SpoolReader(folder, after=int.from_bytes(oldest[16:24], "little") - 1)
    found: list[int] = []
    for row in reader.rows(1 << 30, writer_lives=False):
        assert isinstance(row, MetricRows), row
        found += row.steps.tolist()
    reader.close()
    return found


def log_until_full(writer: SpoolWriter, begin: int = 0) -> int:
    """The step that found no room."""
    for step in range(begin, begin + 100_000):
        try:
            writer.metrics(ROW, step, 0)
        except SpoolFull:
            return step
        if step % 50 == 0:
            writer.tend()
    pytest.fail("it never was full")


def free_finished(folder: Path) -> None:
    """As a shipper does with what is acknowledged."""
    for path in sorted(folder.glob("*.spool"))[:-1]:
        path.unlink()


def test_at_the_limit_the_newest_is_dropped_and_counted(tmp_path: Path) -> None:
    host = host_folder(tmp_path)
    writer = SpoolWriter(host, spool_header(), bounds=Bounds(4_000_000))
    full = log_until_full(writer)
    # All of it is used, but for the rest of a segment's room.
    assert 3_500_000 / ROW_BYTES < full < 4_000_000 / 8000
    for step in range(full + 1, full + 20):
        with pytest.raises(SpoolFull, match=r"4\.0 MB"):
            writer.metrics(ROW, step, 0)
    assert writer.dropped == 20
    assert writer.trouble
    assert spooled_bytes(host) <= 4_000_000
    assert steps_in(writer.folder) == list(range(full))
    free_finished(writer.folder)
    writer.tend()
    writer.metrics(ROW, 777_777, 0)
    assert not writer.trouble
    assert steps_in(writer.folder)[-1] == 777_777
    writer.close()


def test_writers_of_one_root_share_the_limit(tmp_path: Path) -> None:
    host = host_folder(tmp_path)
    writers = [SpoolWriter(host, spool_header(), bounds=Bounds(8_000_000)) for _ in range(2)]
    first = log_until_full(writers[0])
    second = log_until_full(writers[1])
    assert first > 2 * second
    assert spooled_bytes(host) <= 8_000_000
    # A third one finds no room for a folder of its own, and makes one when there is.
    third = SpoolWriter(host, spool_header(), bounds=Bounds(8_000_000), patient=True)
    with pytest.raises(OSError, match="limit"):
        third.metrics(ROW, 0, 0)
    assert third.homeless
    free_finished(writers[0].folder)
    third.tend()
    third.metrics(ROW, 1, 0)
    assert steps_in(third.folder) == [1]
    for writer in (*writers, third):
        writer.close()


def test_a_tenth_of_the_disk_is_left_free_but_a_little_is_always_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = host_folder(tmp_path)
    total, free = 10**12, 10**12 // 2

    def usage(_: object) -> Any:
        return __import__("collections").namedtuple("U", "total used free")(total, 0, free)

    monkeypatch.setattr("shutil.disk_usage", usage)
    assert Bounds().room(host) == pytest.approx(total * 0.4, rel=0.01)
    free = total // 20
    # Others have filled the disk: the spool may have its 64 MiB all the same, and no more.
    assert Bounds().room(host) == ALWAYS_BYTES
    writer = SpoolWriter(host, spool_header())
    assert Bounds().room(host) == ALWAYS_BYTES - spooled_bytes(host)
    writer.close()
    free = 0
    assert Bounds().room(host) < 0
    assert Bounds(10**9).room(host) < 0
    assert "disk" in str(Bounds(10**9).full(host))


def test_a_caller_may_wait_for_room_and_gets_it(tmp_path: Path) -> None:
    host = host_folder(tmp_path)
    writer = SpoolWriter(host, spool_header(), bounds=Bounds(4_000_000, block_seconds=60 * LONGER))
    done: list[int] = []

    def log() -> None:
        for step in range(800):
            writer.metrics(ROW, step, 0)
            done.append(step)

    thread = threading.Thread(target=log)
    thread.start()
    wait_until(lambda: writer.trouble, 30, "it waits for room")
    reached = len(done)
    assert reached < 500
    kept: set[int] = set()

    def shipped() -> bool:
        # Looks after the spool as the session's thread does, and frees as a shipper.
        writer.tend()
        finished = sorted(writer.folder.glob("*.spool"))[:-1]
        kept.update(steps_in(writer.folder))
        for path in finished:
            path.unlink()
        return not thread.is_alive()

    wait_until(shipped, 30, "all logged")
    kept.update(steps_in(writer.folder))
    assert kept == set(range(800))
    assert writer.dropped == 0
    writer.close()


def test_it_waits_so_long_and_then_drops_without_waiting_again(tmp_path: Path) -> None:
    writer = SpoolWriter(host_folder(tmp_path), spool_header(), bounds=Bounds(2_000_000, 0.5))
    begin = time.monotonic()
    log_until_full(writer)
    assert time.monotonic() - begin >= 0.5
    begin = time.monotonic()
    for step in range(1000):
        with pytest.raises(SpoolFull):
            writer.metrics(ROW, step, 0)
    # A loop that waited at each call would hang for good while a server is away.
    assert time.monotonic() - begin < 60 * LONGER
    writer.close()


def test_threads_wait_beside_each_other(tmp_path: Path) -> None:
    """None of them returns before its record stands in the file."""
    writer = SpoolWriter(host_folder(tmp_path), spool_header(), bounds=Bounds(2_000_000, 600))
    for step in range(200):
        writer.metrics(ROW, step, 0)
    threads = [
        threading.Thread(
            target=lambda n=n: [writer.metrics(ROW, n * 1000 + i, 0) for i in range(99)]
        )
        for n in range(1, 4)
    ]
    for thread in threads:
        thread.start()
    wait_until(lambda: writer.trouble, 30, "they wait for room")
    assert len(steps_in(writer.folder)) == writer.last_record
    assert not writer._nested
    kept: set[int] = set()

    def shipped() -> bool:
        finished = sorted(writer.folder.glob("*.spool"))[:-1]
        kept.update(steps_in(writer.folder))
        for path in finished:
            path.unlink()
        writer.tend()
        return not any(thread.is_alive() for thread in threads)

    wait_until(shipped, 30, "all logged")
    kept.update(steps_in(writer.folder))
    assert kept == {*range(200), *(n * 1000 + i for n in range(1, 4) for i in range(99))}
    assert writer.dropped == 0
    writer.close()


def test_close_ends_the_wait(tmp_path: Path) -> None:
    writer = SpoolWriter(host_folder(tmp_path), spool_header(), bounds=Bounds(2_000_000, 600))
    ended: list[BaseException] = []

    def log() -> None:
        try:
            log_until_full(writer)
        except SpoolClosed as error:
            ended.append(error)

    thread = threading.Thread(target=log)
    thread.start()
    wait_until(lambda: writer.trouble, 30, "it waits for room")
    writer.close()
    thread.join(20 * LONGER)
    assert not thread.is_alive()
    assert len(ended) == 1


def test_the_limit_is_asked_only_when_a_segment_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    real = Bounds.room

    def room(bounds: Bounds, host: Path) -> int:
        nonlocal asked
        asked += 1
        return real(bounds, host)

    monkeypatch.setattr(Bounds, "room", room)
    writer = SpoolWriter(host_folder(tmp_path), spool_header(), bounds=Bounds(10**9))
    for step in range(20_000):
        writer.metrics({"a": 1.0}, step, 0)
    assert asked == 1
    writer.close()


def test_a_drop_does_not_grow_the_one_before() -> None:
    """One exception that is raised again and again gets a longer traceback each time."""
    health = Health()
    health.failed(OSError(errno.ENOSPC, "no room"))

    def traces() -> int:
        try:
            raise health.drop()
        except OSError as error:
            count, trace = 0, error.__traceback__
            while trace:
                count, trace = count + 1, trace.tb_next
            return count

    assert {traces() for _ in range(10)} == {1}
    assert health.dropped == 10


def test_a_segment_that_is_not_ready_is_made_small_by_the_caller(tmp_path: Path) -> None:
    """And one that is, is not made by the caller at all."""
    alone = SpoolWriter(host_folder(tmp_path / "a"), spool_header())
    for step in range(400):
        alone.metrics(ROW, step, 0)
    assert alone.supply.made_in_call == 3
    assert {path.stat().st_size for path in alone.folder.glob("*.spool")} == {FIRST_SEGMENT_BYTES}
    alone.close()
    helped = SpoolWriter(host_folder(tmp_path / "b"), spool_header())
    for step in range(2000):
        helped.metrics(ROW, step, 0)
        if helped.turned.is_set() or step % 20 == 0:
            helped.turned.clear()
            helped.tend()
    assert helped.supply.made_in_call == 0
    assert max(path.stat().st_size for path in helped.folder.glob("*.spool")) >= 1 << 23
    helped.close()


def test_a_caller_overtakes_a_slow_disk_and_neither_harms_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, io: str
) -> None:
    """They once wrote into one file, and zeros came over records."""
    writer = SpoolWriter(host_folder(tmp_path), spool_header())
    begun, go_on = threading.Event(), threading.Event()
    real = _platform.write_at
    truncate = os.ftruncate

    def stall() -> None:
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            assert go_on.wait(30 * LONGER)

    def slow(descriptor: int, data: Any, offset: int) -> None:
        if offset:
            stall()
        real(descriptor, data, offset)

    def slow_truncate(descriptor: int, size: int) -> None:
        stall()
        truncate(descriptor, size)

    monkeypatch.setattr(_platform, "write_at", slow)
    monkeypatch.setattr(os, "ftruncate", slow_truncate)
    writer.supply.next_size = 4 * FIRST_SEGMENT_BYTES
    thread = threading.Thread(target=writer.tend)
    thread.start()
    assert begun.wait(30 * LONGER)
    for step in range(200):
        writer.metrics(ROW, step, 0)
    assert writer.supply.made_in_call == 1
    go_on.set()
    thread.join(30 * LONGER)
    for step in range(200, 500):
        writer.metrics(ROW, step, 0)
    assert steps_in(writer.folder) == list(range(500))
    writer.close()
    assert list(writer.folder.glob("*.new")) == []


@pytest.mark.parametrize(
    ("given", "bytes_"),
    [
        (5_000_000, 5_000_000), ("5000000", 5_000_000), ("10GB", 10**10), ("10 gb", 10**10),
        ("512MiB", 512 << 20), ("1.5TiB", 3 << 39), ("64m", 64_000_000), ("2G", 2 * 10**9),
    ],
)  # fmt: skip
def test_sizes_that_are_understood(given: int | str, bytes_: int) -> None:
    assert size_in_bytes(given) == bytes_


@pytest.mark.parametrize("given", ["", "ten", "10XB", "-5GB", "5iB", 0, -1, True, 3.5, "1kb", None])
def test_sizes_that_are_not(given: Any) -> None:
    with pytest.raises(ValueError, match=r"size like|1 MB"):
        size_in_bytes(given)


def test_bad_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NaiadValueError, match="spool_max_bytes is 'much'"):
        naiad.Run(project="a/b", spool_max_bytes="much")
    with pytest.raises(NaiadValueError, match="block_when_full is -1"):
        naiad.Run(project="a/b", block_when_full=-1)
    monkeypatch.setenv("NAIAD_SPOOL_MAX_BYTES", "12 parsecs")
    with pytest.raises(NaiadValueError, match="NAIAD_SPOOL_MAX_BYTES is '12 parsecs'"):
        naiad.Run(project="a/b")
    monkeypatch.setenv("NAIAD_SPOOL_MAX_BYTES", "2GB")
    monkeypatch.setenv("NAIAD_BLOCK_WHEN_FULL", "2.5")
    assert spool_bounds(None, None) == Bounds(2 * 10**9, 2.5)
    assert spool_bounds("3MB", 0) == Bounds(3_000_000, 0.0)
    monkeypatch.setenv("NAIAD_BLOCK_WHEN_FULL", "soon")
    with pytest.raises(NaiadValueError, match="NAIAD_BLOCK_WHEN_FULL is 'soon'"):
        naiad.Run(project="a/b")


def test_a_torn_row_is_no_metric(tmp_path: Path) -> None:
    """`steps_in` would fail over it, so the tests above saw none."""
    writer = SpoolWriter(host_folder(tmp_path), spool_header())
    writer.metrics(ROW, 0, 0)
    writer.close()
    (path,) = writer.folder.glob("*.spool")
    content = bytearray(path.read_bytes())
    content[-FIRST_SEGMENT_BYTES // 2 - 100] ^= 0xFF
    at = bytes(content).index(b"m999") + 100
    content[at] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(AssertionError, match=TornRow.__name__):
        steps_in(writer.folder)
