"""`naiad store check` finds what is wrong with rollups, whatever made it so."""

from __future__ import annotations

import numpy as np
import pytest
from support_query import Spool
from support_rolling import Owner

from naiad_store import Store
from naiad_store.layout import local_name
from naiad_store.rollupcheck import check_rollups, forget_rollups
from naiad_store.selects.rolled import rolled

PROJECT = "team/checked"


@pytest.fixture
def made(store: Store) -> Store:
    """Three long series, two of which went on and were overwritten between rolls."""
    owner = Owner(store, long=500)
    spools = [Spool(PROJECT, f"run-{number}").create() for number in range(3)]
    rng = np.random.default_rng(1)
    for begin, count in ((0, 8000), (8000, 1000), (4000, 50)):
        for number, spool in enumerate(spools[: 3 if not begin else 2]):
            values = rng.normal(size=count + number)
            spool.metrics({"loss": list(values)}, steps=list(range(begin, begin + len(values))))
        owner.write(*spools)
        owner.roll()
    return store


def rollups(store: Store) -> str:
    """Where the rows are: a Distributed table has none of its own."""
    return local_name("rollups", store.address.cluster, store.database)


def test_what_is_right_is_found_right(made: Store) -> None:
    check = check_rollups(made, seed=1)
    assert check.problems == []
    assert check.series == 3
    assert check.rows > 300


def test_a_wrong_number_is_found(made: Store) -> None:
    made.command(
        f"ALTER TABLE {rollups(made)} UPDATE max_y = max_y + 1 WHERE k >= 30"
        " SETTINGS mutations_sync = 1"
    )
    check = check_rollups(made, seed=2)
    assert len(check.problems) >= 3
    assert "the rollup says max_y = " in check.problems[0]


def test_a_missing_row_is_found(made: Store) -> None:
    made.command(f"DELETE FROM {rollups(made)} WHERE bucket % 16 = 3")
    assert "and points in" in check_rollups(made, seed=3).problems[0]


def test_a_point_that_nobody_marked_is_found(made: Store) -> None:
    rows = made.query(
        "SELECT project, path, run, step, ts, 1e9 AS value, completion, version + 1 AS version"
        " FROM points FINAL WHERE reinterpret(step, 'Int64') % 8000000 = 0"
    )
    made.insert("points", rows)
    assert check_rollups(made, seed=4).problems


def test_forgotten_rollups_are_made_again(made: Store) -> None:
    keys = made.query("SELECT DISTINCT run FROM points").column(0).to_pylist()
    assert len(rolled(made, PROJECT, keys, ["loss"])) == 3
    forget_rollups(made)
    assert rolled(made, PROJECT, keys, ["loss"]) == {}
    owner = Owner(made, long=500)
    owner.roll()
    assert len(rolled(made, PROJECT, keys, ["loss"])) == 3
    assert check_rollups(made, seed=5).problems == []
