"""Calls about curves as a chart shows them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from naiad_auth import current_principal
from naiad_proto.v1 import query_pb2 as pb
from naiad_query import asking, charts
from naiad_query.calls.answering import Answering, Context
from naiad_query.chunks import table_chunks
from naiad_query.errors import invalid
from naiad_query.naming import words
from naiad_store.selects import watermarks
from naiad_store.selects.buckets import metric_buckets
from naiad_store.selects.chart import ChartPoints

DEFAULT_BUCKETS = 1000
MAX_BUCKETS = 10_000
_AXES = {
    pb.X_AXIS_UNSPECIFIED: "step",
    pb.X_AXIS_STEP: "step",
    pb.X_AXIS_TIME: "time",
    pb.X_AXIS_RELATIVE_TIME: "relative_time",
}


class ChartCalls(Answering):
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
