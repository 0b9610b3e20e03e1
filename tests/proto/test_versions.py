"""Versions order rows: committed, then epoch, then writer, then record."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from naiad_proto.versions import (
    MAX_EPOCH,
    MAX_RECORD,
    WRITER_BITS,
    is_committed,
    version,
    writer_hash,
)

WRITERS = st.text("0123456789abcdef", min_size=32, max_size=32)
PARTS = st.tuples(st.booleans(), st.integers(0, MAX_EPOCH), WRITERS, st.integers(1, MAX_RECORD))


@given(PARTS, PARTS)
def test_versions_order_as_their_parts_do(
    one: tuple[bool, int, str, int], other: tuple[bool, int, str, int]
) -> None:
    def parts(of: tuple[bool, int, str, int]) -> tuple[bool, int, int, int]:
        committed, epoch, writer, record = of
        return committed, epoch, writer_hash(writer), record

    def whole(of: tuple[bool, int, str, int]) -> int:
        committed, epoch, writer, record = of
        return version(epoch, writer, record, committed=committed)

    assert (parts(one) < parts(other)) == (whole(one) < whole(other))
    assert (parts(one) == parts(other)) == (whole(one) == whole(other))


@given(PARTS)
def test_a_version_has_128_bits_and_tells_whether_it_is_committed(
    parts: tuple[bool, int, str, int],
) -> None:
    committed, epoch, writer, record = parts
    value = version(epoch, writer, record, committed=committed)
    assert 0 <= value < 1 << 128
    assert is_committed(value) is committed
    # The layout that docs/wire.md gives to other languages.
    assert value >> 64 & MAX_EPOCH == epoch
    assert value >> 44 & 0xFFFFF == writer_hash(writer)
    assert value & MAX_RECORD == record


@given(WRITERS)
def test_a_writers_hash_fits(writer: str) -> None:
    assert 0 <= writer_hash(writer) < 1 << WRITER_BITS


def test_hashes_never_change() -> None:
    # Stored rows hold them: another function would reorder what is there.
    assert writer_hash("0" * 32) == 0xB104F
    assert writer_hash("0123456789abcdef" * 2) == 0x53930
