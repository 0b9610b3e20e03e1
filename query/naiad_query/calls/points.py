"""Calls about the points of series: as they are stored, and as they come."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import pyarrow as pa

from naiad_auth import current_principal
from naiad_proto.limits import shorten
from naiad_proto.v1 import query_pb2 as pb
from naiad_query import asking
from naiad_query.calls.answering import Answering, Context
from naiad_query.chunks import chunks
from naiad_query.errors import WITH_REASON, of_store, refusal
from naiad_query.naming import WORDS, Names, words
from naiad_query.tails import Followed, Tail, Tails
from naiad_store import StoreError
from naiad_store.selects.patterns import try_pattern
from naiad_store.selects.points import SERIES, TIME, metric_points, series_points

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


class PointCalls(Answering):
    _tails: Tails

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
        except WITH_REASON as error:
            reason = refusal(error)
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
