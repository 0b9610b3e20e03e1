"""Every metric of a run, a small chart each; those of the machine are a section of their own."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from naiad_dashboard import attributes
from naiad_dashboard.address import bound
from naiad_dashboard.chrome import part
from naiad_dashboard.components import draw_charts
from naiad_dashboard.controls import draw_controls
from naiad_dashboard.curves import charts
from naiad_dashboard.drawing import Drawing
from naiad_dashboard.payload import pack
from naiad_dashboard.questions import chart_columns
from naiad_dashboard.sections import Attribute, Opened, set_view
from naiad_dashboard.sections.values import show_values
from naiad_dashboard.texts import plain

_BUCKETS = 250
# More charts than this are not read at once.
_CHARTS = 60


def show_metrics(opened: Opened, known: Sequence[Attribute]) -> None:
    view = opened.view
    paths = attributes.metrics(known)
    if not paths:
        st.info('No metrics yet. `run.log_metrics({"loss": 0.5}, step=1)` logs some.')
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        draw_controls("run", view.drawing, paths, lambda new: set_view(drawing=new))
        st.text_input(
            "Find",
            placeholder="part of a metric's path",
            width=320,
            **bound("run-find", view.find, lambda new: set_view(find=new)),
        )
    wanted = view.find.lower()
    matching = [path for path in paths if wanted in path.lower()]
    if not matching:
        st.info(f"None of the {len(paths):,} metrics matches. Change or clear the filter above.")
        return
    many = st.session_state.setdefault(f"run-many {view.run}", _CHARTS)
    _draw(opened, "metrics", matching[:many], view.drawing)
    if len(matching) > many:
        st.caption(f"{many:,} of {len(matching):,} metrics.")

        def more() -> None:
            st.session_state[f"run-many {view.run}"] = many + _CHARTS

        st.button(f"Show {min(_CHARTS, len(matching) - many)} more", on_click=more)


def show_hardware(opened: Opened, known: Sequence[Attribute]) -> None:
    paths = attributes.hardware(known)
    facts = [a for a in known if a[0].startswith("runtime/") and a[1] in attributes.CONFIG_TYPES]
    if not paths and not facts:
        st.info("Nothing was recorded of the hardware.")
        return
    if paths:
        # Its steps are seconds since 1970.
        _draw(opened, "hardware", paths, Drawing(x="time"))
    if facts:
        show_values(opened, facts, "")


def _draw(opened: Opened, name: str, paths: Sequence[str], drawing: Drawing) -> None:
    run = opened.view.run
    axis = f"{drawing.x} {drawing.x_metric}"
    zoom = f"run-zoom {name} {run} {axis}"

    def zoomed(chosen: tuple[float, float] | None) -> None:
        st.session_state[zoom] = chosen

    def drawn() -> None:
        chosen: tuple[float, float] | None = st.session_state.get(zoom)
        columns, notes = chart_columns(
            opened.site.client,
            opened.view.project,
            [run],
            paths,
            zoomed=chosen,
            columns=_BUCKETS,
            **drawing.asked(),
        )
        block = pack(
            charts(columns, paths, [run]),
            [run],
            {},
            settings={
                **drawing.settings(),
                "envelope": True,
                "range": chosen,
                "height": 180,
                "legend": False,
                # The machine's metrics lie deep, few to a folder.
                "grouped": name == "metrics",
            },
        )
        draw_charts(block, key=f"run-charts {name} {axis}", on_range=zoomed)
        for note in notes:
            st.caption(f":material/info: {plain(note)}")

    part(f"run-charts {name}", drawn, every=opened.every)
