"""How many points a batch holds, and how many of them are taken."""

from __future__ import annotations

from collections.abc import Sequence

from naiad_proto.rejections import Rejected
from naiad_proto.v1.records_pb2 import Batch, Item, Rejection, SeriesGroup

_POINTS = frozenset({"histogram_point", "file_point"})


def points_of(batch: Batch) -> int:
    """Points of all kinds, those included that turn out to be bad."""
    points = sum(map(_points_of_group, batch.groups))
    points += sum(len(series.values) for series in batch.string_series)
    return points + sum(map(_is_point, batch.items))


def points_taken(batch: Batch, rejections: Sequence[Rejection]) -> int:
    """Points of all kinds but those that the rejections leave out."""
    points = points_of(batch)
    if not rejections:
        return points
    rejected = Rejected.of(rejections)
    for index, group in enumerate(batch.groups):
        held = _points_of_group(group)
        if rejected.whole_group(index):
            points -= held
        elif group.paths:
            mask = rejected.group_mask(index, len(group.paths), len(group.steps) // 8)
            points -= 0 if mask is None else int(mask.sum())
    for index, series in enumerate(batch.string_series):
        rows = rejected.string_rows(index, len(series.values))
        points -= 0 if rows is None else int(rows.sum())
    return points - sum(
        rejected.item(index) and _is_point(item) for index, item in enumerate(batch.items)
    )


def _points_of_group(group: SeriesGroup) -> int:
    # Not by its values, since protobuf copies a column to tell how long it is.
    return len(group.paths) * (len(group.steps) // 8)


def _is_point(item: Item) -> bool:
    return item.WhichOneof("kind") in _POINTS
