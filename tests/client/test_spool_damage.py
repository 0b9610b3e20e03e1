"""A spool that a power cut or a bad disk damaged: what is whole comes back, nothing else does,
and what is missing is told."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support_spools import spool_header

from naiad import _platform
from naiad.spool.folder import host_folder
from naiad.spool.reader import ItemRow, MetricRows, SpoolReader, StringRow, TornRow
from naiad.spool.writer import SpoolWriter
from naiad_proto.v1 import records_pb2 as pb

RECORDS = 360


@dataclass
class Slot:
    """Where a slot stands, by this test's own walk over the undamaged file."""

    file: int
    begin: int
    end: int
    # The step by which this test knows the record; None for a shape.
    step: int | None
    # The shape that it defines or needs.
    shape: int | None = None


@dataclass(repr=False)
class Spool:
    folder: Path
    content: list[bytes]
    slots: list[Slot] = field(default_factory=list)

    def __repr__(self) -> str:
        return "Spool"

    @property
    def names(self) -> list[str]:
        return [f"{number:08d}.spool" for number in range(len(self.content))]


def text_of(step: int) -> str:
    return f"text {step} " * (step % 5)


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Spool:
    """Several small segments with all kinds of records; record n has step n."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("naiad.spool.supply.FIRST_SEGMENT_BYTES", 4096)
        patch.setattr("naiad.spool.supply._LEAST_BYTES", 2048)
        writer = SpoolWriter(host_folder(tmp_path_factory.mktemp("damage")), spool_header())
        for step in range(1, RECORDS + 1):
            match step % 7:
                case 0:
                    writer.string("s", text_of(step), step, step)
                case 1:
                    item = pb.Item(timestamp=step, set_attribute=pb.SetAttribute(path="c"))
                    item.set_attribute.value.string_value = text_of(step)
                    writer.item(item)
                case 2:
                    writer.metrics({"x": step, "y": -step}, step, step)
                case _:
                    writer.metrics({"loss": step / 2}, step, step)
        writer.close()
    files = sorted(writer.folder.glob("*.spool"))
    made = Spool(writer.folder, [file.read_bytes() for file in files])
    assert len(made.content) >= 4
    made.slots = [
        slot for number in range(len(files)) for slot in walk(made.content[number], number)
    ]
    assert [slot.step for slot in made.slots if slot.step] == list(range(1, RECORDS + 1))
    return made


def walk(content: bytes, file: int) -> Iterator[Slot]:
    committed, _, _, length = struct.unpack_from("<QQQI", content, 8)
    at = 40 + (length + 7) // 8 * 8
    while at < committed:
        size, check = struct.unpack_from("<II", content, at)
        if size >> 31:
            end = at + 8 + 8 * (size & 0xFFFF)
            assert zlib.crc32(content[at + 8 : end], size) == check
            step = struct.unpack_from("<q", content, at + 8)[0]
            yield Slot(file, at, end, step, size >> 16 & 0x7FFF)
            at = end
            continue
        payload = content[at + 8 : at + 8 + size]
        assert zlib.crc32(payload) == check
        end = at + 8 + (size + 7) // 8 * 8
        if payload[0] == 1:
            yield Slot(file, at, end, None, struct.unpack_from("<I", payload, 4)[0])
        elif payload[0] == 2:
            shape, step = struct.unpack_from("<Iq", payload, 4)
            yield Slot(file, at, end, step, shape)
        elif payload[0] == 3:
            yield Slot(file, at, end, struct.unpack_from("<q", payload, 8)[0])
        else:
            yield Slot(file, at, end, pb.Item.FromString(payload[1:]).timestamp)
        at = end


def damaged(spool: Spool, changes: list[tuple[int, int, bytes]]) -> tuple[Path, set[int]]:
    """A copy with bytes replaced; and the steps of the records that this leaves whole."""
    content = [bytearray(one) for one in spool.content]
    for file, at, new in changes:
        content[file][at : at + len(new)] = new[: len(content[file]) - at]
    folder = Path(tempfile.mkdtemp(dir=spool.folder.parent))
    for name, one in zip(spool.names, content, strict=True):
        (folder / name).write_bytes(one)

    def same(slot: Slot) -> bool:
        old, new = spool.content[slot.file], content[slot.file]
        return old[slot.begin : slot.end] == new[slot.begin : slot.end]

    shapes = {(s.file, s.shape) for s in spool.slots if s.step is None and same(s)}
    whole = {
        slot.step
        for slot in spool.slots
        if slot.step and same(slot) and (slot.shape is None or (slot.file, slot.shape) in shapes)
    }
    return folder, whole


@dataclass
class Found:
    # (record, step) as they came.
    records: list[tuple[int, int]]
    torn: list[TornRow]
    notes: list[str]
    last: int


def read(folder: Path, *, lives: bool = False) -> Found:
    """Reads all, and checks each record against what was written under its step."""
    reader = SpoolReader(folder)
    found = Found([], [], reader.damaged, 0)
    for _ in range(10 * RECORDS):
        rows = list(reader.rows(2000, writer_lives=lives))
        if not rows:
            break
        for row in rows:
            # One interval after the other, without a gap and without a number twice.
            assert row.first == found.last + 1
            assert row.last >= row.first
            found.last = row.last
            if isinstance(row, TornRow):
                found.torn.append(row)
            elif isinstance(row, MetricRows):
                for i, step in enumerate(row.steps.tolist()):
                    wide = step % 7 == 2
                    assert row.shape.paths == (("x", "y") if wide else ("loss",))
                    assert row.values[i].tolist() == ([step, -step] if wide else [step / 2])
                    assert row.timestamps[i] == step
                    found.records.append((row.first + i, step))
            elif isinstance(row, StringRow):
                assert (row.path, row.value) == ("s", text_of(row.step))
                found.records.append((row.first, row.step))
            elif isinstance(row, ItemRow):
                item = pb.Item.FromString(row.item)
                assert item.set_attribute.value.string_value == text_of(item.timestamp)
                found.records.append((row.first, item.timestamp))
    else:
        pytest.fail("it never ends")
    reader.close()
    came = [step for _, step in found.records]
    assert came == sorted(set(came))
    return found


places = st.tuples(st.integers(0, 3), st.integers(0, 4090))
byte_changes = st.builds(lambda p, b: (*p, bytes([b])), places, st.integers(0, 255))
word_changes = st.builds(
    lambda p, b: (p[0], p[1] // 8 * 8, b), places, st.binary(min_size=8, max_size=8)
)
holes = st.builds(lambda p, n: (*p, bytes(n)), places, st.integers(1, 1500))
garbage = st.builds(lambda p, b: (*p, b), places, st.binary(min_size=16, max_size=200))


@settings(deadline=None, max_examples=300)
@given(changes=st.lists(st.one_of(byte_changes, word_changes, holes, garbage), max_size=5))
@example(changes=[(1, 0, bytes(4096))])
@example(changes=[(3, 0, bytes(4096))])
@example(changes=[(0, 8, bytes(8)), (1, 8, b"\xff" * 8), (2, 16, b"\xff" * 8), (1, 24, bytes(8))])
def test_whatever_is_damaged_the_rest_comes_back(
    spool: Spool, changes: list[tuple[int, int, bytes]]
) -> None:
    folder, whole = damaged(spool, changes)
    try:
        found = read(folder)
        came = {step for _, step in found.records}
        assert whole - came == set()
        missing = set(range(1, RECORDS + 1)) - came
        if missing - steps_of_last(spool):
            assert found.torn or found.notes
        # What comes after the last damaged segment has its own number again.
        last_damaged = max((file for file, _, _ in changes), default=-1)
        behind = {slot.step for slot in spool.slots if slot.file > last_damaged and slot.step}
        heads = any(at < 40 for _, at, _ in changes)
        if not heads:
            for record, step in found.records:
                assert step not in behind or record == step
            if last_damaged < len(spool.content) - 1:
                # The numbers that are told as lost are as many as are lost.
                assert sum(row.count for row in found.torn) == len(missing)
        # A live writer's reader sees no more than that, and does not fall over it.
        assert {step for _, step in read(folder, lives=True).records} <= came
    finally:
        shutil.rmtree(folder)


def steps_of_last(spool: Spool) -> set[int]:
    """Of the last segment nobody says how many records it had, if its head is lost."""
    last = len(spool.content) - 1
    return {slot.step for slot in spool.slots if slot.file == last and slot.step}


def test_the_checker_sees_a_wrong_value(spool: Spool) -> None:
    slot = next(slot for slot in spool.slots if slot.shape is not None and slot.step)
    payload = bytearray(spool.content[slot.file][slot.begin + 8 : slot.end])
    payload[-1] ^= 1
    (word,) = struct.unpack_from("<I", spool.content[slot.file], slot.begin)
    forged = struct.pack("<II", word, zlib.crc32(payload, word)) + payload
    folder, _ = damaged(spool, [(slot.file, slot.begin, forged)])
    with pytest.raises(AssertionError):
        read(folder)
    shutil.rmtree(folder)


def test_a_broken_length_costs_one_record(spool: Spool) -> None:
    slot = next(slot for slot in spool.slots if slot.file == 1 and slot.step and slot.step % 7 == 4)
    folder, whole = damaged(spool, [(1, slot.begin, b"\xff\xff\xff\xff")])
    assert len(whole) == RECORDS - 1
    found = read(folder)
    assert found.records == [(n, n) for n in range(1, RECORDS + 1) if n != slot.step]
    assert [(row.first, row.count) for row in found.torn] == [(slot.step, 1)]
    assert f"record {slot.step} at byte {slot.begin} of 00000001.spool" in found.torn[0].reason
    shutil.rmtree(folder)


def test_a_segment_that_is_gone_is_told_by_its_records(spool: Spool) -> None:
    folder, _ = damaged(spool, [])
    (folder / spool.names[1]).unlink()
    found = read(folder)
    gone = [slot.step for slot in spool.slots if slot.file == 1 and slot.step]
    assert {step for _, step in found.records}.isdisjoint(gone)
    assert all(record == step for record, step in found.records)
    (torn,) = found.torn
    assert (torn.first, torn.last) == (gone[0], gone[-1])
    shutil.rmtree(folder)


def test_a_reader_that_begins_behind_freed_segments_misses_nothing(spool: Spool) -> None:
    folder, _ = damaged(spool, [])
    (folder / spool.names[0]).unlink()
    first = min(slot.step for slot in spool.slots if slot.file == 1 and slot.step)
    rows = list(SpoolReader(folder, after=first - 1).rows(1 << 30, writer_lives=False))
    assert rows[0].first == first
    assert rows[-1].last == RECORDS
    assert not [row for row in rows if isinstance(row, TornRow)]
    shutil.rmtree(folder)


def test_a_page_that_the_disk_can_not_read_is_a_hole(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no device here that fails on demand, so the read call does."""
    real = _platform.read_at
    bad = range(1024, 1536)
    monkeypatch.setattr("naiad.spool.segment_reader._PAGE", 512)

    def failing(descriptor: int, length: int, offset: int) -> bytes:
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        if name.endswith(spool.names[2]) and offset < bad.stop and offset + length > bad.start:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor, length, offset)

    monkeypatch.setattr(_platform, "read_at", failing)
    found = read(spool.folder)
    hit = {
        slot.step
        for slot in spool.slots
        if slot.file == 2 and slot.step and slot.begin < bad.stop and slot.end > bad.start
    }
    came = {step for _, step in found.records}
    assert came == set(range(1, RECORDS + 1)) - hit
    assert sum(row.count for row in found.torn) == len(hit) > 0


def test_a_file_that_shrank_ends_where_it_ends(spool: Spool) -> None:
    folder, _ = damaged(spool, [])
    os.truncate(folder / spool.names[-1], 700)
    found = read(folder)
    cut = {
        slot.step for slot in spool.slots if slot.file == len(spool.content) - 1 and slot.end <= 700
    }
    before = {slot.step for slot in spool.slots if slot.file < len(spool.content) - 1}
    assert {step for _, step in found.records} == (cut | before) - {None}
    shutil.rmtree(folder)
