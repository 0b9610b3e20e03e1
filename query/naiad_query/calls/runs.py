"""Calls about projects, and about runs and what they have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from naiad_auth import current_principal
from naiad_proto.v1 import query_pb2 as pb
from naiad_query import asking
from naiad_query.calls.answering import Answering, Context
from naiad_query.chunks import table_chunks
from naiad_query.groups import groups_facts, run_groups
from naiad_query.table import page_facts, runs_table
from naiad_store.selects import inheritance, watermarks
from naiad_store.selects.derived import derived_names
from naiad_store.selects.filters import asks_the_time
from naiad_store.selects.projects import Project, described
from naiad_store.selects.runs import projects, select_runs


class RunCalls(Answering):
    async def ListProjects(self, request: pb.ListProjectsRequest, context: Context) -> Any:
        principal = current_principal()

        def answer() -> pb.ListProjectsResponse:
            found = [name for name in projects(self._store) if principal.may_read(name)]
            return pb.ListProjectsResponse(projects=found)

        return await self._one(context, answer)

    async def DescribeProjects(self, request: pb.DescribeProjectsRequest, context: Context) -> Any:
        principal = current_principal()

        def answer() -> pb.DescribeProjectsResponse:
            for name in request.projects:
                asking.need_read(principal, name)
            found = described(self._store, list(request.projects) or None)
            return pb.DescribeProjectsResponse(
                projects=[_project(one) for one in found if principal.may_read(one.name)]
            )

        return await self._one(context, answer)

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> Any:
        def answer() -> pb.ListRunsResponse:
            self._need(request.project)
            found = select_runs(self._store, request.project, asking.which(request.runs))
            by_experiment = request.runs.by_experiment
            return pb.ListRunsResponse(
                names=[run.experiment if by_experiment else run.run_id for run in found]
            )

        return await self._one(context, answer)

    async def ListAttributes(self, request: pb.ListAttributesRequest, context: Context) -> Any:
        def answer() -> pb.ListAttributesResponse:
            self._need(request.project)
            runs = select_runs(self._store, request.project, asking.which(request.runs))
            what = asking.what(request.attributes)
            found = inheritance.names(self._store, request.project, runs, what)
            if runs:
                found += derived_names(self._store, what, in_trash=request.runs.in_trash)
            return pb.ListAttributesResponse(
                attributes=[
                    pb.AttributeName(path=name.path, type=name.type) for name in sorted(set(found))
                ]
            )

        return await self._one(context, answer)

    async def FetchRunsTable(
        self, request: pb.FetchRunsTableRequest, context: Context
    ) -> AsyncIterator[pb.FetchRunsTableResponse]:
        def answer() -> Iterator[pb.FetchRunsTableResponse]:
            self._need(request.project)
            found = self._table(
                b"runs table " + request.SerializeToString(deterministic=True),
                lambda: watermarks.of_project(self._store, request.project),
                lambda: runs_table(self._store, request),
                keep=not asks_the_time(request.runs.filter),
            )
            table, total, cursor = page_facts(found)
            message = pb.FetchRunsTableResponse(total_runs=total, next_cursor=cursor)
            for arrow in table_chunks(table):
                message.arrow = arrow
                yield message
                message = pb.FetchRunsTableResponse()

        async for message in self._stream(context, answer):
            yield message

    async def FetchRunGroups(
        self, request: pb.FetchRunGroupsRequest, context: Context
    ) -> AsyncIterator[pb.FetchRunGroupsResponse]:
        def answer() -> Iterator[pb.FetchRunGroupsResponse]:
            self._need(request.project)
            found = self._table(
                b"run groups " + request.SerializeToString(deterministic=True),
                lambda: watermarks.of_project(self._store, request.project),
                lambda: run_groups(self._store, request),
                keep=not asks_the_time(request.runs.filter),
            )
            table, total = groups_facts(found)
            message = pb.FetchRunGroupsResponse(total_groups=total)
            for arrow in table_chunks(table):
                message.arrow = arrow
                yield message
                message = pb.FetchRunGroupsResponse()

        async for message in self._stream(context, answer):
            yield message


def _project(found: Project) -> pb.Project:
    project = pb.Project(name=found.name, runs=found.runs, runs_in_trash=found.runs_in_trash)
    if (kept := found.retention) is not None:
        project.retention.days, project.retention.trash_days = kept.days, kept.trash_days
        project.retention.set_at = round(kept.set_at.timestamp() * 1000)
        project.retention.set_by = kept.set_by
    return project
