"""The batch cut out of a request without parsing it."""

from __future__ import annotations

import pytest

from naiad_ingest.envelope import batch_bytes


@pytest.mark.parametrize(
    "request_hex",
    [
        "0a",  # no length
        "0a80",  # half a length
        "0a05 6162",  # shorter than its length
        "0801",  # field 1 as a number
        "1203 6162",  # an unknown field that is cut off
        "1100 0000",  # eight bytes, of which three are there
        "1500",  # four bytes, of which one is there
        "10",  # a number that isn't there
        "0001",  # field 0
        "1300 14",  # a group
        "10" + "ff" * 11 + "01",  # a number of more than 64 bits
    ],
)
def test_what_is_not_well_formed(request_hex: str) -> None:
    with pytest.raises(ValueError, match=r"field|number"):
        batch_bytes(bytes.fromhex(request_hex))


@pytest.mark.parametrize(
    ("request_hex", "batch"),
    [
        ("", b""),
        ("0a00", b""),
        ("0a02 6162", b"ab"),
        # Around it fields of every kind that nobody knows yet.
        ("1005 1903 0000 0000 0000 00 2501 0000 00 0a02 6162 1201 63", b"ab"),
        # Twice is merged, which is the same as one after the other.
        ("0a02 6162 0a01 63", b"abc"),
    ],
)
def test_what_is(request_hex: str, batch: bytes) -> None:
    assert bytes(batch_bytes(bytes.fromhex(request_hex))) == batch
