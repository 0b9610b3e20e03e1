"""Runs in groups: a row per group, with what its runs' metrics come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import streamlit as st

from naiad.query.client import Attributes, QueryClient, Runs
from naiad_dashboard.filtering import combined, narrowed
from naiad_dashboard.texts import plain, shorten, value_text
from naiad_dashboard.views import RunsView

COUNT = "runs"
_SHOWN = ("min", "median", "max")
_NUMBERS = ("int", "float", "float_series")


def show_groups(
    client: QueryClient, view: RunsView, metrics: Sequence[str], change: Callable[..., None]
) -> None:
    """Draws them; `change` takes what the page is to show instead."""
    found = client.run_groups(
        view.project,
        view.group,
        Runs(filter=combined(view)),
        Attributes(paths=metrics, types=_NUMBERS),
        limit=view.limit,
    )
    if not found.total_groups:
        st.info("No run matches. Change or clear the filter above.")
        return
    table = found.table
    total = f"{found.total_groups:,} group" + ("" if found.total_groups == 1 else "s")
    if table.num_rows < found.total_groups:
        total = f"The first {table.num_rows:,} of {total}"
    choice = st.container(horizontal=True, vertical_alignment="center", key="naiad-choice")
    shown = frame(table, len(view.group))
    picked = st.dataframe(
        shown,
        hide_index=True,
        height=min(38 + 35 * len(shown), 640),
        key=f"runs-groups {' '.join(view.group)} {combined(view)}",
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            name: st.column_config.NumberColumn(format="%.6g")
            for name in shown.columns
            if pd.api.types.is_float_dtype(shown[name].dtype)
        },
    )
    rows = picked["selection"]["rows"]
    with choice:
        if rows and rows[0] < table.num_rows:
            _open(view, table, rows[0], change)
        st.caption(f"{total}. Select one by the box on its left to see its runs.")


def _open(view: RunsView, table: pa.Table, row: int, change: Callable[..., None]) -> None:
    names = table.column_names[: len(view.group)]
    values: dict[str, Any] = {name: table.column(name)[row].as_py() for name in names}
    if any(isinstance(value, list) for value in values.values()):
        st.caption("Runs with one set of tags can't be asked for by a filter.")
        return
    said = ", ".join(
        f"{path} {'missing' if value is None else value_text(value)}"
        for path, value in zip(view.group, values.values(), strict=True)
    )
    st.button(
        f"Show runs of {plain(shorten(said))}",
        icon=":material/table_rows:",
        on_click=lambda: change(filter=narrowed(view.filter, values), group=()),
    )


def frame(table: pa.Table, keys: int) -> pd.DataFrame:
    """The groups' values, how many runs, then of each attribute what `_SHOWN` names."""
    columns: dict[str, Any] = {}
    for name in table.column_names[:keys]:
        path = name.rpartition(":")[0]
        columns[path if path != COUNT else f"{path} (attribute)"] = [
            None if value is None else value_text(value) for value in table.column(name).to_pylist()
        ]
    columns[COUNT] = table.column("run_count").to_pylist()
    for name in table.column_names[keys + 1 :]:
        path, _, kind = name.rpartition(":")
        twice = sum(other.rpartition(":")[0] == path for other in table.column_names) > 1
        stats = table.column(name).combine_chunks()
        if not any(stats.field("count").to_pylist()):
            continue
        for stat in _SHOWN:
            title = f"{path} ({kind}) {stat}" if twice else f"{path} {stat}"
            columns[title] = pd.Series(stats.field(stat).to_pylist(), dtype="float64")
    return pd.DataFrame(columns)
