"""Runs that go on: resumed by id, forked, with steps that come late, twice or as previews; from
the call to the rows of a real store."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support_naiad import LONGER, wait_until
from support_runs import PROJECT, own_settings, plain_run, sending_to
from support_server import Server, serving

import naiad
from naiad_store import Store
from naiad_store.selects import inheritance
from naiad_store.selects.attributes import Attribute, What
from naiad_store.selects.points import metric_points
from naiad_store.selects.runs import Which, lives_of, select_runs
from naiad_store.selects.scope import Scope


@pytest.fixture
def server(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    own_settings(monkeypatch, tmp_path / "root")
    with serving(tmp_path / "server", store) as server, sending_to(server, monkeypatch):
        yield server


@pytest.fixture
def begin(server: Server) -> Callable[..., naiad.Run]:
    def begin(run_id: str = "r", **options: Any) -> naiad.Run:
        return plain_run(run_id=run_id, **options)

    return begin


def stored(run: naiad.Run) -> None:
    assert run.wait_for_processing(timeout=30 * LONGER)
    run.close()


def points(store: Store, run_id: str = "r", *, previews: bool = True) -> dict[float, float]:
    """Of the path `a`, as a reader gets them."""
    found: dict[float, float] = {}
    runs = select_runs(store, PROJECT, Which(names=[run_id]))
    for batch in metric_points(
        store, Scope.of(store, PROJECT, runs), ["a"], include_previews=previews
    ):
        rows = batch.to_pydict()
        found |= dict(zip((x / 1e6 for x in rows["x"]), rows["value"], strict=True))
    return found


def test_a_resumed_run_goes_on(begin: Callable[..., naiad.Run], store: Store) -> None:
    for turn in range(3):
        run = begin()
        for step in range(turn * 10, turn * 10 + 10):
            run.log_metrics({"a": step}, step=step)
        stored(run)
    assert points(store) == {float(step): float(step) for step in range(30)}
    (row,) = select_runs(store, PROJECT, Which(names=["r"]))
    wait_until(
        lambda: lives_of(store, PROJECT, [row.run])[row.run].state == "finished", 20, "the end"
    )


def test_late_and_repeated_steps_are_data_and_the_last_call_counts(
    begin: Callable[..., naiad.Run], store: Store
) -> None:
    run = begin()
    for step, value in ((10, 1), (3, 2), (10, 3), (7.5, 4), (3, math.nan), (0, 5)):
        run.log_metrics({"a": value}, step=step)
    stored(run)
    found = points(store)
    assert math.isnan(found.pop(3.0))
    assert found == {0: 5, 7.5: 4, 10: 3}
    # A writer that came later is the newer one, whatever its timestamps say.
    run = begin()
    run.log_metrics({"a": 30}, step=3, timestamp=1.0)
    stored(run)
    assert points(store) == {0: 5, 3: 30, 7.5: 4, 10: 3}


def test_a_committed_point_beats_any_preview(begin: Callable[..., naiad.Run], store: Store) -> None:
    run = begin()
    run.log_metrics({"a": 1}, step=0)
    run.log_metrics({"a": 2}, step=0, preview=True, preview_completion=0.9)
    run.log_metrics({"a": 3}, step=1, preview=True, preview_completion=0.1)
    run.log_metrics({"a": 4}, step=1, preview=True, preview_completion=0.5)
    run.log_metrics({"a": 5}, step=2, preview=True)
    run.log_metrics({"a": 6}, step=2)
    stored(run)
    assert points(store) == {0: 1, 1: 4, 2: 6}
    assert points(store, previews=False) == {0: 1, 2: 6}
    # Nor does one of a later life.
    run = begin()
    run.log_metrics({"a": 7}, step=2, preview=True)
    run.log_metrics({"a": 8}, step=1)
    stored(run)
    assert points(store) == {0: 1, 1: 8, 2: 6}


@pytest.mark.parametrize("inherit", [True, False])
def test_a_fork_continues_its_parent(
    begin: Callable[..., naiad.Run], store: Store, inherit: bool
) -> None:
    parent = begin("parent")
    parent.log_configs({"lr": 0.5, "depth": 3})
    for step in range(5):
        parent.log_metrics({"a": step}, step=step)
    stored(parent)
    for turn in range(2):
        fork = begin("fork", fork_run_id="parent", fork_step=2, inherit_configs=inherit)
        fork.log_configs({"lr": 0.1})
        # Again in its second life, as a script that is restarted does.
        fork.log_metrics({"a": 100 + turn}, step=3)
        stored(fork)
    assert points(store, "fork") == {0: 0, 1: 1, 2: 2, 3: 101}
    assert points(store, "parent") == {float(step): float(step) for step in range(5)}
    runs = select_runs(store, PROJECT, Which(names=["fork"]))
    columns = inheritance.columns(store, PROJECT, runs, What(paths=["lr", "depth"]))
    assert columns[Attribute("lr", "float")].to_pylist() == [0.1]
    assert (Attribute("depth", "int") in columns) == inherit
