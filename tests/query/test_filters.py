"""The filter language, asked of the server: which runs it chooses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from support_filters import Said, askable, filters, runs_of, single_tests, spool_of
from support_query import Reading, Spool

from naiad.exceptions import NaiadQueryError
from naiad.query.client import Attributes, QueryClient, Runs

PROJECT = "team/vision"
DRAWN = "team/drawn"


RUNS = runs_of(seed=20261125, count=60)


@pytest.fixture(scope="module")
def drawn(server: Reading) -> str:
    server.write(*(spool_of(DRAWN, run) for run in RUNS))
    return DRAWN


def chosen(client: QueryClient, text: str, project: str = PROJECT) -> list[str]:
    return client.list_runs(project, Runs(filter=text))


def examples(count: int) -> settings:
    return settings(
        max_examples=count, deadline=None, suppress_health_check=list(HealthCheck)
    )  # fmt: skip


@examples(40)
@given(said=filters)
def test_a_filter_chooses_what_plain_python_chooses(
    client: QueryClient, drawn: str, said: Said
) -> None:
    expected = {run.run_id for run in RUNS if said.holds(run)}
    assert set(chosen(client, said.text, drawn)) == expected, said.text


@pytest.mark.long
@pytest.mark.one_engine
@pytest.mark.timeout(1500)
@examples(150)
@given(said=filters)
def test_and_so_do_many(client: QueryClient, drawn: str, said: Said) -> None:
    expected = {run.run_id for run in RUNS if said.holds(run)}
    assert set(chosen(client, said.text, drawn)) == expected, said.text


@examples(300)
@given(said=single_tests())
def test_what_is_refused_could_not_be_true(said: Said) -> None:
    # Of a list one value that could never be met is refused too.
    might = askable(said) or " in (" in said.text
    assert might or not any(said.holds(run) for run in RUNS), said.text


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("", ["fork", "sgd", "adam-2", "adam-1"]),
        (" \n", ["fork", "sgd", "adam-2", "adam-1"]),
        # The fork has its parent's config, and its line up to the step where it forked.
        ("lr == 1", ["fork", "adam-1"]),
        ("loss.count == 4", ["fork", "sgd"]),
        ("loss.first == 9 and loss.min == 8", ["fork"]),
        # NaN, then infinities; the preview behind them is none.
        ("loss.max == inf", ["sgd"]),
        ("loss == -inf and loss.count == 4", ["sgd"]),
        ("loss.mean exists and not loss.mean == nan", ["fork", "adam-2", "adam-1"]),
        ("depth > 1152921504606846976", ["sgd"]),
        ("depth == 1152921504606846976", []),
        ('when > "2026-02-03T04:05:06.788Z" and when < "2026-02-03T05:05:07+01:00"', ["sgd"]),
        ('log/out == "three" and log/out.first =~ "^o.e$"', ["sgd"]),
        ("readme exists and images exists and weights.count == 1", ["sgd"]),
        ('note has "\\"quoted\\""', ["sgd"]),
        ('sys/forked_from == "adam-1"', ["fork"]),
        ("sys/trained_time >= 3", ["sgd", "adam-1"]),
        ('sys/state_reason =~ "ValueError"', ["sgd"]),
        ("secret exists", []),
        ('created > ago("5000w") and not created > ago("1s")',
         ["fork", "sgd", "adam-2", "adam-1"]),
    ],
)  # fmt: skip
def test_what_filters_choose(client: QueryClient, text: str, runs: list[str]) -> None:
    assert chosen(client, text) == runs


def test_every_call_takes_a_filter(client: QueryClient) -> None:
    runs = Runs(filter='name == "sgd"')
    losses = Attributes(paths=["loss"])
    assert client.list_attributes(PROJECT, runs, Attributes("^de")) == [("depth", "int")]
    assert set(client.metrics(PROJECT, runs, losses)["run"].to_pylist()) == {"sgd"}
    assert set(client.metric_buckets(PROJECT, runs, losses)["run"].to_pylist()) == {"sgd"}
    assert set(client.series(PROJECT, runs)["run"].to_pylist()) == {"sgd"}
    assert client.run_groups(PROJECT, ["lr"], runs).table["run_count"].to_pylist() == [1]
    both = Runs(names=["sgd", "adam-1"], filter="lr < 0.5")
    assert client.runs_table(PROJECT, both)["run_id"].to_pylist() == ["sgd"]


def test_of_experiments_the_heads_are_asked(client: QueryClient) -> None:
    # adam-1 would meet it, but adam is adam-2 by now.
    assert client.list_runs(PROJECT, Runs(by_experiment=True, filter="lr == 1")) == ["forked"]
    assert client.list_runs(PROJECT, Runs(by_experiment=True, filter="lr == 0.1")) == ["adam"]


def test_a_run_whose_creation_has_not_arrived_counts(server: Reading, client: QueryClient) -> None:
    server.write(Spool("team/early", "r").set("lr", 0.1).metrics({"loss": [1.0]}))
    for text in ("lr == 0.1", "loss > 0.5", 'status == "running"', "created exists"):
        assert chosen(client, text, "team/early") == ["r"]


def test_time_goes_on(server: Reading, client: QueryClient) -> None:
    now = datetime.now(UTC)
    server.write(Spool("team/now", "r").create().set("due", now - timedelta(hours=1)))
    assert chosen(client, 'due > ago("2h")', "team/now") == ["r"]
    assert chosen(client, 'due > ago("30m")', "team/now") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr >> 1", "filter, column 5: expected a value"),
        ('lr exists and note !~ "a(b"',
         r"filter, column 23: this is not a regular expression that RE2 takes .*: missing \)"),
        # Also where no run has a text that it would be tried on.
        ('nobody =~ "[z-a]"', "filter, column 11: this is not a regular expression"),
        ("status > 3", "filter, column 10: sys/state is a string: compare it with one, in quotes"),
        ("created > 'soon'", 'column 11: sys/creation_time is a datetime: compare it with one, as'),
        ("sys/failed == 1", "column 15: sys/failed is a bool: compare it with one: true or false"),
        ("created has '2026'", "column 1: has looks into texts; sys/creation_time is a datetime"),
        ("lr > 1" + " and lr > 1" * 100, "more than 100 tests"),
    ],
)  # fmt: skip
def test_wrong_filters_are_refused_with_their_column(
    client: QueryClient, text: str, message: str
) -> None:
    for ask in (
        lambda runs: client.list_runs(PROJECT, runs),
        lambda runs: client.runs_table(PROJECT, runs),
    ):
        with pytest.raises(NaiadQueryError, match=message):
            ask(Runs(filter=text))


def test_values_and_paths_are_never_sql(client: QueryClient) -> None:
    for hostile in ("' OR 1=1 --", "{project:String}", "\\'; DROP TABLE runs", "%s", "\x00"):
        quoted = hostile.replace("\\", "\\\\").replace('"', '\\"')
        assert chosen(client, f'note == "{quoted}" or `{hostile}` == 1') == []
        assert chosen(client, f'not `{hostile}`.max > 1 and name == "sgd"') == ["sgd"]
