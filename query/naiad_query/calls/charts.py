"""Calls about curves as a chart shows them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pyarrow as pa

from naiad_auth import current_principal
from naiad_proto import packed
from naiad_proto.v1 import query_pb2 as pb
from naiad_query import asking, charts
from naiad_query.calls.answering import Answering, Asked, Context
from naiad_query.chunks import chunks, table_chunks
from naiad_query.errors import invalid
from naiad_query.naming import words
from naiad_store.selects import watermarks
from naiad_store.selects.buckets import metric_buckets, packed_metric_buckets, places_by_key
from naiad_store.selects.chart import ChartPoints

DEFAULT_BUCKETS = 1000
MAX_BUCKETS = 10_000
# Of a kept table: k, and the first column's number.
_GRID = b"naiad.grid"
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
        def answer() -> Iterator[pb.FetchMetricBucketsResponse]:
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
            if request.packed and axis == "step":
                yield from self._packed(request.project, asked, from_x, to_x, columns, previews)
                return
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
            for piece in table_chunks(found):
                yield pb.FetchMetricBucketsResponse(arrow=piece)

        async for response in self._stream(context, answer):
            yield response

    def _packed(
        self,
        project: str,
        asked: Asked,
        from_x: float | None,
        to_x: float | None,
        columns: int,
        previews: bool,
    ) -> Iterator[pb.FetchMetricBucketsResponse]:
        paths = sorted({name.path for name in asked.names})

        def made() -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
            found = packed_metric_buckets(
                self._store,
                asked.scope,
                paths,
                from_x=from_x,
                to_x=to_x,
                columns=columns,
                include_previews=previews,
            )
            if found is None:
                return packed.columns_schema(0), iter(())
            grid = json.dumps([found.grid.k, found.grid.first])
            return found.schema.with_metadata({_GRID: grid.encode()}), found.batches

        schema, batches = self._batches(
            repr(("packed", asked.scope, paths, from_x, to_x, columns, previews)).encode(),
            lambda: watermarks.of_runs(self._store, project, asked.scope.sources),
            made,
        )
        k, first = json.loads((schema.metadata or {}).get(_GRID, b"[0, 0]"))
        names = asked.runs.list()
        places = places_by_key(asked.scope)
        runs = [names[place] for place in places]
        about = pb.PackedBuckets(k=k, first=first, runs=runs, paths=paths, places=places)
        yield pb.FetchMetricBucketsResponse(packed=about)
        for piece in chunks(schema.remove_metadata(), batches):
            yield pb.FetchMetricBucketsResponse(arrow=piece)

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
