"""What the functions of `naiad.query` and `naiad.query.runs` have in common."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Generator, Iterable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa

from naiad.exceptions import NaiadValueError
from naiad.query import frames, outputs
from naiad.query.attributes import OTHER_SERIES, Attribute
from naiad.query.choices import (
    AttributesArgument,
    RunsArgument,
    chosen_attributes,
    chosen_runs,
)
from naiad.query.client import Attributes, Axis, QueryClient, Runs
from naiad.query.connecting import connected
from naiad.query.exceptions import ChartNote, WrongArgumentType
from naiad.query.outputs import Output, check_output
from naiad.settings import default_project
from naiad_proto.limits import MAX_STEP
from naiad_proto.steps import MAX_MICRO_STEP, to_micro

Smoothing = Literal["ema", "mean", "gaussian"]
Band = Literal["min_max", "std", "quantiles"]
Steps = tuple[float | None, float | None]
# Of one question; the server's limit too.
MAX_BUCKETS = 10_000
NEWEST = Attribute("sys/creation_time", "datetime")
# Seconds that a question about points may take.
_LONG = 600


class Asking:
    """Questions about runs by id, or by experiment; `noun` is what arguments call them."""

    def __init__(self, *, by_experiment: bool) -> None:
        self._by_experiment = by_experiment
        self._noun = "experiments" if by_experiment else "runs"
        # Name of the frames' index.
        self._index = "experiment" if by_experiment else "run"

    def names(self, project: str | None, runs: RunsArgument) -> list[str]:
        selector = self._runs(runs)
        with connected() as client:
            return client.list_runs(project_of(project), selector)

    def attributes(
        self, project: str | None, runs: RunsArgument, attributes: AttributesArgument
    ) -> list[str]:
        selector = self._runs(runs)
        parts = chosen_attributes("attributes", attributes)
        with connected() as client:
            found = _pairs(client, project_of(project), selector, parts)
        return list(dict.fromkeys(path for path, _ in found))

    def table(
        self,
        project: str | None,
        runs: RunsArgument,
        attributes: AttributesArgument,
        sort_by: str | Attribute,
        sort_direction: Literal["asc", "desc"],
        limit: int | None,
        type_suffix: bool,
        output: Output,
    ) -> Any:
        check_output(output)
        if sort_direction not in ("asc", "desc"):
            raise NaiadValueError(f"sort_direction is {sort_direction!r}; it is 'asc' or 'desc'")
        by = sort_by if isinstance(sort_by, Attribute) else Attribute(sort_by)
        if by.aggregation not in (None, "last"):
            raise NaiadValueError(
                f"sort_by is the {by.aggregation} of a series; runs are sorted by its last value"
            )
        name, selector, count = project_of(project), self._runs(runs), _count("limit", limit)
        parts = chosen_attributes("attributes", attributes)
        with connected() as client:
            wanted, pairs = _joined(client, name, selector, parts)
            found = client.runs_table(
                name,
                selector,
                wanted,
                sort_by=by.name,
                sort_by_type=by.type or "",
                ascending=sort_direction == "asc",
                limit=count,
            )
        if pairs is not None:
            chosen = [f"{path}:{kind}" for path, kind in pairs]
            found = found.select(
                [*found.column_names[:2], *(n for n in found.column_names[2:] if n in chosen)]
            )
        if output == "pandas":
            return frames.runs_frame(
                found, name, self._index, by_experiment=self._by_experiment, type_suffix=type_suffix
            )
        table = outputs.runs_table(
            found, self._index, by_experiment=self._by_experiment, type_suffix=type_suffix
        )
        return outputs.given_out(table, output)

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
        times, count = _time(include_time), _count("tail_limit", tail_limit)
        with connected(_LONG) as client:
            wanted, _ = _joined(client, name, selector, parts)
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
        _among("x", x, get_args(Axis))
        if _count("limit", limit) > MAX_BUCKETS or not limit:
            raise NaiadValueError(f"limit is {limit}; it is from 1 to {MAX_BUCKETS:,}")
        begin, end = _range("x_range", x_range)
        name, selector = project_of(project), self._runs(runs)
        parts = chosen_attributes("y", y, "float_series")
        with connected(_LONG) as client:
            wanted, _ = _joined(client, name, selector, parts)
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
        times, count = _time(include_time), _count("tail_limit", tail_limit)
        with connected(_LONG) as client:
            wanted, pairs = _joined(client, name, selector, parts)
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
        _among("x", x, None if isinstance(x, Attribute) else get_args(Axis), " or an Attribute")
        _among("smoothing", smoothing, None if smoothing is None else get_args(Smoothing))
        _among("band", band, None if band is None else get_args(Band))
        if _count("limit", limit) > MAX_BUCKETS or not limit:
            raise NaiadValueError(f"limit is {limit}; it is from 1 to {MAX_BUCKETS:,}")
        begin, end = _range("x_range", x_range)
        name, selector = project_of(project), self._runs(runs)
        parts = chosen_attributes("y", y, "float_series")
        if isinstance(group_by, str) and group_by != "all":
            raise NaiadValueError(f"group_by is {group_by!r}; give a list of paths, or 'all'")
        groups = [] if group_by == "all" else [
            by if isinstance(by, Attribute) else Attribute(by) for by in group_by
        ]  # fmt: skip
        with connected(_LONG) as client:
            wanted, _ = _joined(client, name, selector, parts)
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
        count = _count("tail_limit", tail_limit)
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

    def _runs(self, given: RunsArgument) -> Runs:
        return chosen_runs(self._noun, given, by_experiment=self._by_experiment)


def sql_answer(statement: str, limit: int | None, output: Output) -> Any:
    check_output(output)
    if not isinstance(statement, str):
        raise WrongArgumentType(f"statement is {statement!r}; give a SELECT as a string")
    count = _count("limit", limit)
    with connected(_LONG) as client:
        found = client.sql(statement, limit=count)
    if output == "pandas":
        return found.to_pandas()
    return outputs.given_out(found, output)


def _pairs(
    client: QueryClient, project: str, runs: Runs, parts: Iterable[Attributes]
) -> list[tuple[str, str]]:
    """Path and type of all that the parts mean, in alphabetical order."""
    return sorted({pair for part in parts for pair in client.list_attributes(project, runs, part)})


def _joined(
    client: QueryClient, project: str, runs: Runs, parts: list[Attributes]
) -> tuple[Attributes, frozenset[tuple[str, str]] | None]:
    """The parts as one that the server can be asked, and where that may mean more than they do,
    what they mean."""
    if len(parts) == 1:
        return parts[0], None
    found = _pairs(client, project, runs, parts)
    types = sorted({kind for _, kind in found})
    return Attributes(paths=sorted({path for path, _ in found}), types=types), frozenset(found)


def project_of(given: str | None) -> str:
    project = default_project(given)
    if project is None:
        raise NaiadValueError(
            "no project is given: pass project='workspace/name' or set NAIAD_PROJECT"
        )
    return project


def _range(name: str, given: Steps) -> Steps:
    try:
        begin, end = given
        numbers = [float(number) for number in (begin, end) if number is not None]
    except (TypeError, ValueError):
        raise NaiadValueError(
            f"{name} is {given!r}; give two numbers, (first, last), with None for an open end"
        ) from None
    if any(math.isnan(number) for number in numbers) or numbers != sorted(numbers):
        raise NaiadValueError(f"{name} is {given!r}; its first number is not up to its last")
    # An infinite end is an open one.
    return (
        None if begin is None or begin == -math.inf else begin,
        None if end is None or end == math.inf else end,
    )


def micro_range(steps: Steps) -> tuple[int | None, int | None]:
    begin, end = _range("step_range", steps)
    return (
        None if begin is None else _micro_step(begin),
        None if end is None else _micro_step(end),
    )


def _micro_step(step: float) -> int:
    """What lies beyond all steps stays there."""
    return -1 if step < 0 else MAX_MICRO_STEP + 1 if step >= MAX_STEP else to_micro(step)


def _count(name: str, given: int | None) -> int:
    """0 for None."""
    if given is None:
        return 0
    if isinstance(given, bool) or not isinstance(given, int | np.integer):
        raise WrongArgumentType(f"{name} is {given!r}; give a whole number, or None")
    if given < 1:
        raise NaiadValueError(f"{name} is {given}; give a number of at least 1, or None")
    return int(given)


def _among(name: str, given: Any, there: tuple[str, ...] | None, more: str = "") -> None:
    if there is not None and given not in there:
        named = ", ".join(map(repr, there))
        raise NaiadValueError(f"{name} is {given!r}; it is one of {named}{more}")


def _time(given: str | None) -> bool:
    if given not in (None, "absolute"):
        raise NaiadValueError(f"include_time is {given!r}; it is 'absolute' or None")
    return given is not None
