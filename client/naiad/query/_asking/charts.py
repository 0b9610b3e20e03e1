"""Questions about curves as a chart shows them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, get_args

from naiad.exceptions import NaiadValueError
from naiad.query import frames, outputs
from naiad.query._asking.arguments import Steps, check_among, count_of, project_of, range_of
from naiad.query._asking.questions import LONG, Questions, joined
from naiad.query.attributes import Attribute
from naiad.query.choices import AttributesArgument, RunsArgument, chosen_attributes
from naiad.query.client import Axis
from naiad.query.connecting import connected
from naiad.query.exceptions import ChartNote
from naiad.query.outputs import Output, check_output

Smoothing = Literal["ema", "mean", "gaussian"]
Band = Literal["min_max", "std", "quantiles"]
# Of one question; the server's limit too.
MAX_BUCKETS = 10_000


class ChartQuestions(Questions):
    def buckets(
        self,
        project: str | None,
        runs: RunsArgument,
        y: AttributesArgument,
        x: Axis,
        limit: int,
        x_range: Steps,
        lineage_to_the_root: bool,
        include_point_previews: bool,
        output: Output,
    ) -> Any:
        check_output(output)
        check_among("x", x, get_args(Axis))
        if count_of("limit", limit) > MAX_BUCKETS or not limit:
            raise NaiadValueError(f"limit is {limit}; it is from 1 to {MAX_BUCKETS:,}")
        begin, end = range_of("x_range", x_range)
        name, selector = project_of(project), self._runs(runs)
        parts = chosen_attributes("y", y, "float_series")
        with connected(LONG) as client:
            wanted, _ = joined(client, name, selector, parts)
            found = client.metric_buckets(
                name,
                selector,
                wanted,
                x=x,
                from_x=begin,
                to_x=end,
                max_buckets=limit,
                own_points_only=not lineage_to_the_root,
                include_previews=include_point_previews,
            )
        if output == "pandas":
            return frames.buckets_frame(found, self._index)
        return outputs.given_out(outputs.buckets_table(found, self._index), output)

    def chart(
        self,
        project: str | None,
        runs: RunsArgument,
        y: AttributesArgument,
        x: Axis | Attribute,
        limit: int,
        x_range: Steps,
        smoothing: Smoothing | None,
        smoothing_amount: float,
        group_by: Sequence[str | Attribute] | Literal["all"],
        band: Band | None,
        quantiles: Sequence[float],
        lineage_to_the_root: bool,
        include_point_previews: bool,
        output: Output,
    ) -> Any:
        check_output(output)
        check_among(
            "x", x, None if isinstance(x, Attribute) else get_args(Axis), " or an Attribute"
        )
        check_among("smoothing", smoothing, None if smoothing is None else get_args(Smoothing))
        check_among("band", band, None if band is None else get_args(Band))
        if count_of("limit", limit) > MAX_BUCKETS or not limit:
            raise NaiadValueError(f"limit is {limit}; it is from 1 to {MAX_BUCKETS:,}")
        begin, end = range_of("x_range", x_range)
        name, selector = project_of(project), self._runs(runs)
        parts = chosen_attributes("y", y, "float_series")
        if isinstance(group_by, str) and group_by != "all":
            raise NaiadValueError(f"group_by is {group_by!r}; give a list of paths, or 'all'")
        groups = [] if group_by == "all" else [
            by if isinstance(by, Attribute) else Attribute(by) for by in group_by
        ]  # fmt: skip
        with connected(LONG) as client:
            wanted, _ = joined(client, name, selector, parts)
            found, info = client.chart(
                name,
                selector,
                wanted,
                x="step" if isinstance(x, Attribute) else x,
                x_metric=x.name if isinstance(x, Attribute) else None,
                from_x=begin,
                to_x=end,
                width=limit,
                smoothing=smoothing,
                smoothing_amount=smoothing_amount,
                group_by=[(by.name, by.type or "") for by in groups],
                group_all=group_by == "all",
                band=band,
                quantiles=list(quantiles),
                own_points_only=not lineage_to_the_root,
                include_previews=include_point_previews,
            )
        for note in info.notes:
            # What was left out is said where somebody sees it.
            warnings.warn(f"fetch_chart: {note}", ChartNote, stacklevel=3)
        table = outputs.chart_table(found, self._index, info)
        if output != "pandas":
            return outputs.given_out(table, output)
        frame = table.to_pandas(strings_to_categorical=False)
        frame.attrs["chart"] = outputs.chart_facts(info)
        return frame
