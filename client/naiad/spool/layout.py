"""Bytes and names: what writer and reader must agree on.

A segment:

    0   8 bytes  magic
    8   u64      committed: the records up to this offset of the file are complete
    16  u64      number of the segment's first record
    24  u64      1 when the writer has gone on to the next segment
    32  u32      length of the header
    36  u32      CRC-32 of the header
    40           header: JSON, then zeros up to a multiple of 8

then slots, each at a multiple of 8:

    0   u32      length of the payload
    4   u32      CRC-32 of the payload
    8            payload, then zeros up to a multiple of 8

but for rows of metrics, nearly all there is, whose slot has no kind and no padding:

    0   u32      ROW | shape id (15 bits) << 16 | length of the payload in words of 8 bytes
    4   u32      CRC-32 of the payload, begun with the number before it
    8            i64 step, i64 timestamp, one f64 per path

All numbers are little-endian. Any other payload begins with one byte of `Kind`. Every slot
but a SHAPE is one record, numbered on from the segment's first.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import asdict, dataclass, field, fields
from typing import Any

MAGIC = b"NAIADSP1"
SCHEMA = 1
FIXED = struct.Struct("<8sQQQII")
SLOT = struct.Struct("<II")
# Places of the two words that change while a segment is written, in 8-byte words.
COMMITTED_WORD = 1
CLOSED_WORD = 3

FIRST_SEGMENT_BYTES = 1024 * 1024
LARGEST_SEGMENT_BYTES = 64 * 1024 * 1024
# Of a segment that is not mapped, and so costs its writer as much memory.
LARGEST_WRITTEN_BYTES = 8 * 1024 * 1024

HEADER = "spool.json"
LOCK = "lock"
HEARTBEAT = "heartbeat"
TOKEN = "token"
PROGRESS = "progress.json"
WAITING = "waiting"
FILES = "files"
REJECTED = "rejected"


class Kind(enum.IntEnum):
    # shape id u32, flags u32 (1: preview), then the paths, each u32 length and UTF-8.
    SHAPE = 1
    # 3 zero bytes, shape id u32, step i64, timestamp i64, then one f64 per path; of a
    # preview the completion stands before them. For previews, and where a ROW's numbers are
    # too small.
    METRICS = 2
    # 3 zero bytes, path length u32, step i64, timestamp i64, path, value.
    STRING = 3
    # A serialised naiad.v1.Item without its record number.
    ITEM = 4
    # The same with a file to upload first: 3 zero bytes, length u32 of a JSON object that
    # says where the content is, that object, then the Item.
    FILE = 5


SHAPE_HEAD = struct.Struct("<B3xII")
METRICS_HEAD = struct.Struct("<B3xIqq")
STRING_HEAD = struct.Struct("<B3xIqq")
FILE_HEAD = struct.Struct("<B3xI")
PREVIEW = 1

# A row of metrics without kind and padding: 32 bytes instead of 40 for a single metric.
ROW = 1 << 31
ROW_SHAPES = 1 << 15
ROW_WORDS = 1 << 16
ROW_HEAD = struct.Struct("<qq")


def row_word(shape: int, paths: int) -> int:
    """What a ROW slot of the shape begins with; 0 if it doesn't fit into one."""
    words = ROW_HEAD.size // 8 + paths
    return ROW | shape << 16 | words if shape < ROW_SHAPES and words < ROW_WORDS else 0


def payload_bytes(length: int) -> int:
    """What the first number of a slot says of its payload."""
    return 8 * (length & ROW_WORDS - 1) if length & ROW else length


def shape_of(payload: bytes) -> tuple[int, bool, list[str]]:
    """What a SHAPE defines: its id, whether it is of previews, and its paths."""
    _, number, flags = SHAPE_HEAD.unpack_from(payload)
    paths = []
    at = SHAPE_HEAD.size
    while at < len(payload):
        length = int.from_bytes(payload[at : at + 4], "little")
        at += 4
        paths.append(payload[at : at + length].decode())
        at += length
    return number, bool(flags & PREVIEW), paths


def first_word(payload: bytes) -> int:
    """What ROW slots of the shape begin with that a SHAPE defines; 0 if it has none."""
    number, preview, paths = shape_of(payload)
    return 0 if preview else row_word(number, len(paths))


def padded(length: int) -> int:
    return (length + 7) & ~7


def segment_name(number: int) -> str:
    return f"{number:08d}.spool"


@dataclass(frozen=True, slots=True)
class Header:
    """What a spool says of itself, in every segment."""

    project: str
    run_id: str
    writer_id: str
    # Microseconds since the Unix epoch; see naiad_proto.versions.
    epoch: int
    url: str
    host: str
    pid: int
    # "async" or "offline".
    mode: str
    # "process": a user's process. "sampler": the shipper's own, for the hardware.
    role: str = "process"
    # Where to put hardware samples, and every how many seconds; none when empty.
    hardware: str = ""
    hardware_interval: float = 10.0
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    schema: int = SCHEMA
    # Fields of a newer release, kept as they are.
    more: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Header:
        """Raises ValueError when something needed is missing or the schema is newer."""
        names = {f.name for f in fields(cls)}
        if values.get("schema", 0) > SCHEMA:
            raise ValueError(
                f"the spool has schema {values['schema']}; this release reads up to {SCHEMA}:"
                " upgrade naiad"
            )
        try:
            known = {name: value for name, value in values.items() if name in names}
            return cls(**known)
        except TypeError as error:
            raise ValueError(f"the spool's header lacks something: {error}") from error
