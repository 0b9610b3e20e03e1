"""Columns as bytes and back, and what bytes that don't fit are told."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from naiad_proto.series import build_group, build_string_series, group_arrays, string_arrays
from naiad_proto.v1.records_pb2 import SeriesGroup, StringSeries

INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def groups(draw: st.DrawFn) -> dict[str, npt.NDArray[np.generic]]:
    paths, rows = draw(st.integers(0, 4)), draw(st.integers(0, 6))
    ints = st_numpy.arrays(np.int64, rows, elements=INT64)
    offsets = st_numpy.arrays(np.uint32, rows)
    return {
        "steps": draw(ints),
        "timestamps": draw(ints),
        "values": draw(st_numpy.arrays(np.float64, (paths, rows))),
        "record_offsets": draw(offsets),
    }


@given(groups(), st.integers(1, 2**44 - 1))
def test_a_group_comes_back_through_the_wire(
    columns: dict[str, npt.NDArray[np.generic]], first: int
) -> None:
    paths = [f"path {index}" for index in range(len(columns["values"]))]
    built = build_group(paths, first_record=first, **columns)
    arrays = group_arrays(SeriesGroup.FromString(built.SerializeToString()))
    assert np.array_equal(arrays.steps, columns["steps"])
    assert np.array_equal(arrays.timestamps, columns["timestamps"])
    # To the bit, NaN's included.
    assert arrays.values.tobytes() == columns["values"].tobytes()
    assert arrays.values.shape == columns["values"].shape
    expected = [first + int(offset) for offset in columns["record_offsets"]]
    assert arrays.records.tolist() == expected
    assert arrays.completions is None


def test_the_layout_that_other_languages_write() -> None:
    group = SeriesGroup(
        paths=["a", "b"],
        steps=bytes.fromhex("40420f0000000000 80841e0000000000"),
        timestamps=bytes.fromhex("0068e5cf8b010000 0168e5cf8b010000"),
        # a: 1.0, 2.0; b: -0.5, NaN
        values=bytes.fromhex("000000000000f03f 0000000000000040 000000000000e0bf 000000000000f87f"),
        first_record=7,
        preview=True,
        preview_completions=bytes.fromhex("0000000000000000 000000000000e03f"),
    )
    arrays = group_arrays(group)
    assert arrays.steps.tolist() == [1_000_000, 2_000_000]
    assert arrays.timestamps.tolist() == [1_700_000_000_000, 1_700_000_000_001]
    assert arrays.values[0].tolist() == [1.0, 2.0]
    assert arrays.values[1, 0] == -0.5
    assert np.isnan(arrays.values[1, 1])
    assert arrays.records.tolist() == [7, 8]
    assert arrays.completions is not None
    assert arrays.completions.tolist() == [0.0, 0.5]


@given(
    st.integers(0, 3), *[st.integers(0, 40).map(bytes)] * 5, st.booleans(),
    st.integers(0, 2**64 - 1),
)  # fmt: skip
def test_any_bytes_give_columns_that_fit_or_a_sentence(
    paths: int, steps: bytes, timestamps: bytes, values: bytes, offsets: bytes,
    completions: bytes, preview: bool, first: int,
) -> None:  # fmt: skip
    group = SeriesGroup(
        paths=[str(index) for index in range(paths)], steps=steps, timestamps=timestamps,
        values=values, record_offsets=offsets, preview_completions=completions, preview=preview,
        first_record=first,
    )  # fmt: skip
    try:
        arrays = group_arrays(group)
    except ValueError as error:
        event(str(error).split(" ")[0])
        return
    rows = len(steps) // 8
    assert arrays.values.shape == (paths, rows)
    assert len(arrays.steps) == len(arrays.timestamps) == len(arrays.records) == rows
    assert arrays.completions is None or len(arrays.completions) == rows
    assert all(int(record) >= first for record in arrays.records)


@pytest.mark.parametrize(
    ("column", "data", "said"),
    [
        ("steps", bytes(17), "steps has 17 bytes"),
        ("timestamps", bytes(8), "timestamps has 8 bytes"),
        ("values", bytes(24), "values has 24 bytes; 2 paths x 2"),
        ("record_offsets", bytes(4), "record_offsets has 4 bytes"),
        ("preview_completions", bytes(8), "preview is not set"),
        ("first_record", 2**64 - 1, "first_record"),
    ],
)
def test_a_wrong_column_is_named(column: str, data: bytes | int, said: str) -> None:
    group = build_group(
        ["a", "b"], steps=[0, 1], timestamps=[0, 0], values=np.zeros((2, 2)), first_record=1
    )
    setattr(group, column, data)
    with pytest.raises(ValueError, match=said):
        group_arrays(group)


@given(st.lists(st.text()), st.integers(1, 2**44 - 1))
def test_a_string_series_comes_back_through_the_wire(values: list[str], first: int) -> None:
    rows = np.arange(len(values), dtype=np.int64)
    built = build_string_series("a", values, steps=rows, timestamps=rows * 2, first_record=first)
    series = StringSeries.FromString(built.SerializeToString())
    arrays = string_arrays(series)
    assert list(series.values) == values
    assert np.array_equal(arrays.steps, rows)
    assert np.array_equal(arrays.timestamps, rows * 2)
    assert arrays.records.tolist() == [first + index for index in range(len(values))]


def test_a_string_series_of_other_lengths_is_refused() -> None:
    series = build_string_series(
        "a", ["x", "y"], steps=[0, 1], timestamps=[0, 0], first_record=1, record_offsets=[0, 5]
    )
    assert string_arrays(series).records.tolist() == [1, 6]
    series.values.append("z")
    with pytest.raises(ValueError, match="steps has 16 bytes"):
        string_arrays(series)


def test_builders_refuse_arrays_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"values have shape \(2, 1\)"):
        build_group(["a"], steps=[0], timestamps=[0], values=[[1.0], [2.0]], first_record=1)
    with pytest.raises(ValueError, match="timestamps"):
        build_group(["a"], steps=[0], timestamps=[0, 1], values=[[1.0]], first_record=1)
    with pytest.raises(ValueError, match="steps"):
        build_string_series("a", ["x"], steps=[0, 1], timestamps=[0], first_record=1)
