"""Calls about projects, and about runs and what they have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa

from naiad.query._calls.calling import Calling
from naiad.query._calls.selectors import ALL_ATTRIBUTES, ALL_RUNS, Attributes, Runs
from naiad.query.streams import Batches
from naiad_proto.v1.query_pb2 import (
    AttributeName,
    DescribeProjectsRequest,
    FetchRunGroupsRequest,
    FetchRunsTableRequest,
    ListAttributesRequest,
    ListProjectsRequest,
    ListRunsRequest,
    Project,
)


class RunsPage(NamedTuple):
    table: pa.Table
    # Without the limit.
    total_runs: int
    # Empty when nothing comes after this page.
    next_cursor: str


class RunGroups(NamedTuple):
    table: pa.Table
    total_groups: int


class RunCalls(Calling):
    def list_projects(self) -> list[str]:
        """Those that the token may read, in alphabetical order."""
        return list(self._one(self._stub.ListProjects, ListProjectsRequest()).projects)

    def describe_projects(self, projects: Sequence[str] = ()) -> list[Project]:
        """What there is of `projects` (default: of all that the token may read), and how long it
        is kept; also of those whose runs are all in the trash."""
        request = DescribeProjectsRequest(projects=projects)
        return list(self._one(self._stub.DescribeProjects, request).projects)

    def list_runs(self, project: str, runs: Runs = ALL_RUNS) -> list[str]:
        """Run ids, or experiment names as `runs` asks; newest run first."""
        request = ListRunsRequest(project=project, runs=runs.message())
        return list(self._one(self._stub.ListRuns, request).names)

    def list_attributes(
        self, project: str, runs: Runs = ALL_RUNS, attributes: Attributes = ALL_ATTRIBUTES
    ) -> list[tuple[str, str]]:
        """(path, type) in alphabetical order, each once."""
        request = ListAttributesRequest(
            project=project, runs=runs.message(), attributes=attributes.message()
        )
        found: Iterable[AttributeName] = self._one(self._stub.ListAttributes, request).attributes
        return [(name.path, name.type) for name in found]

    def runs_table(
        self,
        project: str,
        runs: Runs = ALL_RUNS,
        attributes: Attributes = ALL_ATTRIBUTES,
        *,
        sort_by: str = "",
        sort_by_type: str = "",
        ascending: bool = False,
        limit: int = 0,
    ) -> pa.Table:
        """run_id, experiment, then a column "path:type" for each attribute; of a series its
        last value."""
        request = FetchRunsTableRequest(
            project=project,
            runs=runs.message(),
            attributes=attributes.message(),
            sort_by=sort_by,
            sort_by_type=sort_by_type,
            ascending=ascending,
            limit=limit,
        )
        return self._table(self._stub.FetchRunsTable, request)

    def runs_table_batches(
        self, project: str, runs: Runs = ALL_RUNS, attributes: Attributes = ALL_ATTRIBUTES
    ) -> Batches:
        """The same, newest first, to be read as it comes."""
        request = FetchRunsTableRequest(
            project=project, runs=runs.message(), attributes=attributes.message()
        )
        return self._stream(self._stub.FetchRunsTable, request)

    def runs_page(
        self,
        project: str,
        runs: Runs = ALL_RUNS,
        attributes: Attributes = ALL_ATTRIBUTES,
        *,
        sort_by: str = "",
        sort_by_type: str = "",
        ascending: bool = False,
        limit: int = 0,
        cursor: str = "",
    ) -> RunsPage:
        """A page of `runs_table`: `limit` rows, from `cursor` on, the `next_cursor` of the page
        before, which was asked for in the same words."""
        request = FetchRunsTableRequest(
            project=project,
            runs=runs.message(),
            attributes=attributes.message(),
            sort_by=sort_by,
            sort_by_type=sort_by_type,
            ascending=ascending,
            limit=limit,
            cursor=cursor,
        )
        first, table = self._answer(self._stub.FetchRunsTable, request)
        return RunsPage(table, first.total_runs, first.next_cursor)

    def run_groups(
        self,
        project: str,
        group_by: Sequence[str | tuple[str, str]],
        runs: Runs = ALL_RUNS,
        attributes: Attributes = ALL_ATTRIBUTES,
        *,
        sort_by: str = "",
        ascending: bool = False,
        limit: int = 0,
    ) -> RunGroups:
        """Runs with equal values of `group_by` (paths, or paths with types) in a row: these,
        run_count, and per numeric attribute a struct of count, min, median, max and mean."""
        pairs = [(by, "") if isinstance(by, str) else by for by in group_by]
        request = FetchRunGroupsRequest(
            project=project,
            runs=runs.message(),
            group_by=[AttributeName(path=path, type=kind) for path, kind in pairs],
            attributes=attributes.message(),
            sort_by=sort_by,
            ascending=ascending,
            limit=limit,
        )
        first, table = self._answer(self._stub.FetchRunGroups, request)
        return RunGroups(table, first.total_groups)
