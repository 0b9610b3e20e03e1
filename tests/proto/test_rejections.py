"""What rejections leave out: exactly what their indices name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad_proto.rejections import Rejected
from naiad_proto.v1.records_pb2 import Rejection

INDEX = st.integers(0, 3)
MAYBE = st.none() | INDEX


@st.composite
def rejections(draw: st.DrawFn) -> Rejection:
    kind = draw(st.sampled_from(["group_index", "string_series_index", "item_index"]))
    rejection = Rejection(**{kind: draw(INDEX)}, row_index=draw(MAYBE))
    if kind == "group_index" and (path := draw(MAYBE)) is not None:
        rejection.path_index = path
    return Rejection.FromString(rejection.SerializeToString())


def named(rejection: Rejection, field: str, index: int) -> bool:
    """An absent index stands for all."""
    return not rejection.HasField(field) or getattr(rejection, field) == index


@given(st.lists(rejections()))
def test_masks_hold_what_the_indices_name_and_nothing_else(given_: list[Rejection]) -> None:
    rejected = Rejected.of(given_)
    for index in range(4):
        groups = [r for r in given_ if r.HasField("group_index") and r.group_index == index]
        expected = [
            [
                any(named(r, "path_index", path) and named(r, "row_index", row) for r in groups)
                for row in range(4)
            ]
            for path in range(4)
        ]
        mask = rejected.group_mask(index, 4, 4)
        assert (mask is None) == (not groups)
        assert np.array_equal(np.zeros((4, 4), bool) if mask is None else mask, expected)
        assert rejected.whole_group(index) == any(
            not r.HasField("path_index") and not r.HasField("row_index") for r in groups
        )

        strings = [
            r
            for r in given_
            if r.HasField("string_series_index") and r.string_series_index == index
        ]
        rows = rejected.string_rows(index, 4)
        assert (rows is None) == (not strings)
        expected_rows = [any(named(r, "row_index", row) for r in strings) for row in range(4)]
        assert np.array_equal(np.zeros(4, bool) if rows is None else rows, expected_rows)
        assert rejected.whole_string_series(index) == any(
            not r.HasField("row_index") for r in strings
        )
        assert rejected.item(index) == any(
            r.HasField("item_index") and r.item_index == index for r in given_
        )


def test_nothing_rejected_costs_no_mask() -> None:
    rejected = Rejected.of([])
    assert rejected.group_mask(0, 1000, 1000) is None
    assert rejected.string_rows(0, 1000) is None
    assert not rejected.whole_group(0)
    assert not rejected.item(0)


def test_a_rejection_that_names_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="lost"):
        Rejected.of([Rejection(message="lost")])
