"""What the functions of `naiad.query` and `naiad.query.runs` have in common."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pandas as pd

from naiad.exceptions import NaiadTypeError, NaiadValueError
from naiad.query import frames
from naiad.query.attributes import (
    OTHER_SERIES,
    Attribute,
    AttributesArgument,
    RunsArgument,
    chosen_attributes,
    chosen_runs,
)
from naiad.query.client import Axis, QueryClient
from naiad.settings import default_project
from naiad_proto.limits import MAX_STEP
from naiad_proto.steps import MAX_MICRO_STEP, to_micro

Steps = tuple[float | None, float | None]
# Of one question; the server's limit too.
MAX_BUCKETS = 10_000
NEWEST = Attribute("sys/creation_time", "datetime")


class Asking:
    """Questions about runs by id, or by experiment; `noun` is what arguments call them."""

    def __init__(self, *, by_experiment: bool) -> None:
        self._by_experiment = by_experiment
        self._noun = "experiments" if by_experiment else "runs"
        # Name of the frames' index.
        self._index = "experiment" if by_experiment else "run"

    def names(self, project: str | None, runs: RunsArgument) -> list[str]:
        selector = chosen_runs(self._noun, runs, by_experiment=self._by_experiment)
        with QueryClient() as client:
            return client.list_runs(project_of(project), selector)

    def attributes(
        self, project: str | None, runs: RunsArgument, attributes: AttributesArgument
    ) -> list[str]:
        selector = chosen_runs(self._noun, runs, by_experiment=self._by_experiment)
        wanted = chosen_attributes("attributes", attributes)
        with QueryClient() as client:
            found = client.list_attributes(project_of(project), selector, wanted)
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
    ) -> pd.DataFrame:
        if sort_direction not in ("asc", "desc"):
            raise NaiadValueError(f"sort_direction is {sort_direction!r}; it is 'asc' or 'desc'")
        by = sort_by if isinstance(sort_by, Attribute) else Attribute(sort_by)
        name = project_of(project)
        with QueryClient() as client:
            found = client.runs_table(
                name,
                chosen_runs(self._noun, runs, by_experiment=self._by_experiment),
                chosen_attributes("attributes", attributes),
                sort_by=by.name,
                sort_by_type=by.type or "",
                ascending=sort_direction == "asc",
                limit=_count("limit", limit),
            )
        return frames.runs_frame(
            found, name, self._index, by_experiment=self._by_experiment, type_suffix=type_suffix
        )

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
    ) -> pd.DataFrame:
        with QueryClient(timeout=600) as client:
            found = client.metrics(
                project_of(project),
                chosen_runs(self._noun, runs, by_experiment=self._by_experiment),
                chosen_attributes("attributes", attributes, "float_series"),
                steps=_micro(step_range),
                tail_limit=_count("tail_limit", tail_limit),
                own_points_only=not lineage_to_the_root,
                include_previews=include_point_previews,
            )
        return frames.metrics_frame(
            found,
            self._index,
            type_suffix=type_suffix,
            include_time=_time(include_time),
            include_previews=include_point_previews,
        )

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
    ) -> pd.DataFrame:
        if x not in ("step", "time", "relative_time"):
            raise NaiadValueError(f"x is {x!r}; it is 'step', 'time' or 'relative_time'")
        if _count("limit", limit) > MAX_BUCKETS or not limit:
            raise NaiadValueError(f"limit is {limit}; it is from 1 to {MAX_BUCKETS:,}")
        begin, end = _range("x_range", x_range)
        with QueryClient(timeout=600) as client:
            found = client.metric_buckets(
                project_of(project),
                chosen_runs(self._noun, runs, by_experiment=self._by_experiment),
                chosen_attributes("y", y, "float_series"),
                x=x,
                from_x=begin,
                to_x=end,
                max_buckets=limit,
                own_points_only=not lineage_to_the_root,
                include_previews=include_point_previews,
            )
        return frames.buckets_frame(found, self._index)

    def series(
        self,
        project: str | None,
        runs: RunsArgument,
        attributes: AttributesArgument,
        include_time: Literal["absolute"] | None,
        step_range: Steps,
        lineage_to_the_root: bool,
        tail_limit: int | None,
    ) -> pd.DataFrame:
        name = project_of(project)
        with QueryClient(timeout=600) as client:
            found = client.series(
                name,
                chosen_runs(self._noun, runs, by_experiment=self._by_experiment),
                chosen_attributes("attributes", attributes, *OTHER_SERIES),
                steps=_micro(step_range),
                tail_limit=_count("tail_limit", tail_limit),
                own_points_only=not lineage_to_the_root,
            )
        return frames.series_frame(found, name, self._index, include_time=_time(include_time))


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


def _micro(steps: Steps) -> tuple[int | None, int | None]:
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
        raise NaiadTypeError(f"{name} is {given!r}; give a whole number, or None")
    if given < 1:
        raise NaiadValueError(f"{name} is {given}; give a number of at least 1, or None")
    return int(given)


def _time(given: str | None) -> bool:
    if given not in (None, "absolute"):
        raise NaiadValueError(f"include_time is {given!r}; it is 'absolute' or None")
    return given is not None
