"""What a run's processes printed, as lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa
import streamlit as st

from naiad.query.client import Attributes
from naiad_dashboard import attributes
from naiad_dashboard.address import bound
from naiad_dashboard.chrome import part
from naiad_dashboard.components import console
from naiad_dashboard.sections import Attribute, Opened, set_view

_LINES = 2000
# A terminal's colours and moves of the cursor (ECMA-48), titles, and lone escapes.
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)?")


def show_console(opened: Opened, known: Sequence[Attribute]) -> None:
    paths = attributes.console(known)
    if not paths:
        st.info(
            "No console output yet. A run captures what its process prints, unless it was"
            " made with `enable_console_log_capture=False`."
        )
        return
    st.text_input(
        "Find",
        placeholder="part of a line",
        width=320,
        **bound("run-lines", opened.view.lines, lambda new: set_view(lines=new)),
    )

    def drawn() -> None:
        table = opened.site.client.series(
            opened.view.project,
            opened.runs,
            Attributes(paths=paths, types=["string_series"]),
            tail_limit=_LINES,
        )
        wanted = opened.view.lines.lower()
        found = lines(table)
        shown = [line for line in found if wanted in line[2].lower()]
        console(shown, key="run-console", empty="No line matches." if wanted else "No line.")
        searched = f" among {len(found):,}" if wanted else ""
        # A stream that reaches the limit may have had more.
        limit = f"; the last {_LINES:,} of each stream" if len(found) >= _LINES else ""
        st.caption(f"{len(shown):,} lines{searched}{limit}.")

    part("run-console", drawn, every=opened.every)


def lines(table: pa.Table) -> list[tuple[int, str, str]]:
    """(milliseconds since 1970, "stdout" or "stderr", text) of all streams by time; lines of
    one stream keep their order."""
    columns = (table[name].to_pylist() for name in ("path", "step", "timestamp", "string_value"))
    rows = [
        (_milliseconds(time), path, step, printed(value or ""))
        for path, step, time, value in zip(*columns, strict=True)
    ]
    return [
        (time, attributes.stream_of(path), text)
        for time, path, _, text in sorted(rows, key=lambda row: row[:3])
    ]


def printed(line: str) -> str:
    """What a terminal would show of `line` in the end, without colours: a progress bar that
    returned to the line's begin shows its last state."""
    text = _TERMINAL.sub("", line)
    states = [state for state in text.split("\r") if state]
    return states[-1] if states else ""


def _milliseconds(time: datetime | None) -> int:
    if time is None:
        return 0
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return int(aware.timestamp() * 1000)
