"""From numpy columns to Arrow columns as the tables want them, without a loop over rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

STEP = pa.decimal64(18, 6)
TIME = pa.timestamp("ms", tz="UTC")
VERSION = pa.binary(16)
FILE = pa.struct(
    [("key", pa.string()), ("name", pa.string()), ("size_bytes", pa.uint64()),
     ("mime_type", pa.string()), ("sha256", pa.string())]
)  # fmt: skip


def fixed(array: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    """A column of 64-bit numbers under the Arrow type that has the same bytes."""
    return pa.Array.from_buffers(
        kind, len(array), [None, pa.py_buffer(np.ascontiguousarray(array))]
    )


def steps(micro: npt.NDArray[np.int64]) -> pa.Array:
    """Micro-steps as Decimal64(6), whose integer they are."""
    return fixed(micro, STEP)


def times(milliseconds: npt.NDArray[np.int64]) -> pa.Array:
    return fixed(milliseconds, TIME)


def versions(high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]) -> pa.Array:
    """Two words per version as UInt128, which is 16 little-endian bytes."""
    words = np.stack([low, high], axis=1)
    return pa.Array.from_buffers(VERSION, len(words), [None, pa.py_buffer(words)])


def ranks(
    committed: npt.NDArray[np.uint8],
    micro: npt.NDArray[np.int64],
    high: npt.NDArray[np.uint64],
    low: npt.NDArray[np.uint64],
) -> pa.Array:
    """What the `series` table keeps the greatest of, as UInt256: committed, step, version."""
    top = committed.astype(np.uint64) << np.uint64(63)
    words = np.stack([low, high, micro.astype(np.uint64), top], axis=1)
    return pa.Array.from_buffers(pa.binary(32), len(words), [None, pa.py_buffer(words)])


def version_bytes(version: int) -> bytes:
    return version.to_bytes(16, "little")
