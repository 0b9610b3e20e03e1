"""What each page shows, as plain data that stands in its URL.

A view is read from a query string and written to one; `read(write(view)) == view`. What
equals the default is left out of the URL, and a parameter that can't be understood counts
as absent: a link that someone shortened or mistyped still opens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

Query = Mapping[str, Sequence[str]]
Axis = Literal["step", "time", "relative_time"]
AXES: tuple[Axis, ...] = ("step", "time", "relative_time")
AXIS_NAMES: Mapping[Axis, str] = {
    "step": "Step",
    "time": "Time",
    "relative_time": "Since start",
}
LIMITS = (100, 500, 2000, 0)
_RUNS_APART = 20


def _last(query: Query, name: str) -> str:
    values = query.get(name) or ("",)
    return values[-1]


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


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


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

    @classmethod
    def read(cls, query: Query) -> Self:
        limit = _last(query, "limit")
        columns: tuple[str, ...] | None = _all(query, "column") or None
        return cls(
            project=_last(query, "project"),
            experiment=_last(query, "experiment"),
            find=_last(query, "find"),
            columns=() if _last(query, "columns") == "none" else columns,
            sort=_last(query, "sort"),
            ascending=_last(query, "order") == "ascending",
            limit=int(limit) if limit in {str(known) for known in LIMITS} else LIMITS[0],
            runs=_runs(query),
        )

    def write(self) -> dict[str, list[str]]:
        return _written(
            project=self.project,
            experiment=self.experiment,
            find=self.find,
            column=self.columns,
            columns="none" if self.columns == () else "",
            sort=self.sort,
            order="ascending" if self.ascending else "",
            limit="" if self.limit == LIMITS[0] else str(self.limit),
            run=_written_runs(self.runs),
        )

    def with_(self, **changes: Any) -> Self:
        return replace(self, **changes)


@dataclass(frozen=True)
class CompareView:
    """The Compare page. `metrics` None: chosen from the data. `from_x` and `to_x` are the
    zoomed range in units of the axis, both or neither."""

    project: str = ""
    runs: tuple[str, ...] = ()
    metrics: tuple[str, ...] | None = None
    x: Axis = "step"
    log_y: bool = False
    smoothing: float = 0.0
    envelope: bool = True
    from_x: float | None = None
    to_x: float | None = None

    @property
    def zoomed(self) -> tuple[float, float] | None:
        if self.from_x is None or self.to_x is None:
            return None
        return self.from_x, self.to_x

    @classmethod
    def read(cls, query: Query) -> Self:
        axis = _last(query, "x")
        smoothing = _number(_last(query, "smoothing")) or 0.0
        low, high = _number(_last(query, "from")), _number(_last(query, "to"))
        if low is None or high is None or low >= high:
            low = high = None
        metrics: tuple[str, ...] | None = _all(query, "metric") or None
        return cls(
            project=_last(query, "project"),
            runs=_runs(query),
            metrics=() if _last(query, "metrics") == "none" else metrics,
            x=axis if axis in AXES else "step",
            log_y=_last(query, "y") == "log",
            smoothing=smoothing if 0.0 <= smoothing < 1.0 else 0.0,
            envelope=_last(query, "range") != "off",
            from_x=low,
            to_x=high,
        )

    def write(self) -> dict[str, list[str]]:
        return _written(
            project=self.project,
            run=_written_runs(self.runs),
            metric=self.metrics,
            metrics="none" if self.metrics == () else "",
            x="" if self.x == "step" else self.x,
            y="log" if self.log_y else "",
            smoothing=repr(self.smoothing) if self.smoothing else "",
            range="" if self.envelope else "off",
            **{
                "from": repr(self.from_x) if self.zoomed else "",
                "to": repr(self.to_x) if self.zoomed else "",
            },
        )

    def with_(self, **changes: Any) -> Self:
        return replace(self, **changes)


TABS = ("metrics", "configs", "hardware", "console", "files", "source")


@dataclass(frozen=True)
class RunView:
    """The Run page. `find` filters metrics, `lines` the console."""

    project: str = ""
    run: str = ""
    tab: str = TABS[0]
    x: Axis = "step"
    find: str = ""
    lines: str = ""

    @classmethod
    def read(cls, query: Query) -> Self:
        tab, axis = _last(query, "tab"), _last(query, "x")
        return cls(
            project=_last(query, "project"),
            run=_last(query, "run"),
            tab=tab if tab in TABS else TABS[0],
            x=axis if axis in AXES else "step",
            find=_last(query, "find"),
            lines=_last(query, "lines"),
        )

    def write(self) -> dict[str, list[str]]:
        return _written(
            project=self.project,
            run=self.run,
            tab="" if self.tab == TABS[0] else self.tab,
            x="" if self.x == "step" else self.x,
            find=self.find,
            lines=self.lines,
        )

    def with_(self, **changes: Any) -> Self:
        return replace(self, **changes)
