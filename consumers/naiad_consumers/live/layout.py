"""How live state is laid out in Redis.

    naiad:live:values:<project>/<run_id>    hash: path -> step, timestamp, value
    naiad:live:writers:<project>/<run_id>   hash: writer id -> last heard, state, record

    naiad:live:lives:<project>/<run_id>     JSON: of a run that was deleted once, its lives

The first two expire when nothing was written to them for a day, the last after thirty days in
which nothing was heard of the run; the first two hold what belongs to the life that the run lives
now. A field is a packed little-endian struct; its first byte is the version of the layout.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EXPIRY_SECONDS = 24 * 3600
LIVES_EXPIRY_SECONDS = 30 * 24 * 3600
# A run with more metrics than this has the rest of them only in the store.
MAX_PATHS = 10_000

_VERSION = 1
_WRITER_VERSION = 2
_VALUE = np.dtype([("version", "u1"), ("step", "<i8"), ("timestamp", "<i8"), ("value", "<f8")])
_WRITER = struct.Struct("<BqQQ")

STATES = {1: "running", 2: "finished", 3: "stopped", 4: "failed", 5: "killed"}


class LatestValue(NamedTuple):
    """`step` in micro-steps; `timestamp` in milliseconds since the Unix epoch, UTC."""

    step: int
    timestamp: int
    value: float


class WriterSeen(NamedTuple):
    """`seen_at`: when ingest last took a batch or heartbeat of it, in milliseconds since the
    Unix epoch, UTC. `state`: one of STATES, or empty while it has said none. `record`: the
    number of the record that said so. `epoch`: the writer's."""

    seen_at: int
    state: str
    record: int
    epoch: int = 0


def values_key(project: str, run_id: str) -> str:
    return f"naiad:live:values:{project}/{run_id}"


def writers_key(project: str, run_id: str) -> str:
    return f"naiad:live:writers:{project}/{run_id}"


def lives_key(project: str, run_id: str) -> str:
    return f"naiad:live:lives:{project}/{run_id}"


def pack_values(
    steps: NDArray[np.int64], timestamps: NDArray[np.int64], values: NDArray[np.float64]
) -> list[bytes]:
    """One field's content per element of the three arrays."""
    rows = np.empty(len(values), _VALUE)
    rows["version"] = _VERSION
    rows["step"], rows["timestamp"], rows["value"] = steps, timestamps, values
    packed = rows.tobytes()
    width = _VALUE.itemsize
    return [packed[at : at + width] for at in range(0, len(packed), width)]


def unpack_values(packed: list[bytes]) -> list[LatestValue | None]:
    """None for what another version of the layout wrote."""
    width = _VALUE.itemsize
    readable = [p if len(p) == width and p[0] == _VERSION else None for p in packed]
    rows = np.frombuffer(b"".join(p for p in readable if p), _VALUE)
    found = map(
        LatestValue, rows["step"].tolist(), rows["timestamp"].tolist(), rows["value"].tolist()
    )
    return [None if p is None else next(found) for p in readable]


def pack_writer(seen: WriterSeen) -> bytes:
    head = _WRITER.pack(_WRITER_VERSION, seen.seen_at, seen.record, seen.epoch)
    return head + seen.state.encode()


def unpack_writer(packed: bytes) -> WriterSeen | None:
    """None for what another version of the layout wrote."""
    if len(packed) < _WRITER.size or packed[0] != _WRITER_VERSION:
        return None
    _, seen_at, record, epoch = _WRITER.unpack_from(packed)
    return WriterSeen(seen_at, packed[_WRITER.size :].decode(), record, epoch)
