"""Packed columns and points become whole rows, in order, whatever they come in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from naiad_proto import packed

_Y = st.sampled_from([0.0, -0.0, 1.5, 2.0, -3.25, 1e300, math.nan, math.inf, -math.inf])


@st.composite
def charts(draw: Any) -> tuple[packed.Grid, list[int], list[tuple[int, int, float]], Any]:
    """A grid, places of three runs with two paths each, points (series, x, y), and randomness."""
    k = draw(st.sampled_from([0, 1, 5, 20, 33]))
    grid = packed.Grid(k, draw(st.integers(0, 3)) << draw(st.integers(0, 20)), 1_000_000)
    places = draw(st.permutations(range(3)))
    begin = grid.first << k
    where = draw(
        st.sets(st.tuples(st.integers(0, 5), st.integers(0, min((7 << k), 1 << 36))), max_size=60)
    )
    points = [(series, begin + x, draw(_Y)) for series, x in sorted(where)]
    return grid, places, points, draw(st.randoms())


def by_hand(points: Sequence[tuple[int, int, float]], grid: packed.Grid) -> dict[str, Any]:
    """One column's numbers, of its points in order."""
    fine = [(x, y) for _, x, y in points if math.isfinite(y)]
    found: dict[str, Any] = {
        "finite_count": len(fine),
        "nan_count": sum(math.isnan(y) for *_, y in points),
        "positive_infinity_count": sum(y == math.inf for *_, y in points),
        "negative_infinity_count": sum(y == -math.inf for *_, y in points),
        "sum_y": math.fsum(y for _, y in fine),
    }
    if fine:
        least, most = min(y for _, y in fine), max(y for _, y in fine)
        four = {
            "first": fine[0],
            "last": fine[-1],
            "min": next(one for one in fine if one[1] == least),
            "max": next(one for one in fine if one[1] == most),
        }
        for name, (x, y) in four.items():
            # As frames have steps: of beyond 2**53 units the nearest float, and that divided.
            found[f"{name}_x"], found[f"{name}_y"] = float(x) / grid.unit, y
            found[f"{name}_at"] = x
    return found


def expected(
    points: Sequence[tuple[int, int, float]], grid: packed.Grid, turns: Any
) -> list[tuple[int, int, dict[str, Any]]]:
    """(series, column, its numbers), in order."""
    grouped = itertools.groupby(points, key=lambda one: (one[0], one[1] >> grid.k))
    rows = [(series, column, by_hand(list(some), grid)) for (series, column), some in grouped]
    return sorted(rows, key=lambda row: (turns[row[0]], row[1]))


def check(made: packed.Unpacked, wanted: list[Any], grid: packed.Grid) -> None:
    assert made.series.tolist() == [series for series, _, _ in wanted]
    for place, (_, column, numbers) in enumerate(wanted):
        assert made.floats["from_x"][place] == (column << grid.k) / grid.unit
        assert made.floats["to_x"][place] == ((column + 1) << grid.k) / grid.unit
        for name in packed.COUNTS:
            assert made.counts[name][place] == numbers[name], name
        assert made.floats["sum_y"][place] == pytest.approx(numbers["sum_y"], abs=1e-9)
        for name in packed.FLOATS[2:-1]:
            value = made.floats[name][place]
            assert value == numbers[name] if name in numbers else math.isnan(value), name


def in_batches(rows: list[Any], schema: pa.Schema, random: Any, shuffled: bool) -> pa.Table:
    """In pieces that come in any order, and shuffled within or not."""
    if shuffled:
        random.shuffle(rows)
    cuts = sorted(random.randrange(len(rows) + 1) for _ in range(3))
    pieces = [rows[low:high] for low, high in itertools.pairwise([0, *cuts, len(rows)])]
    random.shuffle(pieces)
    return pa.Table.from_batches(
        [
            pa.record_batch(
                [
                    pa.array([row[place] for row in piece], kind)
                    for place, kind in enumerate(schema.types)
                ],
                schema=schema,
            )
            for piece in pieces
        ],
        schema,
    )


@settings(deadline=None)
@given(charts(), st.booleans())
def test_points_become_columns(chart: Any, shuffled: bool) -> None:
    grid, places, points, random = chart
    turns = packed.turns_of(places, 2)
    rows = [(series, x - (grid.first << grid.k), y) for series, x, y in points]
    table = in_batches(rows, packed.POINTS, random, shuffled)
    check(packed.unpacked(table, grid, turns), expected(points, grid, turns), grid)


@settings(deadline=None)
@given(charts(), st.booleans())
def test_columns_come_in_order(chart: Any, shuffled: bool) -> None:
    grid, places, points, random = chart
    turns = packed.turns_of(places, 2)
    wanted = expected(points, grid, turns)
    schema = packed.columns_schema(grid.k)
    rows = []
    for series, column, numbers in sorted(wanted, key=lambda row: row[:2]):
        begin = column << grid.k
        row = [series, column - grid.first]
        for name in schema.names[2:]:
            value = numbers.get(name, 0)
            if name.endswith("_x"):
                # What it says without a finite point says nothing.
                at = name.replace("_x", "_at")
                value = numbers[at] - begin if at in numbers else 12345
            row.append(value)
        rows.append(row)
    table = in_batches(rows, schema, random, shuffled)
    check(packed.unpacked(table, grid, turns), wanted, grid)


def test_turns_go_by_places_then_paths() -> None:
    # Series are path * runs + run; run 0 of the answer is the question's run 1.
    assert packed.turns_of([1, 0], 2).tolist() == [2, 0, 3, 1]


def test_a_table_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="can't have the columns \\['loss'\\]"):
        packed.unpacked(
            pa.table({"loss": np.zeros(1)}), packed.Grid(0, 0, 1), packed.turns_of([0], 1)
        )
