"""M4 buckets are what a plain model makes of all points."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_buckets import check, widened, width_of
from support_query import BEGIN, Reading, Spool

from naiad.exceptions import NaiadQueryError
from naiad.query.client import Attributes, QueryClient, Runs
from naiad_proto.v1.query_pb2 import FetchMetricBucketsRequest
from naiad_store.selects.buckets import Grid

PROJECT = "team/vision"
_NUMBERS = itertools.count()
VALUES = st.one_of(
    st.floats(-1e300, 1e300),
    # Ties, and what is no number.
    st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, -math.inf]),
)


@dataclass
class Series:
    """Points as they were logged: (micro-step, milliseconds, value), later ones overwrite."""

    logged: list[tuple[int, int, float]]

    def points(self) -> list[tuple[int, int, float]]:
        return sorted({point[0]: point for point in self.logged}.values())


@st.composite
def series(draw: st.DrawFn) -> Series:
    # Micro-steps next to each other, whole steps, and far apart.
    width = draw(st.sampled_from([1, 7, 250_000, 1_000_000, 10**10]))
    steps = st.integers(0, draw(st.sampled_from([3, 40, 10**5]))).map(lambda n: n * width)
    times = st.integers(0, draw(st.sampled_from([2, 5000, 10**7]))).map(lambda n: BEGIN + n)
    return Series(draw(st.lists(st.tuples(steps, times, VALUES), min_size=1, max_size=60)))


@pytest.fixture(scope="module")
def written(server: Reading) -> Any:
    def write(given: Series, fork_at: int | None, own: Series) -> str:
        project = f"team/buckets-{next(_NUMBERS)}"
        parent = Spool(project, "parent").create()
        child = Spool(project, "child").create(
            fork=None if fork_at is None else ("parent", fork_at / 1e6)
        )
        for spool, one in ((parent, given), (child, own)):
            steps, times, values = zip(*one.logged, strict=True)
            spool.metrics({"v": values}, steps=[step / 1e6 for step in steps], times=times)
        server.write(parent, child)
        return project

    return write


@pytest.mark.one_engine
@settings(
    max_examples=10, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    of_parent=series(),
    own=series(),
    fork_at=st.none() | st.integers(0, 10**7),
    columns=st.sampled_from([1, 2, 5, 37, 1000]),
    zoom=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
)
def test_every_axis_width_and_zoom(
    written: Any, client: QueryClient, of_parent: Series, own: Series, fork_at: int | None,
    columns: int, zoom: list[float],
) -> None:  # fmt: skip
    project = written(of_parent, fork_at, own)
    inherited = [] if fork_at is None else [p for p in of_parent.points() if p[0] <= fork_at]
    runs = {
        "parent": of_parent.points(),
        "child": sorted({point[0]: point for point in [*inherited, *own.points()]}.values()),
    }
    for axis, unit in (("step", 10**6), ("time", 1000), ("relative_time", 1000)):
        placed = {}
        for run, points in runs.items():
            base = min(at for _, at, _ in points) if axis == "relative_time" else 0
            placed[run] = [
                (step if axis == "step" else at - base, step, value) for step, at, value in points
            ]
        everything = [point[0] for points in placed.values() for point in points]
        low, high = (0 if axis == "relative_time" else min(everything)), max(everything)
        asked = [
            (None, None, low, high),
            # A part of the range, in units of the axis.
            *[(begin / unit, end / unit, begin, end)
              for begin, end in [[low + int((high - low) * part) for part in zoom]]],
        ]  # fmt: skip
        for from_x, to_x, begin, end in asked:
            table = client.metric_buckets(
                project, x=axis, from_x=from_x, to_x=to_x, max_buckets=columns
            )  # type: ignore[arg-type]
            if from_x is not None:
                begin, end = math.floor(from_x * unit), math.ceil(to_x * unit)
            rows = table.to_pylist()
            for run, points in placed.items():
                mine = [row for row in rows if row["run"] == run]
                if not mine:
                    # No point in it, not even in its outermost columns.
                    assert not [p for p in points if begin <= p[0] <= end]
                    continue
                width = width_of(mine[0], unit)
                check(mine, widened(points, begin, end, width), unit)
                span = end - begin + 1
                there = end // width - begin // width + 1
                assert there >= min(columns, span)
                assert there <= 2 * columns + 1


@given(low=st.integers(-(2**61), 2**61), span=st.integers(1, 2**61), columns=st.integers(1, 10_000))
def test_a_grid_is_whole_columns_at_least_as_many_as_asked_for(
    low: int, span: int, columns: int
) -> None:
    grid = Grid.over(low, low + span - 1, columns)
    assert grid.low <= low
    assert grid.high >= low + span - 1
    assert grid.low % (1 << grid.k) == 0
    assert (grid.high + 1) % (1 << grid.k) == 0
    assert min(columns, span) <= grid.last - grid.first + 1 <= 2 * columns + 1


def test_a_column_without_finite_points_counts_the_others(client: QueryClient) -> None:
    table = client.metric_buckets(PROJECT, Runs(names=["sgd"]), max_buckets=1)
    first, second = table.to_pylist()
    assert (first["from_x"], first["to_x"], second["to_x"]) == (0, 1.048576, 2.097152)
    assert [first[name] for name in table.column_names[-4:]] == [1, 1, 1, 0]
    assert [second[name] for name in table.column_names[-4:]] == [0, 0, 0, 1]
    assert math.isnan(second["first_y"])
    assert second["sum_y"] == 0


def test_previews_count_only_when_asked_for(client: QueryClient) -> None:
    def last(**asked: bool) -> float:
        rows = client.metric_buckets(PROJECT, Runs(names=["sgd"]), **asked).to_pylist()
        return float([row["last_y"] for row in rows if row["finite_count"]][-1])

    assert last() == 1.0
    assert last(include_previews=True) == 3.5


def test_own_points_only(client: QueryClient) -> None:
    table = client.metric_buckets(PROJECT, Runs(names=["fork"]), own_points_only=True)
    assert table["first_x"].to_pylist() == [2.0, 3.0]


@pytest.mark.parametrize("columns", [1, 7, 10_000])
def test_whoever_cannot_unpack_gets_the_same(client: QueryClient, columns: int) -> None:
    request = FetchMetricBucketsRequest(
        project=PROJECT,
        runs=Runs().message(),
        attributes=Attributes().message(),
        max_buckets=columns,
    )
    plain = list(client._stub.FetchMetricBuckets(request))
    assert not plain[0].HasField("packed")
    table = pa.ipc.open_stream(b"".join(one.arrow for one in plain)).read_all()
    assert table.num_rows
    packed = client.metric_buckets(PROJECT, max_buckets=columns)
    # NaN isn't NaN's like.
    assert packed.to_pandas().astype(str).equals(table.to_pandas().astype(str))


def test_by_experiment_and_in_the_questions_order(client: QueryClient) -> None:
    table = client.metric_buckets(PROJECT, Runs(by_experiment=True), Attributes("loss"))
    assert list(dict.fromkeys(table["run"].to_pylist())) == ["forked", "sgd", "adam"]


def test_nothing_there_is_an_empty_table(client: QueryClient) -> None:
    for asked in (
        {"attributes": Attributes(paths=["nothing"])},
        {"runs": Runs(names=[])},
        {"from_x": 100.0, "to_x": 200.0},
        {"from_x": 100.0},
        {"to_x": -5.0},
    ):
        table = client.metric_buckets(PROJECT, **asked)  # type: ignore[arg-type]
        assert (table.num_rows, len(table.column_names)) == (0, 17), asked


def test_far_ends_are_no_error(client: QueryClient) -> None:
    table = client.metric_buckets(PROJECT, Runs(names=["adam-1"]), from_x=-1e300, to_x=1e300)
    assert table["finite_count"].to_pylist() == [3]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"max_buckets": 10_001}, "max_buckets is 10,001; at most 10,000 are given"),
        ({"from_x": math.nan}, "from_x is nan; give a finite number or leave it out"),
        ({"to_x": math.inf}, "to_x is inf"),
        ({"from_x": 2.0, "to_x": 1.0}, "from_x is 2, beyond to_x, 1; swap them"),
    ],
)
def test_what_is_wrong_is_named(client: QueryClient, asked: Any, message: str) -> None:
    with pytest.raises(NaiadQueryError, match=message):
        client.metric_buckets(PROJECT, **asked)
