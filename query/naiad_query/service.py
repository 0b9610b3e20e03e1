"""`naiad.v1.QueryService` over a store and a file store."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import grpc
import pyarrow as pa

from naiad_auth import current_principal
from naiad_files import FileNotFound, FileStore, FileStoreError
from naiad_proto.filters import FilterError
from naiad_proto.limits import shorten
from naiad_proto.v1 import query_pb2 as pb
from naiad_proto.v1.query_pb2_grpc import (
    QueryServiceServicer,
    add_QueryServiceServicer_to_server,
)
from naiad_query import asking, charts
from naiad_query.chunks import chunks, table_chunks
from naiad_query.errors import Refused, invalid, of_filter, of_store
from naiad_query.groups import groups_facts, run_groups
from naiad_query.keeping import KeptTables
from naiad_query.naming import WORDS, Names, words
from naiad_query.sql import Sql
from naiad_query.table import page_facts, runs_table
from naiad_query.tails import Followed, Tail, Tails
from naiad_state import Cache
from naiad_store import Store, StoreError
from naiad_store.selects import attributes, inheritance, watermarks
from naiad_store.selects.attributes import Attribute, What
from naiad_store.selects.buckets import metric_buckets
from naiad_store.selects.chart import ChartPoints
from naiad_store.selects.derived import derived_names
from naiad_store.selects.filters import asks_the_time
from naiad_store.selects.patterns import try_pattern
from naiad_store.selects.points import SERIES, TIME, metric_points, series_points
from naiad_store.selects.runs import RunRow, projects, select_runs
from naiad_store.selects.scope import Scope

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")

# Questions at a time; the store's own threads do the work.
THREADS = 16
DEFAULT_BUCKETS = 1000
MAX_BUCKETS = 10_000
_AXES = {
    pb.X_AXIS_UNSPECIFIED: "step",
    pb.X_AXIS_STEP: "step",
    pb.X_AXIS_TIME: "time",
    pb.X_AXIS_RELATIVE_TIME: "relative_time",
}
_METRICS = pa.schema(
    [
        ("run", WORDS), ("path", WORDS), ("step", pa.int64()), ("timestamp", TIME),
        ("value", pa.float64()), ("preview", pa.bool_()), ("preview_completion", pa.float64()),
    ]
)  # fmt: skip


_SERIES = pa.schema(
    [
        ("run", WORDS), ("path", WORDS), ("type", WORDS), ("step", pa.int64()),
        ("timestamp", TIME), *(SERIES.field(number) for number in range(5, len(SERIES))),
    ]
)  # fmt: skip


class _Asked(NamedTuple):
    """Of a question about points: whose, by which name, and which series they have."""

    rows: Sequence[RunRow]
    scope: Scope
    runs: Names
    names: Sequence[Attribute]


# Project, and a run or None for all of them.
Audit = Callable[[str, str | None], Awaitable[pb.AuditResponse]]


class QueryService(QueryServiceServicer):
    """Answers from `store` and `files`, as the principal that the interceptor found."""

    def __init__(
        self,
        store: Store,
        files: FileStore,
        *,
        version: str,
        dashboard_url: str = "",
        mode: str = "embedded",
        threads: int = THREADS,
        cache: Cache | None = None,
        audit: Audit | None = None,
    ) -> None:
        """`dashboard_url` and `mode` ("embedded", "cluster") are what GetServerInfo says;
        `threads` is how many questions are asked at a time; `cache` is where tables and charts
        are kept, and its maker closes what it stands on; `audit` compares log and store, where
        this process has a way to the log."""
        self._audit = audit
        # It reads all there is: one is enough for a server.
        self._auditing = asyncio.Semaphore(1)
        self._store = store
        self._kept = KeptTables(cache, version) if cache else None
        self._files = files
        self._sql = Sql(store)
        self._tails = Tails()
        self._info = pb.GetServerInfoResponse(
            version=version, dashboard_url=dashboard_url, mode=mode
        )
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="naiad query")

    def add_to(self, server: grpc.aio.Server) -> None:
        add_QueryServiceServicer_to_server(self, server)

    def end_streams(self) -> None:
        """For before the server stops: calls that go on until the caller goes end now."""
        self._tails.end()

    def close(self) -> None:
        """For after the last call."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    # --- one answer ------------------------------------------------------------------------

    async def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Context) -> Any:
        return self._info

    async def ListProjects(self, request: pb.ListProjectsRequest, context: Context) -> Any:
        principal = current_principal()

        def answer() -> pb.ListProjectsResponse:
            found = [name for name in projects(self._store) if principal.may_read(name)]
            return pb.ListProjectsResponse(projects=found)

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
                found += derived_names(self._store, what)
            return pb.ListAttributesResponse(
                attributes=[
                    pb.AttributeName(path=name.path, type=name.type) for name in sorted(set(found))
                ]
            )

        return await self._one(context, answer)

    # --- tables ------------------------------------------------------------------------------

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

    async def FetchMetrics(
        self, request: pb.FetchMetricsRequest, context: Context
    ) -> AsyncIterator[pb.FetchMetricsResponse]:
        def answer() -> Iterator[bytes]:
            asking.need_read(current_principal(), request.project)
            what = asking.what(request.attributes, "float_series")
            steps = asking.steps(request.step_range)
            asked = self._asked(request.project, request.runs, what, request.own_points_only)

            def batches() -> Iterator[pa.RecordBatch]:
                if not asked.names:
                    return
                for batch in metric_points(
                    self._store,
                    asked.scope,
                    [name.path for name in asked.names],
                    steps=steps,
                    tail_limit=request.tail_limit,
                    include_previews=request.include_previews,
                ):
                    yield _metrics(batch, asked.runs)

            yield from chunks(_METRICS, batches())

        async for arrow in self._stream(context, answer):
            yield pb.FetchMetricsResponse(arrow=arrow)

    async def FetchMetricBuckets(
        self, request: pb.FetchMetricBucketsRequest, context: Context
    ) -> AsyncIterator[pb.FetchMetricBucketsResponse]:
        def answer() -> Iterator[bytes]:
            asking.need_read(current_principal(), request.project)
            if request.x_axis not in _AXES:
                raise invalid(f"there is no x_axis {request.x_axis}; there are step, time and more")
            columns = request.max_buckets or DEFAULT_BUCKETS
            if columns > MAX_BUCKETS:
                raise invalid(f"max_buckets is {columns:,}; at most {MAX_BUCKETS:,} are given")
            from_x = asking.finite("from_x", request.from_x) if request.HasField("from_x") else None
            to_x = asking.finite("to_x", request.to_x) if request.HasField("to_x") else None
            if from_x is not None and to_x is not None and from_x > to_x:
                raise invalid(f"from_x is {from_x:g}, beyond to_x, {to_x:g}; swap them")
            what = asking.what(request.attributes, "float_series")
            asked = self._asked(request.project, request.runs, what, request.own_points_only)
            paths = [name.path for name in asked.names]
            axis, previews = _AXES[request.x_axis], request.include_previews
            found = self._table(
                repr(
                    ("buckets", asked.scope, paths, axis, from_x, to_x, columns, previews)
                ).encode(),
                lambda: watermarks.of_runs(self._store, request.project, asked.scope.sources),
                lambda: metric_buckets(
                    self._store,
                    asked.scope,
                    paths,
                    axis=axis,
                    from_x=from_x,
                    to_x=to_x,
                    columns=columns,
                    include_previews=previews,
                ),
            )
            found = found.set_column(0, "run", asked.runs.column(found.column("place")))
            found = found.set_column(1, "path", words(found.column("path")))
            yield from table_chunks(found)

        async for arrow in self._stream(context, answer):
            yield pb.FetchMetricBucketsResponse(arrow=arrow)

    async def FetchChart(
        self, request: pb.FetchChartRequest, context: Context
    ) -> AsyncIterator[pb.FetchChartResponse]:
        def answer() -> Iterator[pb.FetchChartResponse]:
            asking.need_read(current_principal(), request.project)
            plan = charts.Plan.of(request)
            what = asking.what(request.attributes, "float_series")
            asked = self._asked(request.project, request.runs, what, request.own_points_only)
            charts.need_x_metric(self._store, request, asked.rows)
            groups = charts.groups_of(self._store, request, asked.rows)
            paths = [name.path for name in asked.names]
            points = ChartPoints(
                self._store,
                asked.scope,
                paths,
                plan.axis,
                plan.x_metric,
                request.include_previews,
            )
            found = self._table(
                repr(("chart", asked.scope, paths, plan, charts.key_of(groups))).encode(),
                lambda: watermarks.of_runs(self._store, request.project, asked.scope.sources),
                charts.Chart(points, plan, groups).table,
            )
            info = charts.info_of(found)
            if groups is None:
                found = found.set_column(0, "run", asked.runs.column(found.column("place")))
                found = found.set_column(1, "path", words(found.column("path")))
            pieces = table_chunks(found.replace_schema_metadata())
            yield pb.FetchChartResponse(arrow=next(pieces), info=info)
            for piece in pieces:
                yield pb.FetchChartResponse(arrow=piece)

        async for response in self._stream(context, answer):
            yield response

    async def StreamMetrics(
        self, request: pb.StreamMetricsRequest, context: Context
    ) -> AsyncIterator[pb.FetchMetricsResponse]:
        def ask() -> Followed:
            # Each time: a token may have lost its right, a project its runs.
            asking.need_read(current_principal(), request.project)
            what = asking.what(request.attributes, "float_series")
            asked = self._asked(request.project, request.runs, what, False)
            paths = [name.path for name in asked.names]
            return Followed(asked.rows, asked.scope, asked.runs, paths)

        tail = Tail(self._store, request, ask, _METRICS, _metrics)
        try:
            async with contextlib.aclosing(self._tails.follow(tail, self._in_thread)) as pieces:
                async for piece in pieces:
                    yield pb.FetchMetricsResponse(arrow=piece)
        except Refused as refused:
            reason = refused
        except FilterError as error:
            reason = of_filter(error)
        except StoreError as error:
            reason = of_store(error)
        else:
            return
        await context.abort(reason.code, reason.message)

    async def FetchSeries(
        self, request: pb.FetchSeriesRequest, context: Context
    ) -> AsyncIterator[pb.FetchSeriesResponse]:
        def answer() -> Iterator[bytes]:
            asking.need_read(current_principal(), request.project)
            what = asking.what(
                request.attributes, "string_series", "histogram_series", "file_series"
            )
            steps = asking.steps(request.step_range)
            if request.containing:
                try:
                    try_pattern(self._store, request.containing)
                except StoreError as error:
                    raise of_store(error, f"containing {shorten(request.containing)!r}") from error
            asked = self._asked(request.project, request.runs, what, request.own_points_only)
            paths: dict[str, list[str]] = {}
            for name in asked.names:
                paths.setdefault(name.type, []).append(name.path)
            found = series_points(
                self._store,
                asked.scope,
                paths,
                steps=steps,
                tail_limit=request.tail_limit,
                containing=request.containing,
            )
            yield from chunks(
                _SERIES,
                (
                    pa.record_batch(
                        [
                            asked.runs.column(batch.column("place")),
                            words(batch.column("path")),
                            words(batch.column("type")),
                            *batch.columns[3:],
                        ],
                        schema=_SERIES,
                    )
                    for batch in found
                ),
            )

        async for arrow in self._stream(context, answer):
            yield pb.FetchSeriesResponse(arrow=arrow)

    async def ExecuteSql(
        self, request: pb.ExecuteSqlRequest, context: Context
    ) -> AsyncIterator[pb.ExecuteSqlResponse]:
        principal = current_principal()

        def answer() -> Iterator[bytes]:
            with contextlib.closing(self._sql.execute(principal, request)) as batches:
                first = next(batches)
                yield from chunks(first.schema, itertools.chain([first], batches))

        async for arrow in self._stream(context, answer):
            yield pb.ExecuteSqlResponse(arrow=arrow)

    # --- files -------------------------------------------------------------------------------

    async def DownloadFile(
        self, request: pb.DownloadFileRequest, context: Context
    ) -> AsyncIterator[pb.DownloadFileResponse]:
        def check() -> None:
            self._need(request.project)
            if not attributes.has_file(self._store, request.project, request.file.key):
                raise Refused(
                    grpc.StatusCode.NOT_FOUND,
                    f"project {request.project!r} has no file {shorten(request.file.key)!r}",
                )

        await self._one(context, check)
        try:
            async for piece in self._files.read(request.file.key):
                yield pb.DownloadFileResponse(chunk=piece)
        except FileNotFound as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except FileStoreError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"{error}; ask again")

    # --- how calls are answered ----------------------------------------------------------------

    async def Audit(self, request: pb.AuditRequest, context: Context) -> Any:
        await self._one(context, lambda: self._need(request.project))
        if self._audit is None:
            await context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                "this query service has no way to the event log: set NAIAD_EVENT_LOG for it",
            )
            raise AssertionError("abort raises")
        try:
            async with self._auditing:
                answer = await self._audit(request.project, request.run_id or None)
        except Refused as refused:
            await context.abort(refused.code, refused.message)
        except StoreError as error:
            reason = of_store(error)
            await context.abort(reason.code, reason.message)
        except Exception as error:
            # The log's own errors are not known here.
            log.exception("log and store could not be compared")
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, f"log and store can't be compared now: {error}"
            )
        if request.run_id and not answer.runs:
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"neither log nor store know a run {request.run_id!r} of {request.project}",
            )
        return answer

    def _need(self, project: str) -> None:
        asking.need_project(self._store, current_principal(), project)

    def _asked(
        self, project: str, selector: pb.RunSelector, what: What, own_points_only: bool
    ) -> _Asked:
        """Raises Refused, also when there is no such project: of one with runs that needs no
        question of its own."""
        runs = asking.chosen_runs(self._store, project, selector)
        if not runs:
            self._need(project)
        if own_points_only:
            found = attributes.names(self._store, project, [run.run for run in runs], what)
        else:
            found = inheritance.names(self._store, project, runs, what)
        return _Asked(
            runs,
            Scope.of(self._store, project, runs, own_points_only=own_points_only),
            Names(runs, by_experiment=selector.by_experiment),
            found,
        )

    def _table(
        self,
        question: bytes,
        watermark: Callable[[], bytes],
        make: Callable[[], pa.Table],
        *,
        keep: bool = True,
    ) -> pa.Table:
        """What `make` returns, now or, with `keep`, when it was asked the same before."""
        if self._kept is None or not keep:
            return make()
        return self._kept.table(current_principal(), question, watermark, make)

    def _in_thread(self, work: Callable[[], T]) -> Awaitable[T]:
        # With the context, which holds the principal.
        run = functools.partial(contextvars.copy_context().run, work)
        return asyncio.get_running_loop().run_in_executor(self._threads, run)

    async def _one(self, context: Context, answer: Callable[[], T]) -> T:
        try:
            return await self._in_thread(answer)
        except Refused as refused:
            reason = refused
        except FilterError as error:
            reason = of_filter(error)
        except StoreError as error:
            reason = of_store(error)
        await context.abort(reason.code, reason.message)
        raise AssertionError("abort raises")

    async def _stream(
        self, context: Context, answer: Callable[[], Iterator[T]]
    ) -> AsyncIterator[T]:
        pieces: Iterator[T] | None = None
        context_of_call = contextvars.copy_context()

        def step() -> T | None:
            nonlocal pieces
            pieces = pieces or answer()
            return next(pieces, None)

        loop = asyncio.get_running_loop()
        if self._kept:
            self._kept.loop = loop
        try:
            while True:
                piece = await loop.run_in_executor(self._threads, context_of_call.run, step)
                if piece is None:
                    return
                yield piece
        except Refused as refused:
            reason = refused
        except FilterError as error:
            reason = of_filter(error)
        except StoreError as error:
            reason = of_store(error)
        finally:
            if pieces is not None:
                # Ends the store's question when the caller has gone.
                await loop.run_in_executor(self._threads, getattr(pieces, "close", _nothing))
        await context.abort(reason.code, reason.message)


def _metrics(batch: pa.RecordBatch, runs: Names) -> pa.RecordBatch:
    return pa.record_batch(
        [
            runs.column(batch.column("place")),
            words(batch.column("path")),
            batch.column("x"),
            batch.column("ts").cast(TIME),
            batch.column("value"),
            batch.column("preview").cast(pa.bool_()),
            batch.column("completion"),
        ],
        schema=_METRICS,
    )


def _nothing() -> None: ...
