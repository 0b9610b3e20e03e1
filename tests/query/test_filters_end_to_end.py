"""`Filter`s, asked of a server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from naiad import query
from naiad.exceptions import NaiadQueryError
from naiad.query import runs
from naiad.query.filters import Attribute, Filter

pytestmark = pytest.mark.usefixtures("environment")


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        (Filter.eq("lr", 0.1), ["adam-2"]),
        # Numbers compare whatever their types are.
        (Filter.ge("lr", 0.1), ["fork", "adam-2", "adam-1"]),
        (Filter.ge(Attribute("lr", "int"), 0.1), ["fork", "adam-1"]),
        (Filter.ne("lr", 1), ["sgd", "adam-2"]),
        (Filter.gt("depth", 2**60), ["sgd"]),
        (Filter.lt("loss", 5), ["sgd", "adam-2"]),
        (Filter.le(Attribute("loss", aggregation="max"), 5), ["adam-2"]),
        (Filter.eq(Attribute("loss", aggregation="count"), 3), ["adam-1"]),
        (Filter.eq("note", 'a "quoted" ü'), ["sgd"]),
        (Filter.eq("ready", True), ["sgd"]),
        (Filter.lt("when", datetime(2026, 2, 4, tzinfo=UTC)), ["sgd"]),
        (Filter.gt("when", datetime(2026, 2, 4, tzinfo=UTC)), []),
        (Filter.matches("sys/custom_run_id", "^adam & !2"), ["adam-1"]),
        (Filter.contains_all("sys/tags", ["good"]), ["sgd"]),
        (Filter.contains_all("sys/tags", ["good", "old"]), []),
        (Filter.contains_none("sys/tags", "good"), ["fork", "adam-2", "adam-1"]),
        (Filter.contains_all("note", "quoted"), ["sgd"]),
        (Filter.exists("note"), ["sgd"]),
        (~Filter.exists("note") & Filter.name("adam"), ["adam-2", "adam-1"]),
        (Filter.name(["forked", "sgd"]), ["fork", "sgd"]),
        (Filter("loss.min < 4 or status = 'finished'"), ["sgd", "adam-1"]),
    ],
)  # fmt: skip
def test_chosen_runs(chosen: Filter, found: list[str]) -> None:
    assert runs.list_runs(runs=chosen) == found


def test_every_function_takes_one() -> None:
    chosen = Filter.exists("note")
    assert query.list_experiments(experiments=chosen) == ["sgd"]
    assert "weights" in runs.list_attributes(runs=chosen)
    assert list(runs.fetch_runs_table(runs=chosen).index) == ["sgd"]
    assert set(runs.fetch_metrics(runs=chosen, attributes="").index.get_level_values(0)) == {"sgd"}
    assert set(runs.fetch_series(runs=chosen, attributes="").index.get_level_values(0)) == {"sgd"}
    buckets = query.fetch_metric_buckets(experiments=chosen, y=None)
    assert set(buckets.columns.get_level_values("experiment")) == {"sgd"}
    assert set(runs.fetch_chart(runs=chosen, y=None)["run"]) == {"sgd"}
    live = runs.stream_metrics(runs=chosen, attributes=None, tail_limit=1)
    assert set(next(live)["run"]) == {"sgd"}
    live.close()


def test_a_mistake_is_pointed_at() -> None:
    with pytest.raises(NaiadQueryError, match=r"filter, column 6: expected a value.*\n.*\n +\^"):
        runs.list_runs(runs=Filter("lr > "))
