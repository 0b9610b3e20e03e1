"""What the functions of `naiad.query` and `naiad.query.runs` have in common."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from naiad.exceptions import NaiadValueError
from naiad.query import frames
from naiad.query.attributes import (
    Attribute,
    AttributesArgument,
    RunsArgument,
    chosen_attributes,
    chosen_runs,
)
from naiad.query.client import Axis, QueryClient
from naiad.settings import default_project
from naiad_proto.steps import to_micro

Steps = tuple[float | None, float | None]
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
        if limit is not None and limit < 1:
            raise NaiadValueError(f"limit is {limit}; give a number of at least 1, or None")
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
                limit=limit or 0,
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
                tail_limit=_tail(tail_limit),
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
        if not 1 <= limit <= 10_000:
            raise NaiadValueError(f"limit is {limit}; it is from 1 to 10,000")
        with QueryClient(timeout=600) as client:
            found = client.metric_buckets(
                project_of(project),
                chosen_runs(self._noun, runs, by_experiment=self._by_experiment),
                chosen_attributes("y", y, "float_series"),
                x=x,
                from_x=x_range[0],
                to_x=x_range[1],
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
                chosen_attributes("attributes", attributes),
                steps=_micro(step_range),
                tail_limit=_tail(tail_limit),
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


def _micro(steps: Steps) -> tuple[int | None, int | None]:
    try:
        begin, end = steps
        return (
            None if begin is None else to_micro(max(begin, 0)),
            None if end is None else to_micro(min(end, 999_999_999_999)),
        )
    except (TypeError, ValueError) as error:
        raise NaiadValueError(f"step_range is {steps!r}: {error}") from None


def _tail(limit: int | None) -> int:
    if limit is not None and limit < 1:
        raise NaiadValueError(f"tail_limit is {limit}; give a number of at least 1, or None")
    return limit or 0


def _time(given: str | None) -> bool:
    if given not in (None, "absolute"):
        raise NaiadValueError(f"include_time is {given!r}; it is 'absolute' or None")
    return given is not None
