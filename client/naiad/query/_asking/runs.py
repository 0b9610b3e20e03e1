"""Questions about runs and what they have."""

from __future__ import annotations

from typing import Any, Literal

from naiad.exceptions import NaiadValueError
from naiad.query import frames, outputs
from naiad.query._asking.arguments import count_of, project_of
from naiad.query._asking.questions import Questions, joined, pairs_of
from naiad.query.attributes import Attribute
from naiad.query.choices import AttributesArgument, RunsArgument, chosen_attributes
from naiad.query.connecting import connected
from naiad.query.outputs import Output, check_output

NEWEST = Attribute("sys/creation_time", "datetime")


class RunQuestions(Questions):
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
            found = pairs_of(client, project_of(project), selector, parts)
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
        name, selector, count = project_of(project), self._runs(runs), count_of("limit", limit)
        parts = chosen_attributes("attributes", attributes)
        with connected() as client:
            wanted, pairs = joined(client, name, selector, parts)
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
