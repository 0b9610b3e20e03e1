"""The filter language, asked of the server: which runs it chooses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from support_filters import Run, Said, askable, filters, runs_of, single_tests, spool_of
from support_query import BEGIN, Reading, Spool

from naiad.exceptions import NaiadQueryError
from naiad.query.client import Attributes, QueryClient, Runs
from naiad_proto.filters import FilterError
from naiad_store.selects.filters import read_filter

PROJECT = "team/vision"
DRAWN = "team/drawn"


@pytest.fixture(scope="module")
def drawn(server: Reading) -> list[Run]:
    runs = runs_of(seed=20261125, count=60)
    server.write(*(spool_of(DRAWN, run) for run in runs))
    return runs


def chosen(client: QueryClient, text: str, project: str = PROJECT) -> list[str]:
    return client.list_runs(project, Runs(filter=text))


_THOROUGH = settings(
    max_examples=200, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@_THOROUGH
@given(said=filters)
def test_a_filter_chooses_what_plain_python_chooses(
    client: QueryClient, drawn: list[Run], said: Said
) -> None:
    expected = {run.run_id for run in drawn if said.holds(run)}
    assert set(chosen(client, said.text, DRAWN)) == expected, said.text


@_THOROUGH
@given(said=single_tests())
def test_what_is_refused_could_not_be_true(drawn: list[Run], said: Said) -> None:
    # Of a list one value that could never be met is refused too.
    might = askable(said) or " in (" in said.text
    assert might or not any(said.holds(run) for run in drawn), said.text
