"""From a request's bytes to what is logged, without serialising the batch again.

A batch is logged exactly as it was sent: what a newer client put into fields that this
server doesn't know is there for a newer reader, and encoding 100,000 points again would
cost more than all the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

from naiad_proto.v1.log_pb2 import Envelope
from naiad_proto.v1.records_pb2 import Rejection

# What a reader must know to read most of the batches that ingest lets through; changes of runs
# ask for more (`naiad_proto.changes`).
READER_VERSION = 1

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# WriteBatchRequest.batch
_BATCH_FIELD = 1
# Envelope.batch, the highest field number: serialised messages end with it.
_ENVELOPE_BATCH_TAG = bytes([15 << 3 | _BYTES])


def batch_bytes(request: bytes) -> memoryview:
    """The bytes of `batch` in a serialised WriteBatchRequest; empty when it isn't set.

    A view of the request where possible: a batch is large, and many are under way. Fields
    that aren't known are passed over. Raises ValueError when the request isn't well-formed.
    """
    view = memoryview(request)
    parts: list[memoryview] = []
    at, end = 0, len(request)
    while at < end:
        tag, at = _varint(request, at)
        field, wire_type = tag >> 3, tag & 7
        if field == 0:
            raise ValueError("a field has the number 0")
        if wire_type == _BYTES:
            size, at = _varint(request, at)
            if size > end - at:
                raise ValueError(f"field {field} is cut off")
            if field == _BATCH_FIELD:
                parts.append(view[at : at + size])
            at += size
        elif field == _BATCH_FIELD:
            raise ValueError("field 1 is not a message")
        elif wire_type == _VARINT:
            _, at = _varint(request, at)
        elif wire_type in (_FIXED64, _FIXED32):
            at += 8 if wire_type == _FIXED64 else 4
            if at > end:
                raise ValueError(f"field {field} is cut off")
        else:
            raise ValueError(f"field {field} has the unknown wire type {wire_type}")
    # Protobuf merges a message that comes twice, which is what parsing both in a row does.
    return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))


def seal(
    batch: bytes | memoryview,
    *,
    received_at: int,
    principal: str,
    rejections: Sequence[Rejection],
    reader_version: int = READER_VERSION,
) -> bytes:
    """A serialised Envelope around the serialised `batch`; `received_at` in milliseconds."""
    head = Envelope(
        min_reader_version=reader_version,
        received_at=received_at,
        principal=principal,
        rejections=rejections,
    ).SerializeToString()
    return b"".join((head, _ENVELOPE_BATCH_TAG, _as_varint(len(batch)), batch))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, and where it ends."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number is cut off or too long")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def _as_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
