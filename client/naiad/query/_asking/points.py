"""Questions about the points of series: as they are stored, and as they come."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any, Literal

import pyarrow as pa

from naiad.exceptions import NaiadValueError
from naiad.query import frames, outputs
from naiad.query._asking.arguments import Steps, count_of, micro_range, project_of, with_time
from naiad.query._asking.questions import LONG, Questions, joined
from naiad.query.attributes import OTHER_SERIES
from naiad.query.choices import AttributesArgument, RunsArgument, chosen_attributes
from naiad.query.client import Attributes, Runs
from naiad.query.connecting import connected
from naiad.query.exceptions import WrongArgumentType
from naiad.query.outputs import Output, check_output


class PointQuestions(Questions):
    def metrics(
        self,
        project: str | None,
        runs: RunsArgument,
        attributes: AttributesArgument,
        include_time: Literal["absolute"] | None,
        step_range: Steps,
        lineage_to_the_root: bool,
        tail_limit: int | None,
        type_suffix: bool,
        include_point_previews: bool,
        output: Output,
    ) -> Any:
        check_output(output)
        name, selector, steps = project_of(project), self._runs(runs), micro_range(step_range)
        parts = chosen_attributes("attributes", attributes, "float_series")
        times, count = with_time(include_time), count_of("tail_limit", tail_limit)
        with connected(LONG) as client:
            wanted, _ = joined(client, name, selector, parts)
            found = client.metrics(
                name,
                selector,
                wanted,
                steps=steps,
                tail_limit=count,
                own_points_only=not lineage_to_the_root,
                include_previews=include_point_previews,
            )
        given = {
            "type_suffix": type_suffix,
            "include_time": times,
            "include_previews": include_point_previews,
        }
        if output == "pandas":
            return frames.metrics_frame(found, self._index, **given)
        return outputs.given_out(outputs.metrics_table(found, self._index, **given), output)

    def series(
        self,
        project: str | None,
        runs: RunsArgument,
        attributes: AttributesArgument,
        include_time: Literal["absolute"] | None,
        step_range: Steps,
        lineage_to_the_root: bool,
        tail_limit: int | None,
        containing: str | None,
        output: Output,
    ) -> Any:
        check_output(output)
        if containing is not None and not isinstance(containing, str):
            raise WrongArgumentType(f"containing is {containing!r}; give a regular expression")
        name, selector, steps = project_of(project), self._runs(runs), micro_range(step_range)
        parts = chosen_attributes("attributes", attributes, *OTHER_SERIES)
        times, count = with_time(include_time), count_of("tail_limit", tail_limit)
        with connected(LONG) as client:
            wanted, pairs = joined(client, name, selector, parts)
            found = client.series(
                name,
                selector,
                wanted,
                steps=steps,
                tail_limit=count,
                own_points_only=not lineage_to_the_root,
                containing=containing or "",
            )
        if pairs is not None:
            found = found.filter(
                pa.array(
                    [
                        pair in pairs
                        for pair in zip(
                            found.column("path").to_pylist(),
                            found.column("type").to_pylist(),
                            strict=True,
                        )
                    ],
                    pa.bool_(),
                )
            )
        if output == "pandas":
            return frames.series_frame(found, name, self._index, include_time=times)
        return outputs.given_out(
            outputs.series_table(found, self._index, include_time=times), output
        )

    def live(
        self,
        project: str | None,
        runs: RunsArgument,
        attributes: AttributesArgument,
        tail_limit: int | None,
        include_point_previews: bool,
        output: Output,
    ) -> Generator[Any]:
        check_output(output)
        name, selector = project_of(project), self._runs(runs)
        parts = chosen_attributes("attributes", attributes, "float_series")
        count = count_of("tail_limit", tail_limit)
        if len(parts) > 1:
            raise NaiadValueError("attributes is several filters; give one of them to stream")
        return self._live(name, selector, parts[0], count, include_point_previews, output)

    def _live(
        self,
        project: str,
        runs: Runs,
        wanted: Attributes,
        tail_limit: int,
        previews: bool,
        output: Output,
    ) -> Generator[Any]:
        with connected() as client:
            found = client.stream_metrics(
                project, runs, wanted, tail_limit=tail_limit, include_previews=previews
            )
            with contextlib.closing(found):
                for batch in found:
                    if not batch.num_rows:
                        continue
                    table = outputs.metrics_table(
                        pa.Table.from_batches([batch]), self._index, type_suffix=False,
                        include_time=True, include_previews=previews,
                    )  # fmt: skip
                    yield (
                        table.to_pandas()
                        if output == "pandas"
                        else outputs.given_out(table, output)
                    )
