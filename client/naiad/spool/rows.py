"""What a spool's records are when they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class ShapeKey:
    """The paths of a row of metrics."""

    paths: tuple[str, ...]
    preview: bool


@dataclass(frozen=True, slots=True)
class MetricRows:
    """Neighbouring rows of one shape: n records from `first` on."""

    first: int
    shape: ShapeKey
    steps: npt.NDArray[np.int64]
    timestamps: npt.NDArray[np.int64]
    # float64[n, m]
    values: npt.NDArray[np.float64]
    # float64[n] of a preview.
    completions: npt.NDArray[np.float64] | None

    @property
    def last(self) -> int:
        return self.first + len(self.steps) - 1


@dataclass(frozen=True, slots=True)
class StringRow:
    first: int
    path: str
    step: int
    timestamp: int
    value: str

    @property
    def last(self) -> int:
        return self.first


@dataclass(frozen=True, slots=True)
class ItemRow:
    first: int
    # A serialised naiad.v1.Item.
    item: bytes
    # Where the file is that has to be uploaded first.
    file: dict[str, object] | None = None

    @property
    def last(self) -> int:
        return self.first


@dataclass(frozen=True, slots=True)
class TornRow:
    """Records that were lost, and why; their numbers are known all the same."""

    first: int
    reason: str
    count: int = 1

    @property
    def last(self) -> int:
        return self.first + self.count - 1


Row: TypeAlias = MetricRows | StringRow | ItemRow | TornRow


def size_of(row: Row) -> int:
    """About what a row takes in memory."""
    if isinstance(row, MetricRows):
        return int(row.values.nbytes) + 16 * len(row.steps)
    if isinstance(row, StringRow):
        return len(row.value) + 64
    return len(row.item) + 32 if isinstance(row, ItemRow) else 32
