"""Run: everything that one run logged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import streamlit as st

from naiad.query.client import Attributes, Runs
from naiad_dashboard import attributes, texts
from naiad_dashboard.address import bound, go, query
from naiad_dashboard.chrome import Site, choose_project, links, no_project
from naiad_dashboard.components import console, draw_charts, draw_tree
from naiad_dashboard.curves import charts
from naiad_dashboard.pages.compare import AXIS_NAMES
from naiad_dashboard.payload import pack
from naiad_dashboard.texts import plain
from naiad_dashboard.trees import tree
from naiad_dashboard.views import AXES, TABS, CompareView, RunsView, RunView

_BUCKETS = 250
# More charts than this are not read at once.
_CHARTS = 60
_LINES = 2000
_REFRESH_SECONDS = 5
_STATES = {
    "running": ":blue-badge[running]",
    "finished": ":green-badge[finished]",
    "failed": ":red-badge[failed]",
    "killed": ":red-badge[killed]",
    "stopped": ":orange-badge[stopped]",
}
_SYSTEM = (
    "sys/state",
    "sys/name",
    "sys/creation_time",
    "sys/modification_time",
    "sys/trained_time",
    "sys/owner",
    "sys/tags",
    "sys/group_tags",
    "sys/description",
)


def show(site: Site) -> None:
    view = RunView.read(query())
    projects = site.client.list_projects()
    if not projects:
        no_project(site)
        return
    view = view.with_(project=choose_project(view.project, projects))
    go(view)
    links(
        site,
        {
            "runs": RunsView(project=view.project).write(),
            "compare": CompareView(project=view.project, runs=(view.run,)).write(),
        },
    )
    if not view.run:
        st.subheader("No run chosen")
        st.write("Open one from the table of the Runs page.")
        return
    first = _facts(site, view)
    if first is None:
        st.error(f"There is no run {plain(view.run)} in project {plain(view.project)}.")
        return
    _Page(site, view, running=first.get("sys/state") == "running").draw(first)


def _set(**changes: Any) -> None:
    go(RunView.read(query()).with_(**changes))


def _facts(site: Site, view: RunView) -> dict[str, Any] | None:
    """What the head says; None if there is no such run."""
    table = site.client.runs_table(view.project, Runs(names=[view.run]), Attributes(paths=_SYSTEM))
    if not table.num_rows:
        return None
    row = table.to_pylist()[0]
    return {name.rpartition(":")[0] or name: value for name, value in row.items()}


class _Page:
    def __init__(self, site: Site, view: RunView, *, running: bool) -> None:
        self.site = site
        self.view = view
        self.runs = Runs(names=[view.run])
        self.every = _REFRESH_SECONDS if running else None

    def draw(self, first: dict[str, Any]) -> None:
        self._head(first)
        known = self.site.client.list_attributes(self.view.project, self.runs)
        sections = {
            "metrics": lambda: self._charts("metrics", attributes.metrics(known)),
            "configs": lambda: self._values(
                [a for a in known if a[1] in attributes.CONFIG_TYPES and not _is_aside(a[0])],
                "No configs were logged.",
            ),
            "hardware": lambda: self._hardware(known),
            "console": lambda: self._console(attributes.console(known)),
            "files": lambda: self._files(known),
            "source": lambda: self._values(
                [
                    a
                    for a in known
                    if a[0].startswith("source_code/") and a[1] in attributes.CONFIG_TYPES
                ],
                "Nothing was recorded of the source code.",
            ),
        }
        st.segmented_control(
            "Section",
            TABS,
            format_func=str.capitalize,
            required=True,
            label_visibility="collapsed",
            **bound("run-tab", self.view.tab, lambda new: _set(tab=new)),
        )
        sections[self.view.tab]()

    def _head(self, first: dict[str, Any]) -> None:
        name = first.get("sys/name") or first.get("experiment") or ""
        st.subheader(plain(texts.run_label(self.view.run, name)), anchor=False)

        @st.fragment(run_every=self.every)
        def facts() -> None:
            now = _facts(self.site, self.view) or first
            state = now.get("sys/state") or ""
            parts = [
                _STATES.get(state, plain(state)),
                plain(self.view.project),
                f"created {plain(texts.value_text(now.get('sys/creation_time')))}",
            ]
            if (trained := now.get("sys/trained_time")) is not None:
                parts.append(f"ran {texts.duration_text(trained)}")
            if owner := now.get("sys/owner"):
                parts.append(f"by {plain(owner)}")
            tags = [*(now.get("sys/tags") or ()), *(now.get("sys/group_tags") or ())]
            parts.extend(f":gray-badge[{plain(tag)}]" for tag in sorted(tags))
            st.markdown(" · ".join(part for part in parts if part))
            if state != "running" and self.every:
                # Ended since the page was drawn: draw it once more, without the clock.
                st.rerun()

        facts()

    def _axis(self) -> None:
        st.segmented_control(
            "X axis",
            AXES,
            format_func=lambda axis: AXIS_NAMES[axis],
            required=True,
            **bound("run-x", self.view.x, lambda new: _set(x=new)),
        )

    def _charts(self, name: str, paths: Sequence[str]) -> None:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            self._axis()
            st.text_input(
                "Find",
                placeholder="part of a metric's path",
                width=320,
                **bound("run-find", self.view.find, lambda new: _set(find=new)),
            )
        wanted = self.view.find.lower()
        matching = [path for path in paths if wanted in path.lower()]
        if not matching:
            st.info("No metric matches." if paths else f"No {name} were logged yet.")
            return
        many = st.session_state.setdefault(f"run-many {name} {self.view.run}", _CHARTS)
        self._draw(name, matching[:many], self.view.x)
        if len(matching) > many:
            st.caption(f"{many:,} of {len(matching):,} metrics.")

            def more() -> None:
                st.session_state[f"run-many {name} {self.view.run}"] = many + _CHARTS

            st.button(f"Show {min(_CHARTS, len(matching) - many)} more", on_click=more)

    def _draw(self, name: str, paths: Sequence[str], axis: Any) -> None:
        zoom = f"run-zoom {name} {self.view.run} {axis}"

        def zoomed(chosen: tuple[float, float] | None) -> None:
            st.session_state[zoom] = chosen

        @st.fragment(run_every=self.every)
        def drawn() -> None:
            chosen = st.session_state.get(zoom)
            low, high = chosen or (None, None)
            buckets = self.site.client.metric_buckets(
                self.view.project,
                self.runs,
                Attributes(paths=paths, types=[attributes.METRIC]),
                x=axis,
                from_x=low,
                to_x=high,
                max_buckets=_BUCKETS,
            )
            block = pack(
                charts(buckets, paths, [self.view.run]),
                [self.view.run],
                {},
                settings={
                    "axis": axis,
                    "log": False,
                    "envelope": True,
                    "range": list(chosen) if chosen else None,
                    "height": 180,
                    "legend": False,
                    "grouped": True,
                },
            )
            draw_charts(block, key=f"run-charts {name} {axis}", on_range=zoomed)

        drawn()

    def _hardware(self, known: Sequence[tuple[str, str]]) -> None:
        paths = attributes.hardware(known)
        facts = [
            a for a in known if a[0].startswith("runtime/") and a[1] in attributes.CONFIG_TYPES
        ]
        if not paths and not facts:
            st.info("Nothing was recorded of the hardware.")
            return
        if paths:
            # Its steps are seconds since 1970.
            self._draw("hardware", paths, "time")
        if facts:
            self._values(facts, "")

    def _console(self, paths: Sequence[str]) -> None:
        if not paths:
            st.info("No console output was captured.")
            return
        st.text_input(
            "Find",
            placeholder="part of a line",
            width=320,
            **bound("run-lines", self.view.lines, lambda new: _set(lines=new)),
        )

        @st.fragment(run_every=self.every)
        def drawn() -> None:
            table = self.site.client.series(
                self.view.project,
                self.runs,
                Attributes(paths=paths, types=["string_series"]),
                tail_limit=_LINES,
            )
            wanted = self.view.lines.lower()
            lines = [line for line in _lines(table) if wanted in line[2].lower()]
            console(lines, key="run-console", empty="No line matches." if wanted else "No line.")
            st.caption(f"The last {_LINES:,} lines of each stream at most; {len(lines):,} shown.")

        drawn()

    def _values(self, wanted: Sequence[tuple[str, str]], nothing: str) -> None:
        if not wanted:
            st.info(nothing)
            return
        table = self.site.client.runs_table(
            self.view.project,
            self.runs,
            Attributes(paths=list(dict.fromkeys(path for path, _ in wanted))),
        )
        row = table.to_pylist()[0]
        leaves = [
            (path, kind, texts.value_text(row.get(f"{path}:{kind}")))
            for path, kind in wanted
            if row.get(f"{path}:{kind}") is not None
        ]
        draw_tree(tree(leaves), key=f"run-values {self.view.run} {self.view.tab}")

    def _files(self, known: Sequence[tuple[str, str]]) -> None:
        single = [path for path, kind in known if kind == "file"]
        series = [path for path, kind in known if kind == "file_series"]
        rows = []
        if single:
            table = self.site.client.runs_table(
                self.view.project, self.runs, Attributes(paths=single, types=["file"])
            )
            for name, value in table.to_pylist()[0].items():
                if isinstance(value, dict):
                    rows.append(_file_row(name.rpartition(":")[0], "", value))
        if series:
            found = self.site.client.series(
                self.view.project,
                self.runs,
                Attributes(paths=series, types=["file_series"]),
                tail_limit=100,
            )
            rows.extend(
                _file_row(row["path"], texts.number_text(row["step"] / 1e6), row["file"])
                for row in found.to_pylist()
            )
        if not rows:
            st.info("No files were logged.")
            return
        st.dataframe(rows, hide_index=True)
        if series:
            st.caption("Of each series the last 100 files.")


def _is_aside(path: str) -> bool:
    return path.startswith(("runtime/", "source_code/"))


def _file_row(path: str, step: str, file: dict[str, Any]) -> dict[str, str]:
    return {
        "path": path,
        "step": step,
        "name": file.get("name") or "",
        "size": texts.size_text(file.get("size_bytes") or 0),
        "type": file.get("mime_type") or "",
        "sha256": file.get("sha256") or "",
    }


def _lines(table: pa.Table) -> list[tuple[int, str, str]]:
    """Lines of all streams by time; those of one stream keep their order."""
    paths = table["path"].to_pylist()
    steps = table["step"].to_pylist()
    times = table["timestamp"].to_pylist()
    values = table["string_value"].to_pylist()
    rows = [
        (_milliseconds(time), path, step, value or "")
        for path, step, time, value in zip(paths, steps, times, values, strict=True)
    ]
    return [
        (time, attributes.stream_of(path), text)
        for time, path, _, text in sorted(rows, key=lambda row: row[:3])
    ]


def _milliseconds(time: datetime | None) -> int:
    if time is None:
        return 0
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1000)
