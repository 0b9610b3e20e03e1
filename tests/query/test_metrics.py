"""Points of metrics, every one of them."""

from __future__ import annotations

import math
import random
from typing import Any

import pyarrow as pa
import pytest
from support_query import BEGIN, Reading, Spool

from naiad.exceptions import NaiadQueryError
from naiad.query.client import Attributes, QueryClient, Runs

PROJECT = "team/vision"


def points(table: pa.Table) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """(step, value) of each (run, path)."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in table.to_pylist():
        found.setdefault((row["run"], row["path"]), []).append((row["step"] / 1e6, row["value"]))
    return found


def test_columns_and_order(client: QueryClient) -> None:
    table = client.metrics(PROJECT)
    words = pa.dictionary(pa.int32(), pa.string())
    assert table.schema == pa.schema(
        [
            ("run", words), ("path", words), ("step", pa.int64()),
            ("timestamp", pa.timestamp("ms", "UTC")), ("value", pa.float64()),
            ("preview", pa.bool_()), ("preview_completion", pa.float64()),
        ]
    )  # fmt: skip
    assert list(points(table)) == [
        ("fork", "loss"), ("sgd", "loss"), ("adam-2", "acc"), ("adam-2", "loss"),
        ("adam-1", "loss"),
    ]  # fmt: skip
    assert points(table)["adam-2", "acc"] == [(0, 0.5), (1, 0.6)]


def test_nan_and_infinities_come_back(client: QueryClient) -> None:
    found = points(client.metrics(PROJECT, Runs(names=["sgd"])))["sgd", "loss"]
    assert [step for step, _ in found] == [0, 0.5, 1, 1.5]
    assert repr([value for _, value in found]) == "[1.0, nan, inf, -inf]"


def test_a_fork_has_its_parents_points_up_to_the_fork(client: QueryClient) -> None:
    fork = Runs(names=["fork"])
    assert points(client.metrics(PROJECT, fork)) == {
        ("fork", "loss"): [(0, 9.0), (1, 8.0), (2, 70.0), (3, 60.0)]
    }
    assert points(client.metrics(PROJECT, fork, own_points_only=True)) == {
        ("fork", "loss"): [(2, 70.0), (3, 60.0)]
    }


def test_a_chain_of_forks(server: Reading, client: QueryClient) -> None:
    root = Spool("team/chain", "root").create().metrics({"v": [0.0, 1, 2, 3, 4]})
    child = Spool("team/chain", "child").create(fork=("root", 3))
    child.metrics({"v": [12.0, 14]}, steps=[2, 4]).metrics({"w": [1.0]}, steps=[9])
    # Of child's points only those up to here, and of root's those that child has too.
    grandchild = Spool("team/chain", "grandchild").create(fork=("child", 2.5))
    grandchild.metrics({"v": [23.0]}, steps=[3])
    orphan = Spool("team/chain", "orphan").create(fork=("nobody", 3)).metrics({"v": [7.0]})
    looped = Spool("team/chain", "looped").create(fork=("looped", 3)).metrics({"v": [8.0]})
    server.write(root, child, grandchild, orphan, looped)
    assert points(client.metrics("team/chain")) == {
        ("looped", "v"): [(0, 8)],
        ("orphan", "v"): [(0, 7)],
        ("grandchild", "v"): [(0, 0), (1, 1), (2, 12), (3, 23)],
        ("child", "v"): [(0, 0), (1, 1), (2, 12), (3, 3), (4, 14)],
        ("child", "w"): [(9, 1)],
        ("root", "v"): [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)],
    }


def test_by_experiment_points_are_the_heads(client: QueryClient) -> None:
    found = points(client.metrics(PROJECT, Runs(pattern="^adam$", by_experiment=True)))
    assert found == {("adam", "acc"): [(0, 0.5), (1, 0.6)], ("adam", "loss"): [(0, 5), (1, 4)]}


@pytest.mark.parametrize(
    ("begin", "end", "steps"),
    [
        (None, None, [0, 0.5, 1, 1.5]),
        (500_000, None, [0.5, 1, 1.5]),
        (500_001, 1_499_999, [1]),
        (None, 500_000, [0, 0.5]),
        (0, 0, [0]),
        (2_000_000, None, []),
        (-5, -1, []),
        (None, 2**60, [0, 0.5, 1, 1.5]),
        (2**60, 2**62, []),
    ],
)
def test_a_range_of_steps_has_both_ends(
    client: QueryClient, begin: int | None, end: int | None, steps: list[float]
) -> None:
    table = client.metrics(PROJECT, Runs(names=["sgd"]), steps=(begin, end))
    assert [step for step, _ in points(table).get(("sgd", "loss"), [])] == steps


def test_a_range_that_ends_before_it_begins_is_refused(client: QueryClient) -> None:
    with pytest.raises(NaiadQueryError, match="step_range begins at 2 and ends before that, at 1"):
        client.metrics(PROJECT, steps=(2_000_000, 1_000_000))


def test_the_tail_is_of_each_series(client: QueryClient) -> None:
    found = points(client.metrics(PROJECT, Runs(pattern="^(adam|fork)"), tail_limit=1))
    assert found == {
        ("fork", "loss"): [(3, 60)], ("adam-2", "acc"): [(1, 0.6)],
        ("adam-2", "loss"): [(1, 4)], ("adam-1", "loss"): [(2, 7)],
    }  # fmt: skip
    # A fork's may reach back into its parent.
    found = points(client.metrics(PROJECT, Runs(names=["fork"]), tail_limit=3))
    assert found["fork", "loss"] == [(1, 8), (2, 70), (3, 60)]


def test_previews_come_only_when_asked_for(client: QueryClient) -> None:
    table = client.metrics(PROJECT, Runs(names=["sgd"]), include_previews=True)
    assert table.select(["step", "value", "preview", "preview_completion"]).to_pylist()[-2:] == [
        {"step": 1_500_000, "value": -math.inf, "preview": False, "preview_completion": 1.0},
        {"step": 2_000_000, "value": 3.5, "preview": True, "preview_completion": 0.25},
    ]


def test_a_committed_point_beats_every_preview(server: Reading, client: QueryClient) -> None:
    run = Spool("team/previews", "r").create()
    run.metrics({"v": [1.0]}, steps=[1]).metrics({"v": [2.0]}, steps=[1], completions=[0.9])
    run.metrics({"v": [3.0]}, steps=[2], completions=[0.1])
    run.metrics({"v": [4.0]}, steps=[2], completions=[0.2])
    server.write(run)
    assert points(client.metrics("team/previews")) == {("r", "v"): [(1, 1)]}
    table = client.metrics("team/previews", include_previews=True)
    assert table.select(["value", "preview", "preview_completion"]).to_pylist() == [
        {"value": 1.0, "preview": False, "preview_completion": 1.0},
        {"value": 4.0, "preview": True, "preview_completion": 0.2},
    ]


@pytest.mark.parametrize("seed", range(3))
def test_the_last_call_for_a_step_counts_in_whatever_order_they_arrive(
    server: Reading, client: QueryClient, seed: int
) -> None:
    shuffled = random.Random(seed)
    project = f"team/overwritten-{seed}"
    run, wanted = Spool(project, "r").create(), {}
    for call in range(30):
        step = shuffled.randrange(8)
        run.metrics({"v": [float(call)]}, steps=[step])
        wanted[step] = float(call)
    shuffled.shuffle(run.batches)
    again = list(run.batches[:10])
    server.write(run)
    # Some arrive once more, in a log of their own.
    run.batches.extend(again)
    server.write(run)
    assert points(client.metrics(project)) == {("r", "v"): sorted(wanted.items())}


def test_the_newer_writer_counts_not_the_later_clock(server: Reading, client: QueryClient) -> None:
    older = Spool("team/epochs", "r").create().metrics({"v": [1.0]}, times=[BEGIN + 9_000_000])
    newer = Spool("team/epochs", "r").metrics({"v": [2.0]}, times=[BEGIN - 9_000_000])
    server.write(newer)
    server.write(older)
    (row,) = client.metrics("team/epochs").to_pylist()
    assert row["value"] == 2.0
    assert row["timestamp"].timestamp() * 1000 == BEGIN - 9_000_000


def test_steps_and_times_are_exact(server: Reading, client: QueryClient) -> None:
    steps = [0, 0.000001, 0.1, 123_456.789, 999_999_999_999]
    run = Spool("team/exact", "r").create()
    run.metrics({"v": [0.1] * 5}, steps=steps, times=[BEGIN + number for number in range(5)])
    server.write(run)
    table = client.metrics("team/exact")
    assert table["step"].to_pylist() == [
        0, 1, 100_000, 123_456_789_000, 999_999_999_999_000_000,
    ]  # fmt: skip
    times: list[Any] = table["timestamp"].to_pylist()
    assert [round(one.timestamp() * 1000) - BEGIN for one in times] == [0, 1, 2, 3, 4]


def test_other_types_and_missing_paths_have_no_points(client: QueryClient) -> None:
    for wanted in (
        Attributes(paths=["lr", "log/out", "nothing"]),
        Attributes("loss", types=["string"]),
        Attributes(paths=[]),
    ):
        table = client.metrics(PROJECT, attributes=wanted)
        assert (table.num_rows, len(table.column_names)) == (0, 7)


def test_too_many_runs_are_refused_with_the_limit(
    client: QueryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("naiad_query.asking.MAX_RUNS_WITH_POINTS", 3)
    with pytest.raises(NaiadQueryError, match="4 runs are chosen; points of at most 3 are given"):
        client.metrics(PROJECT)


def test_many_points_come_in_many_chunks(server: Reading, client: QueryClient) -> None:
    values = [float(number) for number in range(200_000)]
    server.write(Spool("team/long", "r").create().metrics({"a": values, "b": values[::-1]}))
    table = client.metrics("team/long")
    assert table["value"].to_pylist() == values + values[::-1]
    assert table["path"].to_pylist() == ["a"] * 200_000 + ["b"] * 200_000
