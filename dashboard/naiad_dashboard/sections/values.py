"""Single values of a run as a tree: its configs, its source, facts about the machine."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from naiad.query.client import Attributes
from naiad_dashboard import attributes
from naiad_dashboard.components import draw_tree
from naiad_dashboard.sections import Attribute, Opened
from naiad_dashboard.texts import value_text
from naiad_dashboard.trees import tree


def show_configs(opened: Opened, known: Sequence[Attribute]) -> None:
    aside = ("runtime/", "source_code/")
    wanted = [a for a in known if a[1] in attributes.CONFIG_TYPES and not a[0].startswith(aside)]
    if not attributes.configs(known):
        st.info('No configs yet. `run.log_configs({"lr": 0.1})` logs some.')
    show_values(opened, wanted, "", closed=["sys"])


def show_source(opened: Opened, known: Sequence[Attribute]) -> None:
    folder = "source_code/"
    wanted = [a for a in known if a[0].startswith(folder) and a[1] in attributes.CONFIG_TYPES]
    show_values(opened, wanted, "Nothing was recorded of the source code.")


def show_values(
    opened: Opened, wanted: Sequence[Attribute], nothing: str, *, closed: Sequence[str] = ()
) -> None:
    """`nothing` is said if there are none; `closed`: folders that are shut at first."""
    if not wanted:
        if nothing:
            st.info(nothing)
        return
    table = opened.site.client.runs_table(
        opened.view.project,
        opened.runs,
        Attributes(paths=list(dict.fromkeys(path for path, _ in wanted))),
    )
    row = table.to_pylist()[0] if table.num_rows else {}
    leaves = [
        (path, kind, value_text(row[f"{path}:{kind}"]))
        for path, kind in wanted
        if row.get(f"{path}:{kind}") is not None
    ]
    draw_tree(tree(leaves), key=f"run-values {opened.view.run} {opened.view.tab}", closed=closed)
