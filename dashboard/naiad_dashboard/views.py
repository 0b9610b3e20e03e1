"""What each page shows, as plain data that stands in its URL.

A view is read from a query string and written to one; `read(write(view)) == view`. What
equals the default is left out of the URL, and a parameter that can't be understood counts
as absent: a link that someone shortened or mistyped still opens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from naiad_dashboard.drawing import PLAIN, Drawing, Query, last, number

LIMITS = (100, 500, 2000, 0)
_RUNS_APART = 20


def _all(query: Query, name: str) -> tuple[str, ...]:
    """Each value once, in order."""
    return tuple(dict.fromkeys(value for value in query.get(name) or () if value))


def _runs(query: Query) -> tuple[str, ...]:
    """Run ids, one or several (with slashes between: no id has one) to a parameter."""
    parts = (part for value in query.get("run") or () for part in value.split("/"))
    return tuple(dict.fromkeys(part for part in parts if part))


def _written_runs(runs: Sequence[str]) -> list[str]:
    """Few are easier to read and edit one by one; Streamlit takes 1,000 parameters at most."""
    return list(runs) if len(runs) <= _RUNS_APART else ["/".join(runs)]


def _written(**values: str | Sequence[str] | None) -> dict[str, list[str]]:
    """Parameters without the empty ones."""
    found: dict[str, list[str]] = {}
    for name, value in values.items():
        texts = [value] if isinstance(value, str) else list(value or ())
        if texts and texts != [""]:
            found[name] = texts
    return found


@dataclass(frozen=True)
class RunsView:
    """The Runs page. `columns` None: chosen from the data; `limit` 0: all."""

    project: str = ""
    experiment: str = ""
    find: str = ""
    columns: tuple[str, ...] | None = None
    sort: str = ""
    ascending: bool = False
    limit: int = LIMITS[0]
    runs: tuple[str, ...] = ()
    # An expression of the filter language.
    filter: str = ""
    # Attributes whose values make groups of runs; empty: a row per run.
    group: tuple[str, ...] = ()
    # Where a later page begins, in the server's words.
    after: str = ""

    @classmethod
    def read(cls, query: Query) -> Self:
        limit = last(query, "limit")
        columns: tuple[str, ...] | None = _all(query, "column") or None
        return cls(
            project=last(query, "project"),
            experiment=last(query, "experiment"),
            find=last(query, "find"),
            columns=() if last(query, "columns") == "none" else columns,
            sort=last(query, "sort"),
            ascending=last(query, "order") == "ascending",
            limit=int(limit) if limit in {str(known) for known in LIMITS} else LIMITS[0],
            runs=_runs(query),
            filter=last(query, "filter"),
            group=_all(query, "group"),
            after=last(query, "after"),
        )

    def write(self) -> dict[str, list[str]]:
        return _written(
            project=self.project,
            experiment=self.experiment,
            filter=self.filter,
            find=self.find,
            group=self.group,
            column=self.columns,
            columns="none" if self.columns == () else "",
            sort=self.sort,
            order="ascending" if self.ascending else "",
            limit="" if self.limit == LIMITS[0] else str(self.limit),
            after=self.after,
            run=_written_runs(self.runs),
        )

    def with_(self, **changes: Any) -> Self:
        """Other runs, or the same in another order, begin with the first page."""
        about = changes.keys() - {"after", "columns", "runs"}
        if any(changes[name] != getattr(self, name) for name in about):
            changes = {"after": "", **changes}
        return replace(self, **changes)


Shade = Literal["min_max", "std", "quantiles", "none"]
SHADES: tuple[Shade, ...] = ("min_max", "std", "quantiles", "none")
SHADE_NAMES: Mapping[Shade, str] = {
    "min_max": "Least to greatest",
    "std": "Standard deviation",
    "quantiles": "Middle half",
    "none": "None",
}


@dataclass(frozen=True)
class CompareView:
    """The Compare page. `metrics` None: chosen from the data. `from_x` and `to_x` are the
    zoomed range in units of the axis, both or neither."""

    project: str = ""
    runs: tuple[str, ...] = ()
    metrics: tuple[str, ...] | None = None
    drawing: Drawing = PLAIN
    envelope: bool = True
    from_x: float | None = None
    to_x: float | None = None
    # Configs; runs with equal values are one curve.
    groups: tuple[str, ...] = ()
    # All runs are one curve; then `groups` is empty.
    together: bool = False
    # What is shaded about the curve of a group.
    shade: Shade = "min_max"

    @property
    def zoomed(self) -> tuple[float, float] | None:
        if self.from_x is None or self.to_x is None:
            return None
        return self.from_x, self.to_x

    @property
    def is_grouped(self) -> bool:
        return self.together or bool(self.groups)

    @classmethod
    def read(cls, query: Query) -> Self:
        low, high = number(last(query, "from")), number(last(query, "to"))
        if low is None or high is None or low >= high:
            low = high = None
        metrics: tuple[str, ...] | None = _all(query, "metric") or None
        together = last(query, "groups") == "one"
        shade = last(query, "band")
        return cls(
            project=last(query, "project"),
            runs=_runs(query),
            metrics=() if last(query, "metrics") == "none" else metrics,
            drawing=Drawing.read(query),
            envelope=last(query, "range") != "off",
            from_x=low,
            to_x=high,
            groups=() if together else _all(query, "group"),
            together=together,
            shade=shade if shade in SHADES else "min_max",
        )

    def write(self) -> dict[str, list[str]]:
        return _written(
            project=self.project,
            run=_written_runs(self.runs),
            metric=self.metrics,
            metrics="none" if self.metrics == () else "",
            range="" if self.envelope else "off",
            group=self.groups,
            groups="one" if self.together else "",
            band="" if self.shade == "min_max" else self.shade,
            **self.drawing.write(),
            **{
                "from": repr(self.from_x) if self.zoomed else "",
                "to": repr(self.to_x) if self.zoomed else "",
            },
        )

    def with_(self, **changes: Any) -> Self:
        return replace(self, **changes)


@dataclass(frozen=True)
class TrashView:
    """The Trash page."""

    project: str = ""
    # Those selected, by id, and with @ and its incarnation behind it where that is not the first.
    runs: tuple[str, ...] = ()
    # Where a later page begins, in the server's words.
    after: str = ""

    @classmethod
    def read(cls, query: Query) -> Self:
        return cls(project=last(query, "project"), runs=_runs(query), after=last(query, "after"))

    def write(self) -> dict[str, list[str]]:
        return _written(project=self.project, after=self.after, run=_written_runs(self.runs))

    def with_(self, **changes: Any) -> Self:
        return replace(self, **changes)


TABS = ("metrics", "configs", "hardware", "console", "files", "source")


@dataclass(frozen=True)
class RunView:
    """The Run page. `find` filters metrics, `lines` the console."""

    project: str = ""
    run: str = ""
    tab: str = TABS[0]
    drawing: Drawing = PLAIN
    find: str = ""
    lines: str = ""

    @classmethod
    def read(cls, query: Query) -> Self:
        tab = last(query, "tab")
        return cls(
            project=last(query, "project"),
            run=last(query, "run"),
            tab=tab if tab in TABS else TABS[0],
            drawing=Drawing.read(query),
            find=last(query, "find"),
            lines=last(query, "lines"),
        )

    def write(self) -> dict[str, list[str]]:
        return _written(
            project=self.project,
            run=self.run,
            tab="" if self.tab == TABS[0] else self.tab,
            find=self.find,
            lines=self.lines,
            **self.drawing.write(),
        )

    def with_(self, **changes: Any) -> Self:
        return replace(self, **changes)
