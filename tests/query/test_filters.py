"""The filter language, asked of the server: which runs it chooses."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from support_filters import Said, askable, filters, runs_of, single_tests, spool_of
from support_query import Reading

from naiad.query.client import QueryClient, Runs

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
@examples(400)
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
