"""Points of a batch, and those of them that are taken."""

from __future__ import annotations

import numpy as np
import pytest
from support_batches import batch, group, text

from naiad_ingest.counting import points_of, points_taken
from naiad_ingest.validation import check_batch
from naiad_proto.v1.records_pb2 import Batch, HistogramPoint, Item, Rejection


def sent() -> Batch:
    return batch(
        group(("a", "b", "c"), rows=4),
        text("x", "y", first_record=5),
        Item(record=7, histogram_point=HistogramPoint(path="h")),
    )


def test_points_of_every_kind_count() -> None:
    assert points_of(sent()) == points_taken(sent(), []) == 3 * 4 + 2 + 1


@pytest.mark.parametrize(
    ("named", "left_out"),
    [
        ([{"group_index": 0}], 12),
        ([{"group_index": 0, "path_index": 1}], 4),
        ([{"group_index": 0, "row_index": 1}], 3),
        # A path and a row cross in one point, which is left out once.
        ([{"group_index": 0, "path_index": 1}, {"group_index": 0, "row_index": 1}], 6),
        ([{"group_index": 0, "path_index": 2, "row_index": 3}] * 2, 1),
        ([{"group_index": 0}, {"group_index": 0, "path_index": 2}], 12),
        ([{"string_series_index": 0}], 2),
        ([{"string_series_index": 0, "row_index": 1}], 1),
        ([{"item_index": 0}], 1),
    ],
)
def test_what_rejections_name_is_left_out_once(named: list[dict[str, int]], left_out: int) -> None:
    rejections = [Rejection(**one) for one in named]  # type: ignore[arg-type]
    assert points_taken(sent(), rejections) == points_of(sent()) - left_out


def test_what_validation_rejects_is_not_counted() -> None:
    bad = group(("a", ""), rows=3)
    assert points_taken(batch(bad), check_batch(batch(bad))) == 3
    # Its columns don't fit each other.
    bad.values = np.zeros(7).tobytes()
    assert points_taken(batch(bad), check_batch(batch(bad))) == 0
