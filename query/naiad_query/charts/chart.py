"""The columns of a chart, smoothed or in bands, and what they stand for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc
import numpy as np
import pyarrow as pa

from naiad_proto.limits import shorten
from naiad_proto.v1 import query_pb2 as pb
from naiad_query.charts.bands import COUNTS, bands, run_means
from naiad_query.charts.groups import Groups
from naiad_query.charts.plan import MAX_WIDTH, Plan
from naiad_query.charts.smoothing import Floats
from naiad_query.errors import Refused
from naiad_store.selects.chart import UNITS, ChartPoints, FloatGrid

# Points of one question. On another axis than steps all of them are read, whatever the zoom;
# by another metric they also have to be brought together.
MOST_BY_TIME = 200_000_000
MOST_BY_METRIC = 20_000_000
# Smoothing hands out each point. Above this it is computed from columns, and says so.
MOST_SMOOTHED = 20_000_000
# A Gaussian weighs each point for each column that it reaches.
MOST_WEIGHTS = 400_000_000
# Rows of the columns that stand for the points then.
_MOST_FINER = 4_000_000
_INFO = b"naiad.chart"


def info_of(table: pa.Table) -> pb.ChartInfo:
    return pb.ChartInfo.FromString((table.schema.metadata or {})[_INFO])


@dataclass
class Chart:
    """One answer in the making; `groups` None: a curve per run."""

    points: ChartPoints
    plan: Plan
    groups: Groups | None
    notes: list[str] = field(default_factory=list)
    # Range of x there is, for the axis metric.
    _low: float = math.nan
    _high: float = math.nan

    def table(self) -> pa.Table:
        """Rows as `naiad_store.selects.buckets.BUCKETS`, with smoothed_y where that is asked for,
        or as `bands`; `info_of` it is in it. Raises Refused, StoreError."""
        self._check()
        columns, info = self._columns()
        info.points = sum(int(columns[name].to_numpy().sum()) for name in COUNTS)
        info.runs = len(np.unique(columns["place"].to_numpy()))
        smoothed = None
        if self.plan.smoothing:
            smoothed = self._smoothed(columns, info.column_width)
        if self.groups is not None:
            made = bands(columns, self.groups, self.plan.band, info.column_width or 1.0, smoothed)
        elif smoothed is not None:
            made = columns.append_column("smoothed_y", pa.array(smoothed))
        else:
            made = columns
        info.notes.extend([*(self.groups.notes if self.groups else ()), *self.notes])
        return made.replace_schema_metadata({_INFO: info.SerializeToString()})

    def _check(self) -> None:
        if self.plan.axis == "step":
            return
        count = self.points.count()
        most = MOST_BY_METRIC if self.plan.axis == "metric" else MOST_BY_TIME
        if count > most:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"a chart over {self._axis} reads every point, {count:,} here, and at most {most:,}"
                " are read: choose fewer runs or metrics, or steps as x",
            )

    @property
    def _axis(self) -> str:
        plan = self.plan
        return f"the metric {shorten(plan.x_metric)!r}" if plan.axis == "metric" else "time"

    def _columns(self) -> tuple[pa.Table, pb.ChartInfo]:
        plan = self.plan
        if plan.axis == "metric":
            return self._by_metric()
        columns = self.points.columns(plan.from_x, plan.to_x, plan.width)
        if not columns.num_rows:
            return columns, _nothing(plan)
        unit = UNITS[plan.axis]
        from_x, to_x = columns["from_x"].to_numpy(), columns["to_x"].to_numpy()
        # Whole numbers, as the grid is made of.
        width = round(float((to_x - from_x).max()) * unit)
        low, high = round(float(from_x.min()) * unit), round(float(to_x.max()) * unit)
        if plan.from_x is not None:
            low = min(low, math.floor(plan.from_x * unit) // width * width)
        if plan.to_x is not None:
            high = max(high, (math.ceil(plan.to_x * unit) // width + 1) * width)
        return columns, pb.ChartInfo(from_x=low / unit, to_x=high / unit, column_width=width / unit)

    def _by_metric(self) -> tuple[pa.Table, pb.ChartInfo]:
        plan = self.plan
        placed = self.points.placed()
        if placed.placed < placed.points:
            self.notes.append(
                f"{placed.points - placed.placed:,} of {placed.points:,} points are left out:"
                f" {shorten(plan.x_metric)} has no finite value at their step"
            )
        self._low, self._high = placed.low, placed.high
        low = placed.low if plan.from_x is None else plan.from_x
        high = placed.high if plan.to_x is None else plan.to_x
        if not placed.placed or low > high:
            return self.points.over(FloatGrid(0, 0, -1)), _nothing(plan)
        grid = FloatGrid.over(low, high, plan.width)
        return self.points.over(grid), pb.ChartInfo(
            from_x=grid.low, to_x=grid.high, column_width=grid.width
        )

    def _finer(self, low: float | None, high: float | None, columns: int) -> pa.Table:
        if self.plan.axis != "metric":
            return self.points.columns(low, high, columns)
        low = self._low if low is None else max(low, self._low)
        high = self._high if high is None else min(high, self._high)
        return self.points.over(FloatGrid.over(low, high, columns))

    # --- smoothing ---------------------------------------------------------------------------

    def _smoothed(self, columns: pa.Table, width: float) -> Floats:
        """The smoothed curve at the last finite point of each row; NaN without one."""
        smoothing = self.plan.smoothing
        assert smoothing
        smoothed = np.full(columns.num_rows, np.nan)
        fine = columns["finite_count"].to_numpy() > 0
        if not fine.any():
            return smoothed
        wanted = _Series.of(columns)
        last = columns["last_x"].to_numpy()
        spans = self._spans(columns) if smoothing.kind == "ema" else {}
        reaches = [smoothing.reach(spans.get(path, 0.0)) for path in wanted.paths]
        low = float(last[fine].min()) - max(before for before, _ in reaches)
        high = float(last[fine].max()) + max(after for _, after in reaches)
        for source, x, y, count in self._sources(columns, low, high, width, len(wanted.rows)):
            for key, part in source.rows.items():
                rows = wanted.rows.get(key)
                if rows is None:
                    continue
                drawn = np.flatnonzero(fine[rows]) + rows.start
                if len(drawn):
                    smoothed[drawn] = smoothing.at(
                        last[drawn], x[part], y[part], count[part], spans.get(key[1], 0.0)
                    )
        return smoothed

    def _spans(self, columns: pa.Table) -> dict[str, float]:
        """Of each path the range of x over its finite points, of all these runs and whatever the
        zoom: so a curve looks alike in every zoom, and beside other runs."""
        if self.plan.from_x is not None or self.plan.to_x is not None:
            columns = self._finer(None, None, 1)
        first, last = columns["first_x"].to_numpy(), columns["last_x"].to_numpy()
        ranges: dict[str, tuple[float, float]] = {}
        for (_, path), rows in _Series.of(columns).rows.items():
            fine = np.isfinite(first[rows])
            if fine.any():
                low, high = ranges.get(path, (math.inf, -math.inf))
                ranges[path] = (
                    min(low, float(first[rows][fine].min())),
                    max(high, float(last[rows][fine].max())),
                )
        return {path: high - low for path, (low, high) in ranges.items()}

    def _sources(
        self, columns: pa.Table, low: float, high: float, width: float, series: int
    ) -> Iterator[tuple[_Series, Floats, Floats, Floats]]:
        """Tables of points, or of what stands for them: series, x, y, and how many each is."""
        count = self.points.count(self.points.steps(low, high), only_drawn=True)
        why = self._too_many(columns, count, low, high, series)
        if not why:
            for table in self.points.finite(low, high):
                x, y = table["at"].to_numpy(), table["value"].to_numpy()
                yield _Series.of(table), x, y, np.ones(len(x))
            return
        # Nothing is to be had beyond what there is, and columns there would be wasted.
        whole = self._finer(None, None, 1)
        low = max(low, float(np.nanmin(whole["first_x"].to_numpy())))
        high = min(high, float(np.nanmax(whole["last_x"].to_numpy())))
        shown = float(columns["to_x"].to_numpy().max() - columns["from_x"].to_numpy().min())
        finer = min(
            MAX_WIDTH,
            math.ceil(2 * self.plan.width * max(1.0, (high - low) / shown)),
            max(100, _MOST_FINER // series),
        )
        table = self._finer(low, high, finer)
        table = table.filter(pa.array(table["finite_count"].to_numpy() > 0))
        widths = table["to_x"].to_numpy() - table["from_x"].to_numpy()
        self.notes.append(
            f"smoothed from the means of columns {float(widths.max()):.9g} wide in units of x, not"
            f" from points: {why}; choose fewer runs or metrics, or zoom in, for the exact curve"
        )
        middle = table["first_x"].to_numpy() / 2 + table["last_x"].to_numpy() / 2
        yield (
            _Series.of(table),
            middle,
            run_means(table),
            table["finite_count"].to_numpy().astype(np.float64),
        )

    def _too_many(self, columns: pa.Table, count: int, low: float, high: float, series: int) -> str:
        """Why points can't be smoothed one by one; empty if they can."""
        smoothing = self.plan.smoothing
        assert smoothing
        if count > MOST_SMOOTHED:
            return f"there are {count:,}, and at most {MOST_SMOOTHED:,} are smoothed one by one"
        if smoothing.kind == "gaussian":
            reached = min(1.0, sum(smoothing.reach(0.0)) / (high - low))
            weights = count * reached * columns.num_rows / series
            if weights > MOST_WEIGHTS:
                return (
                    f"a Gaussian this wide weighs {count:,} points about"
                    f" {weights / count:,.0f} times each"
                )
        return ""


def _nothing(plan: Plan) -> pb.ChartInfo:
    low = plan.from_x if plan.from_x is not None else plan.to_x or 0.0
    return pb.ChartInfo(from_x=low, to_x=plan.to_x if plan.to_x is not None else low)


@dataclass(frozen=True, slots=True)
class _Series:
    """Where the rows of each series (place, path) are in a table ordered by them."""

    rows: dict[tuple[int, str], slice]

    @property
    def paths(self) -> set[str]:
        return {path for _, path in self.rows}

    @classmethod
    def of(cls, table: pa.Table) -> _Series:
        if not table.num_rows:
            return cls({})
        place = table["place"].to_numpy()
        path = table["path"].combine_chunks()
        if not pa.types.is_dictionary(path.type):
            path = path.dictionary_encode()
        code = path.indices.to_numpy()
        changed = (np.diff(place) != 0) | (np.diff(code) != 0)
        edges = [0, *(np.flatnonzero(changed) + 1).tolist(), len(place)]
        names = path.dictionary.to_pylist()
        return cls(
            {
                (int(place[begin]), names[code[begin]]): slice(begin, end)
                for begin, end in itertools.pairwise(edges)
            }
        )
