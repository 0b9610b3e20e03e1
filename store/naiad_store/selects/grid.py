"""The columns of a chart, and the rows in which they are answered."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from naiad_proto.packed import COUNTS, FLOATS

WORDS = pa.dictionary(pa.int32(), pa.string())
BUCKETS = pa.schema(
    [("place", pa.uint32()), ("path", WORDS)]
    + [(name, pa.float64()) for name in FLOATS]
    + [(name, pa.uint64()) for name in COUNTS]
)


@dataclass(frozen=True, slots=True)
class Grid:
    """Columns of 2**k units on one absolute grid, so that those of all widths nest. `first` and
    `last` are numbers of columns, both in."""

    k: int
    first: int
    last: int

    @classmethod
    def over(cls, low: int, high: int, columns: int) -> Grid:
        """At least `columns` columns over [low, high], where it has so many units, and at most
        about twice as many."""
        width = max(1, (high - low + 1) // columns)
        k = width.bit_length() - 1
        return cls(k, low >> k, high >> k)

    @property
    def low(self) -> int:
        return self.first << self.k

    @property
    def high(self) -> int:
        """The last unit that is in."""
        return ((self.last + 1) << self.k) - 1
