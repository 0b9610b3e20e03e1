"""Which of two rows for the same key wins: the one with the higher version.

A version is an unsigned 128-bit number, from its highest bit down:

    1 bit    committed: a committed point beats every preview
    63 bits  the writer's epoch, microseconds since the Unix epoch
    20 bits  hash of the writer's id: orders writers that began in the same microsecond
    44 bits  the record's number in the writer's spool

Versions never hold a timestamp that a user passed or a clock that another host set, so
retries, replays and any order of arrival come to the same rows.
"""

from __future__ import annotations

from naiad_proto.blake2 import blake2b

RECORD_BITS = 44
WRITER_BITS = 20
MAX_RECORD = (1 << RECORD_BITS) - 1
MAX_EPOCH = (1 << 63) - 1
_COMMITTED = 1 << 63


def writer_hash(writer_id: str) -> int:
    """20 bits that stand for a writer in its versions."""
    digest = blake2b(writer_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> (64 - WRITER_BITS)


def high_word(epoch: int, *, committed: bool = True) -> int:
    """The upper 64 bits; the same for all rows of a writer but for the committed bit."""
    return (_COMMITTED if committed else 0) | epoch


def low_word(writer: int, record: int) -> int:
    """The lower 64 bits, of `writer_hash(...)` and a record number."""
    return writer << RECORD_BITS | record


def version(epoch: int, writer_id: str, record: int, *, committed: bool = True) -> int:
    """The whole version as a Python integer."""
    return high_word(epoch, committed=committed) << 64 | low_word(writer_hash(writer_id), record)


def is_committed(value: int) -> bool:
    return value >> 127 == 1
