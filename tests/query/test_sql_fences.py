"""SQL that tries to read more than it may, or to do more than read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_hostile_sql import REFUSED
from support_query import Reading

from naiad.exceptions import NaiadQueryError
from naiad.query.client import QueryClient
from naiad_store.selects import views

OTHER = "rivals/secret"


@pytest.fixture(scope="module")
def reader(server: Reading) -> Iterator[QueryClient]:
    """May read team/vision only."""
    assert server.tokens
    with server.client(server.tokens.create(project="team/vision", read_only=True)) as client:
        yield client


@pytest.mark.parametrize(("statement", "message"), REFUSED)
def test_refused(reader: QueryClient, statement: str, message: str) -> None:
    with pytest.raises(NaiadQueryError, match=message):
        reader.sql(statement)


def test_after_all_that_the_store_is_as_it_was(reader: QueryClient, client: QueryClient) -> None:
    for statement, _ in REFUSED[-25:]:
        with pytest.raises(NaiadQueryError):
            client.sql(statement)
    assert client.sql("select count() as n from points")["n"].to_pylist() == [15]
    assert reader.sql("select count() as n from points")["n"].to_pylist() == [14]


@pytest.mark.parametrize("view", list(views.VIEWS))
@pytest.mark.parametrize(
    "statement",
    [
        "select distinct project from {view}",
        "select distinct project from (select * from {view}) as x",
        "with {view} as (select * from {view}) select distinct project from {view}",
        "with a as (select * from {view} as b) select distinct project from a as c",
        "select distinct b.project as project from tags as a cross join {view} as b",
        "select distinct project from {view} where 1 or project = 'rivals/secret'",
        "select distinct project from {view} union distinct select distinct project from {view}",
        "with x as (select 1) select distinct project from {view} where 1 in (select * from x)",
    ],
)
def test_a_reader_sees_its_project_in_every_view(
    reader: QueryClient, statement: str, view: str
) -> None:
    found = reader.sql(statement.format(view=view))["project"].to_pylist()
    assert set(found) == {"team/vision"}


def test_a_token_for_everything_sees_everything(client: QueryClient) -> None:
    found = client.sql("select distinct project from points order by project")
    assert found["project"].to_pylist() == [OTHER, "team/vision"]


WORDS = [
    "select", "from", "where", "in", "(", ")", "*", ",", "view_points", "points", "runs", "with",
    "as", "x", "1", "'", "`", '"', "--", "/*", "*/", "\n", "\\", "project", "union all", "join",
    "on", "$$", ";", "system.tables", ".", "=", "#", "{", "}", "final", "array join",
]  # fmt: skip


@settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(words=st.lists(st.sampled_from(WORDS), max_size=14))
def test_no_shuffle_of_words_shows_another_project(reader: QueryClient, words: list[str]) -> None:
    statement = "select project, * from " + " ".join(words)
    try:
        told = str(reader.sql(statement, limit=1000).to_pydict())
    except NaiadQueryError as refused:
        told = str(refused)
    # Neither told nor met by an exception that nobody thought of.
    for secret in (OTHER, "Unexpected <class", "test_query", "_view_"):
        assert secret not in told, statement
