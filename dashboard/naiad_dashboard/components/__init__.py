"""The parts of pages that Streamlit has no widget for: charts, trees, consoles.

Each is a Streamlit component of ours, sent inline with the page, so nothing is fetched
from elsewhere. Text of users goes into them as data and is only ever set as text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from naiad_dashboard.trees import Node

__all__ = ["ask_token", "console", "draw_charts", "draw_tree", "forget_token", "keep_token"]

_HERE = Path(__file__).parent


def _read(*names: str) -> str:
    return "\n".join((_HERE / name).read_text(encoding="utf-8") for name in names)


_CHARTS = st.components.v2.component(
    "naiad.charts",
    css=_read("uplot/uPlot.min.css", "charts.css"),
    js=_read("uplot/uPlot.iife.min.js", "charts.js"),
)
_TREE = st.components.v2.component("naiad.tree", css=_read("tree.css"), js=_read("tree.js"))
_CONSOLE = st.components.v2.component(
    "naiad.console", css=_read("console.css"), js=_read("console.js")
)
_KEEP = st.components.v2.component("naiad.keep", js=_read("keep.js"))


def draw_charts(
    block: bytes,
    *,
    key: str,
    on_range: Callable[[tuple[float, float] | None], None],
    on_remove: Callable[[str], None] = lambda run: None,
) -> None:
    """`block` as `naiad_dashboard.payload.pack` makes it; `on_range` is called with what
    the reader zooms to, None for all; `on_remove` with a run to be taken out, which the
    legend offers if the block's settings say "removable"."""

    def ranged() -> None:
        if chosen := st.session_state[key].get("range"):
            on_range(None if chosen == "all" else (float(chosen[0]), float(chosen[1])))

    def removed() -> None:
        if run := st.session_state[key].get("remove"):
            on_remove(str(run))

    _CHARTS(data=block, key=key, on_range_change=ranged, on_remove_change=removed)


def draw_tree(nodes: Sequence[Node], *, key: str, closed: Sequence[str] = ()) -> None:
    """`closed`: paths of the folders that are shut at first."""
    _TREE(data={"nodes": list(nodes), "closed": list(closed)}, key=key)


def console(lines: Sequence[tuple[int, str, str]], *, key: str, empty: str) -> None:
    """Lines of (milliseconds since 1970, "stdout" or "stderr", text), latest last."""
    data: dict[str, Any] = {"lines": [list(line) for line in lines], "empty": empty}
    _CONSOLE(data=data, key=key)


def ask_token() -> str | None:
    """The token that this browser keeps, "" if it keeps none, None until it has answered."""
    answer = _KEEP(data={"task": "ask"}, key="naiad-keep-ask", on_token_change=lambda: None)
    return None if answer.token is None else str(answer.token)


def keep_token(token: str, *, long: bool) -> None:
    """`long`: until the reader signs out, else as long as the tab lives."""
    _KEEP(data={"task": "keep", "token": token, "long": long}, key="naiad-keep-keep")


def forget_token() -> None:
    _KEEP(data={"task": "forget"}, key="naiad-keep-forget")
