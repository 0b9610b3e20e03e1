"""Calls about the points of series: as they are stored, and as they come."""

from __future__ import annotations

from collections.abc import Generator

import pyarrow as pa

from naiad.query._calls.calling import Calling
from naiad.query._calls.selectors import ALL_ATTRIBUTES, ALL_RUNS, Attributes, Runs
from naiad.query.streams import Batches
from naiad_proto.v1.query_pb2 import (
    FetchMetricsRequest,
    FetchSeriesRequest,
    StepRange,
    StreamMetricsRequest,
)


class PointCalls(Calling):
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
        with Batches(self._stub.StreamMetrics(request), self._explained) as batches:
            yield from batches

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
