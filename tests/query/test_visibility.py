"""A reader sees what its token may see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support_query import Reading

from naiad.exceptions import NaiadAuthError, NaiadQueryError
from naiad.query.client import Attributes, QueryClient
from naiad_proto.v1.records_pb2 import FileReference

MINE, OTHER = "team/vision", "rivals/secret"


@pytest.fixture(scope="module")
def reader(server: Reading) -> Iterator[QueryClient]:
    assert server.tokens
    token = server.tokens.create(project=MINE, read_only=True, name="reader")
    with server.client(token) as client:
        yield client


@pytest.fixture(scope="module")
def plan(client: QueryClient) -> FileReference:
    """A file of the other project."""
    table = client.runs_table(OTHER, attributes=Attributes(paths=["plan"]))
    (file,) = table.column("plan:file").to_pylist()
    return FileReference(**file | {"mime_type": ""})


def test_projects_are_its_own(reader: QueryClient) -> None:
    assert reader.list_projects() == [MINE]
    (mine,) = reader.describe_projects()
    assert (mine.name, mine.runs, mine.runs_in_trash) == (MINE, 4, 0)
    assert not mine.HasField("retention")


CALLS: list[Callable[[QueryClient, str], Any]] = [
    lambda client, project: client.describe_projects([project]),
    lambda client, project: client.list_runs(project),
    lambda client, project: client.list_attributes(project),
    lambda client, project: client.runs_table(project),
    lambda client, project: client.metrics(project),
    lambda client, project: client.metric_buckets(project),
    lambda client, project: client.series(project),
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("project", [OTHER, "nobody/knows"])
def test_other_projects_are_refused_whether_they_exist_or_not(
    reader: QueryClient, call: Callable[[QueryClient, str], Any], project: str
) -> None:
    message = rf"this token \(.*\) may not read project '{project}'; use another, or ask whoever"
    with pytest.raises(NaiadAuthError, match=message):
        call(reader, project)
    assert call(reader, MINE)


def test_an_audit_needs_the_same_right_and_a_way_to_the_log(reader: QueryClient) -> None:
    with pytest.raises(NaiadAuthError, match=f"may not read project '{OTHER}'"):
        reader.audit(OTHER)
    with pytest.raises(NaiadQueryError, match="set NAIAD_EVENT_LOG for it"):
        reader.audit(MINE)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("token", "message"), [(None, "needs a token"), ("naiad_no", "token")])
def test_without_a_token_nothing_is_told(
    server: Reading, call: Callable[[QueryClient, str], Any], token: str | None, message: str
) -> None:
    with server.client(token) as stranger:
        with pytest.raises(NaiadAuthError, match=message):
            call(stranger, MINE)
        with pytest.raises(NaiadAuthError, match=message):
            stranger.sql("select 1")


def test_a_file_is_given_to_whom_its_project_is_open(
    reader: QueryClient, client: QueryClient, plan: FileReference
) -> None:
    assert b"".join(client.download(OTHER, plan)) == b"not for you"
    with pytest.raises(NaiadAuthError, match="may not read project 'rivals/secret'"):
        list(reader.download(OTHER, plan))
    # Its key alone opens nothing.
    with pytest.raises(NaiadQueryError, match="project 'team/vision' has no file '"):
        list(reader.download(MINE, plan))


def test_a_message_about_a_missing_project_names_only_what_may_be_seen(
    server: Reading, reader: QueryClient
) -> None:
    assert server.tokens
    with pytest.raises(NaiadAuthError) as told:
        reader.list_runs("team/visoin")
    assert OTHER not in str(told.value)


def test_a_revoked_token_opens_nothing_more(server: Reading) -> None:
    assert server.tokens
    token = server.tokens.create(project=MINE, name="short-lived")
    (entry,) = [entry for entry in server.tokens.list() if entry.name == "short-lived"]
    with server.client(token) as client:
        assert client.list_projects() == [MINE]
        server.tokens.revoke(entry.id)
        with pytest.raises(NaiadAuthError):
            client.list_projects()
