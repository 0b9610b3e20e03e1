"""What the rejections in an envelope leave out of its batch.

rejected = Rejected.of(envelope.rejections)
for index, group in enumerate(batch.groups):
    if rejected.whole_group(index):
        continue    # perhaps because its columns can't be read at all
    arrays = group_arrays(group)
    left_out = rejected.group_mask(index, *arrays.values.shape)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from naiad_proto.v1.records_pb2 import Rejection


@dataclass(frozen=True, slots=True)
class Rejected:
    """The rejections of one batch, by what they name."""

    # Group -> (path, row) of each of its rejections; None stands for all of them.
    _groups: dict[int, list[tuple[int | None, int | None]]] = field(default_factory=dict)
    # String series -> row of each of its rejections; None stands for all of them.
    _string_series: dict[int, list[int | None]] = field(default_factory=dict)
    _items: frozenset[int] = frozenset()

    @classmethod
    def of(cls, rejections: Iterable[Rejection]) -> Rejected:
        """Raises ValueError for one that names nothing: nobody could say what it leaves out."""
        groups = defaultdict[int, list[tuple[int | None, int | None]]](list)
        string_series = defaultdict[int, list[int | None]](list)
        items: set[int] = set()
        for rejection in rejections:
            path = rejection.path_index if rejection.HasField("path_index") else None
            row = rejection.row_index if rejection.HasField("row_index") else None
            match rejection.WhichOneof("item"):
                case "group_index":
                    groups[rejection.group_index].append((path, row))
                case "string_series_index":
                    string_series[rejection.string_series_index].append(row)
                case "item_index":
                    items.add(rejection.item_index)
                case _:
                    raise ValueError(f"a rejection names nothing: {rejection.message!r}")
        return cls(dict(groups), dict(string_series), frozenset(items))

    def whole_group(self, index: int) -> bool:
        """Is all of the group left out? Its columns need not be readable then."""
        return (None, None) in self._groups.get(index, ())

    def group_mask(self, index: int, paths: int, rows: int) -> npt.NDArray[np.bool_] | None:
        """bool[paths, rows], True where a point is left out; None when none is."""
        named = self._groups.get(index)
        if not named:
            return None
        mask = np.zeros((paths, rows), dtype=np.bool_)
        for path, row in named:
            mask[
                slice(None) if path is None else slice(path, path + 1),
                slice(None) if row is None else slice(row, row + 1),
            ] = True
        return mask

    def whole_string_series(self, index: int) -> bool:
        """Is all of the string series left out? Its columns need not be readable then."""
        return None in self._string_series.get(index, ())

    def string_rows(self, index: int, rows: int) -> npt.NDArray[np.bool_] | None:
        """bool[rows], True where a row is left out; None when none is."""
        named = self._string_series.get(index)
        if not named:
            return None
        mask = np.zeros(rows, dtype=np.bool_)
        for row in named:
            mask[slice(None) if row is None else slice(row, row + 1)] = True
        return mask

    def item(self, index: int) -> bool:
        """Is the item left out?"""
        return index in self._items
