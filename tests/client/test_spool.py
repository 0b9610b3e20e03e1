"""The spool: what is written comes back, torn or not, from a live writer or a dead one."""

from __future__ import annotations

import itertools
import math
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_naiad import LONGER
from support_spools import spool_header

from naiad.spool.folder import (
    HostLock,
    RunMemory,
    host_folder,
    is_taken,
    spools,
    writer_lives,
)
from naiad.spool.layout import LARGEST_SEGMENT_BYTES, ROW_SHAPES, ROW_WORDS
from naiad.spool.reader import ItemRow, MetricRows, Row, SpoolReader, StringRow, TornRow
from naiad.spool.writer import SpoolClosed, SpoolWriter
from naiad_proto.v1 import records_pb2 as pb

pytestmark = pytest.mark.usefixtures("io")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SpoolWriter]:
    made = SpoolWriter(host_folder(tmp_path), spool_header())
    yield made
    made.close()


def read(folder: Path, *, lives: bool = False, portion: int = 1 << 30) -> list[Row]:
    reader = SpoolReader(folder)
    rows: list[Row] = []
    while found := list(reader.rows(portion, writer_lives=lives)):
        rows += found
    assert reader.damaged == []
    reader.close()
    return rows


def records(rows: list[Row]) -> list[tuple[Any, ...]]:
    """Rows taken apart: (record, what …) each."""
    found: list[tuple[Any, ...]] = []
    for row in rows:
        if isinstance(row, MetricRows):
            for i, step in enumerate(row.steps.tolist()):
                values = tuple(repr(float(v)) for v in row.values[i])
                far = None if row.completions is None else float(row.completions[i])
                at = int(row.timestamps[i])
                found.append((row.first + i, row.shape.paths, step, at, values, far))
        elif isinstance(row, StringRow):
            found.append((row.first, row.path, row.step, row.timestamp, row.value))
        elif isinstance(row, ItemRow):
            found.append((row.first, row.item, row.file))
        else:
            found.append((row.first, "torn"))
    return found


