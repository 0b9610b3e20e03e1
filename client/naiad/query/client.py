"""The query service, one call a method, tables as Arrow.

What `naiad.query`'s functions, the command line and the dashboard are made of. Nothing
here asks more than the service answers: errors come as `NaiadQueryError`s with the
server's own sentence.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import grpc

from naiad.connection import open_channel
from naiad.exceptions import NaiadAuthError, NaiadConnectionError, NaiadQueryError
from naiad.settings import api_token, server_url
from naiad_proto.v1.query_pb2 import (
    AttributeName,
    AttributeSelector,
    AuditRequest,
    AuditResponse,
    Band,
    ChartInfo,
    DownloadFileRequest,
    ExecuteSqlRequest,
    FetchChartRequest,
    FetchMetricBucketsRequest,
    FetchMetricsRequest,
    FetchRunGroupsRequest,
    FetchRunsTableRequest,
    FetchSeriesRequest,
    GetServerInfoRequest,
    GetServerInfoResponse,
    ListAttributesRequest,
    ListProjectsRequest,
    ListRunsRequest,
    RunSelector,
    Smoothing,
    StepRange,
    StreamMetricsRequest,
    XAxis,
)
from naiad_proto.v1.query_pb2_grpc import QueryServiceStub
from naiad_proto.v1.records_pb2 import FileReference, StringList

try:
    import pyarrow as pa
except ImportError as error:
    raise ImportError(
        "reading back needs pyarrow and pandas: pip install 'naiad[query]'"
    ) from error

from naiad.query.streams import Batches

__all__ = ["Attributes", "Axis", "ChartInfo", "QueryClient", "RunGroups", "Runs", "RunsPage"]

Axis = Literal["step", "time", "relative_time"]
_AXES = {
    "step": XAxis.X_AXIS_STEP,
    "time": XAxis.X_AXIS_TIME,
    "relative_time": XAxis.X_AXIS_RELATIVE_TIME,
}
_SMOOTHING = {
    "ema": Smoothing.SMOOTHING_EMA,
    "mean": Smoothing.SMOOTHING_MEAN,
    "gaussian": Smoothing.SMOOTHING_GAUSSIAN,
}
_BANDS = {
    "min_max": Band.BAND_MIN_MAX,
    "std": Band.BAND_STD,
    "quantiles": Band.BAND_QUANTILES,
}


class _Chunk(Protocol):
    @property
    def arrow(self) -> bytes: ...


class _Incoming:
    """A file whose end is the end of a call."""

    closed = False

    def __init__(self, chunks: Iterator[_Chunk]) -> None:
        self._chunks = chunks
        self._waiting = bytearray()

    def read(self, size: int) -> bytes:
        while len(self._waiting) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._waiting += chunk.arrow
        taken = bytes(self._waiting[:size])
        del self._waiting[:size]
        return taken

    def close(self) -> None: ...
    def flush(self) -> None: ...
    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


@dataclass(frozen=True)
class Runs:
    """Which runs: a pattern (RE2, found anywhere in the name), names, or all; of those the ones
    for which `filter` is true, an expression of the filter language; `in_trash`, those in the
    trash instead of the others."""

    pattern: str | None = None
    names: Sequence[str] | None = None
    by_experiment: bool = False
    filter: str = ""
    in_trash: bool = False

    def message(self) -> RunSelector:
        selector = RunSelector(
            by_experiment=self.by_experiment, filter=self.filter, in_trash=self.in_trash
        )
        if self.names is not None:
            selector.names.CopyFrom(StringList(values=self.names))
        elif self.pattern is not None:
            selector.pattern = self.pattern
        return selector


@dataclass(frozen=True)
class Attributes:
    """Which attributes: a pattern (RE2, found anywhere in the path), paths, or all; of
    `types` (empty: any), named as in `AttributeSelector`."""

    pattern: str | None = None
    paths: Sequence[str] | None = None
    types: Sequence[str] = ()

    def message(self) -> AttributeSelector:
        selector = AttributeSelector(types=self.types)
        if self.paths is not None:
            selector.paths.CopyFrom(StringList(values=self.paths))
        elif self.pattern is not None:
            selector.pattern = self.pattern
        return selector


class RunsPage(NamedTuple):
    table: pa.Table
    # Without the limit.
    total_runs: int
    # Empty when nothing comes after this page.
    next_cursor: str


class RunGroups(NamedTuple):
    table: pa.Table
    total_groups: int


def _metrics_request(
    project: str,
    runs: Runs,
    attributes: Attributes,
    steps: tuple[int | None, int | None],
    tail_limit: int,
    own_points_only: bool,
    include_previews: bool,
) -> FetchMetricsRequest:
    return FetchMetricsRequest(
        project=project,
        runs=runs.message(),
        attributes=attributes.message(),
        step_range=StepRange(from_step=steps[0], to_step=steps[1]),
        tail_limit=tail_limit,
        own_points_only=own_points_only,
        include_previews=include_previews,
    )


def _series_request(
    project: str,
    runs: Runs,
    attributes: Attributes,
    steps: tuple[int | None, int | None],
    tail_limit: int,
    own_points_only: bool,
    containing: str,
) -> FetchSeriesRequest:
    return FetchSeriesRequest(
        project=project,
        runs=runs.message(),
        attributes=attributes.message(),
        step_range=StepRange(from_step=steps[0], to_step=steps[1]),
        tail_limit=tail_limit,
        own_points_only=own_points_only,
        containing=containing,
    )


ALL_RUNS = Runs()
ALL_ATTRIBUTES = Attributes()


class QueryClient:
    """Calls of the query service at `url` (default NAIAD_URL) with `token` (default
    NAIAD_API_TOKEN), each bounded by `timeout` seconds. Safe to share between threads.

    Every method raises `NaiadConnectionError` if the server can't be reached,
    `NaiadAuthError` where the token does not do, and `NaiadQueryError` with the server's
    sentence for a question that it refuses.
    """

    def __init__(
        self, url: str | None = None, token: str | None = None, *, timeout: float = 60.0
    ) -> None:
        self.url = server_url(url)
        self._channel = open_channel(self.url, api_token(token))
        self._stub = QueryServiceStub(self._channel)
        self._timeout = timeout

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> QueryClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def audit(self, project: str, run_id: str = "") -> AuditResponse:
        """What clients, log and store say of a run, or of all runs, held against each other."""
        request = AuditRequest(project=project, run_id=run_id)
        found: AuditResponse = self._one(self._stub.Audit, request)
        return found

    def server_info(self) -> GetServerInfoResponse:
        found: GetServerInfoResponse = self._one(self._stub.GetServerInfo, GetServerInfoRequest())
        return found

    def list_projects(self) -> list[str]:
        """Those that the token may read, in alphabetical order."""
        return list(self._one(self._stub.ListProjects, ListProjectsRequest()).projects)

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
        chunks = self._chunks(self._stub.FetchRunsTable, request)
        table = pa.ipc.open_stream(b"".join(chunk.arrow for chunk in chunks)).read_all()
        return RunsPage(table, chunks[0].total_runs, chunks[0].next_cursor)

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
        chunks = self._chunks(self._stub.FetchRunGroups, request)
        table = pa.ipc.open_stream(b"".join(chunk.arrow for chunk in chunks)).read_all()
        return RunGroups(table, chunks[0].total_groups)

    def metrics(
        self,
        project: str,
        runs: Runs = ALL_RUNS,
        attributes: Attributes = ALL_ATTRIBUTES,
        *,
        steps: tuple[int | None, int | None] = (None, None),
        tail_limit: int = 0,
        own_points_only: bool = False,
        include_previews: bool = False,
    ) -> pa.Table:
        """Points in the columns of `FetchMetrics`; `steps` are micro-steps, both ends in."""
        return self._table(
            self._stub.FetchMetrics,
            _metrics_request(
                project, runs, attributes, steps, tail_limit, own_points_only, include_previews
            ),
        )

    def metrics_batches(
        self,
        project: str,
        runs: Runs = ALL_RUNS,
        attributes: Attributes = ALL_ATTRIBUTES,
        *,
        steps: tuple[int | None, int | None] = (None, None),
        tail_limit: int = 0,
        own_points_only: bool = False,
        include_previews: bool = False,
    ) -> Batches:
        """The same, to be read as it comes."""
        request = _metrics_request(
            project, runs, attributes, steps, tail_limit, own_points_only, include_previews
        )
        return self._stream(self._stub.FetchMetrics, request)

    def stream_metrics(
        self,
        project: str,
        runs: Runs = ALL_RUNS,
        attributes: Attributes = ALL_ATTRIBUTES,
        *,
        tail_limit: int = 0,
        include_previews: bool = False,
    ) -> Generator[pa.RecordBatch]:
        """New points as they become readable, in the columns of `FetchMetrics`, until the
        iterator is closed: without a timeout. An empty batch comes first: from then on none is
        missed. A point may come twice; of two with one (run, path, step) the later one counts."""
        request = StreamMetricsRequest(
            project=project,
            runs=runs.message(),
            attributes=attributes.message(),
            tail_limit=tail_limit,
            include_previews=include_previews,
        )
        call = self._stub.StreamMetrics(request)
        try:
            with pa.ipc.open_stream(_Incoming(call)) as batches:
                yield from batches
        except grpc.RpcError as error:
            raise self._explained(error) from error
        finally:
            call.cancel()

    def metric_buckets(
        self,
        project: str,
        runs: Runs = ALL_RUNS,
        attributes: Attributes = ALL_ATTRIBUTES,
        *,
        x: Axis = "step",
        from_x: float | None = None,
        to_x: float | None = None,
        max_buckets: int = 1000,
        own_points_only: bool = False,
        include_previews: bool = False,
    ) -> pa.Table:
        """M4 buckets in the columns of `FetchMetricBuckets`; x in units of the axis."""
        return self._table(
            self._stub.FetchMetricBuckets,
            FetchMetricBucketsRequest(
                project=project,
                runs=runs.message(),
                attributes=attributes.message(),
                x_axis=_AXES[x],
                from_x=from_x,
                to_x=to_x,
                max_buckets=max_buckets,
                own_points_only=own_points_only,
                include_previews=include_previews,
            ),
        )

    def chart(
        self,
        project: str,
        runs: Runs = ALL_RUNS,
        attributes: Attributes = ALL_ATTRIBUTES,
        *,
        x: Axis = "step",
        x_metric: str | None = None,
        from_x: float | None = None,
        to_x: float | None = None,
        width: int = 1000,
        smoothing: Literal["ema", "mean", "gaussian"] | None = None,
        smoothing_amount: float = 0.0,
        group_by: Sequence[str | tuple[str, str]] = (),
        group_all: bool = False,
        band: Literal["min_max", "std", "quantiles"] | None = None,
        quantiles: Sequence[float] = (),
        own_points_only: bool = False,
        include_previews: bool = False,
    ) -> tuple[pa.Table, ChartInfo]:
        """A chart's columns, of `FetchChart`, and what they stand for. With `x_metric` that
        metric's values are x. `group_by`: paths, or (path, type)."""
        names = [(name, "") if isinstance(name, str) else name for name in group_by]
        request = FetchChartRequest(
            project=project,
            runs=runs.message(),
            attributes=attributes.message(),
            x_axis=XAxis.X_AXIS_METRIC if x_metric is not None else _AXES[x],
            x_metric=x_metric or "",
            from_x=from_x,
            to_x=to_x,
            width=width,
            smoothing=_SMOOTHING[smoothing] if smoothing else Smoothing.SMOOTHING_UNSPECIFIED,
            smoothing_amount=smoothing_amount,
            group_by=[AttributeName(path=path, type=kind) for path, kind in names],
            group_all=group_all,
            band=_BANDS[band] if band else Band.BAND_UNSPECIFIED,
            quantiles=quantiles,
            own_points_only=own_points_only,
            include_previews=include_previews,
        )
        info = ChartInfo()
        parts: list[bytes] = []
        try:
            for response in self._stub.FetchChart(request, timeout=self._timeout):
                if response.HasField("info"):
                    info = response.info
                parts.append(response.arrow)
        except grpc.RpcError as error:
            raise self._explained(error) from error
        return pa.ipc.open_stream(b"".join(parts)).read_all(), info

    def series(
        self,
        project: str,
        runs: Runs = ALL_RUNS,
        attributes: Attributes = ALL_ATTRIBUTES,
        *,
        steps: tuple[int | None, int | None] = (None, None),
        tail_limit: int = 0,
        own_points_only: bool = False,
        containing: str = "",
    ) -> pa.Table:
        """String, histogram and file series in the columns of `FetchSeries`; `containing`: only
        strings in which this regular expression (RE2) is found."""
        request = _series_request(
            project, runs, attributes, steps, tail_limit, own_points_only, containing
        )
        return self._table(self._stub.FetchSeries, request)

    def series_batches(
        self,
        project: str,
        runs: Runs = ALL_RUNS,
        attributes: Attributes = ALL_ATTRIBUTES,
        *,
        steps: tuple[int | None, int | None] = (None, None),
        tail_limit: int = 0,
        own_points_only: bool = False,
        containing: str = "",
    ) -> Batches:
        """The same, to be read as it comes."""
        request = _series_request(
            project, runs, attributes, steps, tail_limit, own_points_only, containing
        )
        return self._stream(self._stub.FetchSeries, request)

    def sql(self, statement: str, *, limit: int = 0) -> pa.Table:
        """One read-only statement over the documented views, `limit` rows at the most (0:
        the server's own limit)."""
        return self._table(self._stub.ExecuteSql, ExecuteSqlRequest(sql=statement, limit=limit))

    def sql_batches(self, statement: str, *, limit: int = 0) -> Batches:
        """The same, to be read as it comes."""
        return self._stream(self._stub.ExecuteSql, ExecuteSqlRequest(sql=statement, limit=limit))

    def download(self, project: str, file: FileReference) -> Iterator[bytes]:
        """The content of `file`, in pieces."""
        try:
            request = DownloadFileRequest(project=project, file=file)
            for piece in self._stub.DownloadFile(request, timeout=self._timeout):
                yield piece.chunk
        except grpc.RpcError as error:
            raise self._explained(error) from error

    def _one(self, call: Any, request: Any) -> Any:
        try:
            return call(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise self._explained(error) from error

    def _chunks(self, call: Any, request: Any) -> list[Any]:
        try:
            return list(call(request, timeout=self._timeout))
        except grpc.RpcError as error:
            raise self._explained(error) from error

    def _table(self, call: Any, request: Any) -> pa.Table:
        try:
            chunks: Iterator[_Chunk] = call(request, timeout=self._timeout)
            stream = b"".join(chunk.arrow for chunk in chunks)
        except grpc.RpcError as error:
            raise self._explained(error) from error
        return pa.ipc.open_stream(stream).read_all()

    def _stream(self, call: Any, request: Any) -> Batches:
        return Batches(call(request, timeout=self._timeout), self._explained)

    def _explained(self, error: grpc.RpcError) -> Exception:
        code, details = error.code(), error.details() or ""
        match code:
            case grpc.StatusCode.UNAVAILABLE if details.endswith("ask again"):
                # The server's own words: it is there, its store is not.
                return NaiadConnectionError(f"{self.url}: {details}")
            case grpc.StatusCode.UNAVAILABLE:
                # Of gRPC's chain of reasons the last one says something.
                return NaiadConnectionError(
                    f"no Naiad server answers at {self.url}. Start one with `naiad up`, or set"
                    f" NAIAD_URL. ({details.rpartition(': ')[2]})"
                )
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return NaiadConnectionError(
                    f"{self.url} did not answer within {self._timeout:g} s. Ask for less, or give"
                    " a longer timeout."
                )
            case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
                return NaiadAuthError(details)
            case _:
                return NaiadQueryError(details or f"{self.url} answered {code.name}")