paths = st.lists(st.text("abc/é", min_size=1, max_size=5), min_size=1, max_size=4, unique=True)
numbers = st.floats(width=64) | st.integers(-(2**53), 2**53)
steps = st.integers(0, 10**18 - 1)
times = st.integers(0, 2**41)
calls = st.lists(
    st.one_of(
        st.tuples(st.just("metrics"), paths, steps, times, st.data()),
        st.tuples(st.just("preview"), paths, steps, times, st.data()),
        st.tuples(st.just("string"), st.text("ab", min_size=1), steps, times, st.text()),
        st.tuples(st.just("item"), st.text("ab", min_size=1), st.text(max_size=50)),
        st.tuples(st.just("file"), st.text("ab", min_size=1), st.text(max_size=5)),
    ),
    max_size=25,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(calls=calls, portion=st.sampled_from([1, 100, 1 << 30]))
def test_what_is_written_comes_back_in_order(tmp_path: Path, calls: Any, portion: int) -> None:
    writer = SpoolWriter(host_folder(tmp_path), spool_header())
    expected: list[tuple[Any, ...]] = []
    for number, call in enumerate(calls, 1):
        match call:
            case ("metrics" | "preview" as kind, names, step, at, data):
                values = {name: data.draw(numbers) for name in names}
                shown = tuple(repr(float(v)) for v in values.values())
                far = None
                if kind == "metrics":
                    writer.metrics(values, step, at)
                else:
                    far = 0.25
                    writer.preview(values, step, at, far)
                expected.append((number, tuple(names), step, at, shown, far))
            case ("string", path, step, at, value):
                writer.string(path, value, step, at)
                expected.append((number, path, step, at, value))
            case ("item", path, text):
                item = pb.Item(set_attribute=pb.SetAttribute(path=path))
                item.set_attribute.value.string_value = text
                assert writer.item(item) == number
                expected.append((number, item.SerializeToString(), None))
            case ("file", path, name):
                item = pb.Item(set_attribute=pb.SetAttribute(path=path))
                writer.file(item, {"name": name})
                expected.append((number, item.SerializeToString(), {"name": name}))
    # From a live writer, and again from a closed one.
    assert records(read(writer.folder, lives=True, portion=portion)) == expected
    writer.close()
    assert records(read(writer.folder, portion=portion)) == expected


def test_neighbours_of_one_shape_come_as_columns(writer: SpoolWriter) -> None:
    for step in range(1000):
        writer.metrics({"a": step, "b": math.nan}, step, 5)
    rows = read(writer.folder, lives=True)
    assert len(rows) == 1
    assert isinstance(rows[0], MetricRows)
    assert rows[0].steps.tolist() == list(range(1000))
    assert rows[0].values.shape == (1000, 2)
    assert np.isnan(rows[0].values[:, 1]).all()


def test_segments_grow_and_records_go_on_over_them(writer: SpoolWriter) -> None:
    row = {f"m{i}": float(i) for i in range(1000)}
    for step in range(700):
        writer.metrics(row, step, 0)
        if step % 50 == 0:
            writer.prepare()
    sizes = [path.stat().st_size for path in sorted(writer.folder.glob("*.spool"))]
    assert len(sizes) >= 3
    assert sizes == sorted(sizes)
    assert sizes[-1] <= LARGEST_SEGMENT_BYTES
    rows = read(writer.folder, lives=True)
    assert [number for number, *_ in records(rows)] == list(range(1, 701))


def test_a_record_larger_than_any_segment_fits(writer: SpoolWriter) -> None:
    writer.string("s", "x" * (1 << 20), 0, 0)
    writer.metrics({f"metric/{i}": 0.5 for i in range(300_000)}, 1, 0)
    writer.string("s", "after", 2, 0)
    rows = read(writer.folder, lives=True)
    assert [number for number, *_ in records(rows)] == [1, 2, 3]


@pytest.mark.parametrize("broken", [0, 1, 5, 9])
def test_a_torn_record_is_told_and_all_others_are_kept(writer: SpoolWriter, broken: int) -> None:
    for step in range(10):
        writer.metrics({"a": 1.0}, step, 0)
    folder = writer.folder
    writer.close()
    (segment,) = folder.glob("*.spool")
    content = bytearray(segment.read_bytes())
    # The value of one of them, found by its step and place.
    first = content.index(np.float64(1.0).tobytes())
    size = 32
    content[first + broken * size] ^= 0xFF
    segment.write_bytes(content)
    rows = read(folder)
    found = records(rows)
    assert [row[0] for row in found] == list(range(1, 11))
    assert [row[0] for row in found if row[1] == "torn"] == [broken + 1]
    torn = next(row for row in rows if isinstance(row, TornRow))
    assert f"record {broken + 1} " in torn.reason


def test_a_segment_whose_beginning_is_lost_is_told_and_the_next_is_read(
    writer: SpoolWriter,
) -> None:
    row = {f"m{i}": float(i) for i in range(1000)}
    for step in range(300):
        writer.metrics(row, step, 0)
    folder = writer.folder
    writer.close()
    first, *others = sorted(folder.glob("*.spool"))
    assert others
    first.write_bytes(b"\0" * 100)
    reader = SpoolReader(folder)
    rows = list(reader.rows(1 << 30, writer_lives=False))
    assert len(reader.damaged) == 1
    assert first.name in reader.damaged[0]
    # It says itself where its records begin, so their numbers are right.
    assert records(rows)[-1][0] == 300


def test_threads_share_a_writer(writer: SpoolWriter) -> None:
    def log(which: int) -> None:
        for step in range(2000):
            writer.metrics({f"m{which}": step}, step, 0)
            if step % 3 == 0:
                writer.string(f"s{which}", str(step), step, 0)

    threads = [threading.Thread(target=log, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = records(read(writer.folder, lives=True))
    assert [row[0] for row in found] == list(range(1, len(found) + 1))
    for which in range(4):
        assert [r[2] for r in found if r[1] == (f"m{which}",)] == list(range(2000))


@pytest.mark.parametrize("value", ["high", None, [1.0], 10**400])
def test_what_is_no_number_is_refused_and_leaves_no_trace(writer: SpoolWriter, value: Any) -> None:
    writer.metrics({"a": 1.0}, 0, 0)
    with pytest.raises((ValueError, TypeError, OverflowError, Exception)):
        writer.metrics({"a": value}, 1, 0)
    writer.metrics({"a": 2.0}, 2, 0)
    assert [row[2] for row in records(read(writer.folder, lives=True))] == [0, 2]


def test_after_close_nothing_is_taken(writer: SpoolWriter) -> None:
    writer.metrics({"a": 1.0}, 0, 0)
    writer.close()
    writer.close()
    with pytest.raises(SpoolClosed):
        writer.metrics({"a": 1.0}, 1, 0)
    with pytest.raises(SpoolClosed):
        writer.string("s", "x", 1, 0)


def test_a_full_disk_is_an_error_now_and_not_a_crash_later(tmp_path: Path) -> None:
    import resource

    writer = SpoolWriter(host_folder(tmp_path), spool_header())
    row = {f"m{i}": float(i) for i in range(1000)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    refused = 0
    try:
        # Larger files than this can't be written, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, before[1]))
        for step in range(500):
            try:
                writer.metrics(row, step, 0)
            except OSError:
                refused += 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert 0 < refused == writer.dropped
    kept = records(read(writer.folder, lives=True))
    assert len(kept) == 500 - refused
    # With room again it goes on.
    writer._health.try_again_at = 0
    writer.metrics(row, 1000, 0)
    assert records(read(writer.folder, lives=True))[-1][2] == 1000
    writer.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from naiad.spool.folder import host_folder, new_writer_id
from naiad.spool.layout import Header
from naiad.spool.writer import SpoolWriter

writer = SpoolWriter(host_folder(Path(sys.argv[1])), Header(
    project="a/b", run_id="r", writer_id=new_writer_id(), epoch=1, url="", host="h",
    pid=os.getpid(), mode="async"))
for step in range(12345):
    writer.metrics({"a": step, "b": -step}, step, 0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_everything_survives_sigkill(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], check=False, timeout=60 * LONGER
    )
    assert done.returncode == -signal.SIGKILL
    (folder,) = spools(host_folder(tmp_path))
    assert not writer_lives(folder)
    found = records(read(folder))
    assert [row[2] for row in found] == list(range(12345))


def test_a_writer_lives_until_it_closes(writer: SpoolWriter) -> None:
    assert writer_lives(writer.folder)
    code = (
        "import sys; from pathlib import Path; from naiad.spool.folder import writer_lives;"
        "print(writer_lives(Path(sys.argv[1])))"
    )

    def seen_from_outside() -> str:
        command = [sys.executable, "-c", code, str(writer.folder)]
        return subprocess.check_output(command, text=True).strip()

    assert seen_from_outside() == "True"
    # Looking from inside must not drop the lock.
    assert writer_lives(writer.folder)
    assert seen_from_outside() == "True"
    writer.close()
    assert seen_from_outside() == "False"


def test_one_holder_of_a_host_lock(tmp_path: Path) -> None:
    first, second = HostLock(tmp_path / "l"), HostLock(tmp_path / "l")
    assert first.take()
    assert not second.take()
    assert is_taken(tmp_path / "l")
    first.release()
    assert second.take()
    second.release()
    assert not is_taken(tmp_path / "l")


def test_epochs_rise_and_console_lines_go_on(tmp_path: Path) -> None:
    memory = RunMemory(tmp_path, "a/b", "r")
    epochs = [memory.next_epoch() for _ in range(5)]
    assert epochs == sorted(set(epochs))
    assert memory.console_lines("out", 100) == 0
    assert RunMemory(tmp_path, "a/b", "r").console_lines("out", 100) == 100
    memory.settle_console_lines("out", 7)
    assert memory.console_lines("out", 100) == 7


def test_the_spool_is_for_its_owner_only(tmp_path: Path) -> None:
    writer = SpoolWriter(host_folder(tmp_path), spool_header(), "secret")
    assert writer.folder.stat().st_mode & 0o777 == 0o700
    for file in writer.folder.iterdir():
        if file.name != "spool.json":
            assert file.stat().st_mode & 0o077 == 0, file
    assert "secret" not in (writer.folder / "spool.json").read_text()
    writer.close()


# --- the same thread again --------------------------------------------------------------------


def test_a_value_whose_conversion_logs_too(writer: SpoolWriter) -> None:
    class Nosy(float):
        def __float__(self) -> float:
            writer.metrics({"inner": 2.0}, 5, 1)
            return 1.0

    class Number:
        def __float__(self) -> float:
            return Nosy().__float__()

    writer.metrics({"outer": Number()}, 5, 1)
    found = records(read(writer.folder, lives=True))
    assert [(number, names) for number, names, *_ in found] == [(1, ("inner",)), (2, ("outer",))]


def test_a_signal_handler_that_logs_neither_hangs_nor_tears(tmp_path: Path) -> None:
    """Its thread may hold the spool's lock and stand in the middle of a record."""
    script = """
import itertools, os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from support_spools import spool_header
from naiad.spool.folder import host_folder
from naiad.spool.writer import SpoolWriter
writer = SpoolWriter(host_folder(Path(sys.argv[1])), spool_header())
from naiad_proto.v1 import records_pb2 as pb
numbers, handled, depth, done = itertools.count(1), 0, 0, False
def again():
    if not done:
        signal.setitimer(signal.ITIMER_REAL, 0.0001)
def handle(*_):
    # A handler may be interrupted by the next one; on a busy machine it would be without end.
    global handled, depth
    depth += 1
    if depth < 4:
        again()
    n = next(numbers)
    writer.metrics({"h": n}, n, 1)
    writer.string("s", str(n), n, 1)
    writer.item(pb.Item(set_attribute=pb.SetAttribute(path="a")))
    handled = max(handled, n)
    depth -= 1
    again()
signal.signal(signal.SIGALRM, handle)
again()
step = 0
while handled < 3000:
    step += 1
    writer.metrics({"a": step, "b": -step}, step, 1)
done = True
signal.setitimer(signal.ITIMER_REAL, 0)
writer.close()
print(step, next(numbers) - 1, writer.last_record, writer.folder)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parents[1])],
        capture_output=True, text=True, check=False, timeout=60 * LONGER,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    step, handled, last, folder = done.stdout.split()
    found = records(read(Path(folder)))
    assert [row[0] for row in found] == list(range(1, int(last) + 1))
    assert [row[2] for row in found if row[1] == ("a", "b")] == list(range(1, int(step) + 1))
    # A handler may itself be interrupted, so their order is not told.
    assert sorted(row[2] for row in found if row[1] == ("h",)) == list(range(1, int(handled) + 1))
    assert sorted(row[2] for row in found if row[1] == "s") == list(range(1, int(handled) + 1))
    assert int(last) == int(step) + 3 * int(handled)


# --- rows that don't fit the short form -------------------------------------------------------


def test_more_shapes_than_the_short_form_can_number(writer: SpoolWriter) -> None:
    writer._shape_ids = itertools.count(ROW_SHAPES - 1)
    for step in range(3):
        writer.metrics({"last of the short": step}, step, 0)
        writer.metrics({"first of the long": step}, step, 0)
    found = records(read(writer.folder, lives=True))
    assert [(number, names[0], step) for number, names, step, *_ in found] == [
        (2 * step + which + 1, name, step)
        for step in range(3)
        for which, name in enumerate(("last of the short", "first of the long"))
    ]


@pytest.mark.parametrize("count", [ROW_WORDS - 3, ROW_WORDS - 2])
def test_rows_as_wide_as_the_short_form_can_say_and_wider(writer: SpoolWriter, count: int) -> None:
    wide = {f"m{number}": number / 3 for number in range(count)}
    for step in range(3):
        writer.metrics(wide, step, 7)
    # They fill segments of their own.
    rows = [row for row in read(writer.folder, lives=True) if isinstance(row, MetricRows)]
    assert [step for row in rows for step in row.steps.tolist()] == [0, 1, 2]
    for row in rows:
        assert row.shape.paths == tuple(wide)
        assert (row.values == [*wide.values()]).all()


def test_a_broken_shape_number_does_not_give_values_to_other_paths(writer: SpoolWriter) -> None:
    writer.metrics({"a": 1.0}, 0, 0)
    writer.metrics({"b": 2.0}, 1, 0)
    writer.metrics({"a": 3.0}, 2, 0)
    folder = writer.folder
    writer.close()
    (segment,) = folder.glob("*.spool")
    content = bytearray(segment.read_bytes())
    # Right before the check, the step and the timestamp: bits of the shape's number.
    at = content.index(struct.pack("<qqd", 1, 0, 2.0)) - 6
    assert content[at] == 1
    content[at] = 0
    segment.write_bytes(content)
    found = records(read(folder))
    assert [row[1] for row in found] == [("a",), "torn", ("a",)]
