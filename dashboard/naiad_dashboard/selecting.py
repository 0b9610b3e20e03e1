"""A table whose rows can be selected, while what is selected stands in the URL."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st


def draw_table(
    name: str,
    found: pd.DataFrame,
    keys: Sequence[str],
    chosen: Sequence[str],
    config: Mapping[str, Any],
    write: Callable[[list[str]], None],
) -> None:
    """Draws `found`, whose rows are called `keys`, with those selected that are among `chosen`;
    `write` gets those that the reader selects. `name` tells it from other tables."""
    places = {key: place for place, key in enumerate(keys)}
    rows = sorted(places[key] for key in chosen if key in places)
    # Positions mean something only for these rows: other rows are another widget. So are
    # rows selected in another way (the back button), since only its first value is ours.
    base = f"{name} {_digest(keys)}"
    turn = f"turn {base}"
    key = f"{base} {st.session_state.setdefault(turn, 0)}"
    if key in st.session_state and sorted(st.session_state[key]["selection"]["rows"]) != rows:
        st.session_state[turn] += 1
        key = f"{base} {st.session_state[turn]}"

    def changed() -> None:
        write([keys[row] for row in st.session_state[key]["selection"]["rows"]])

    st.dataframe(
        found,
        hide_index=True,
        height=min(38 + 35 * len(found), 640),
        key=key,
        on_select=changed,
        selection_mode="multi-row",
        selection_default={"selection": {"rows": rows, "columns": [], "cells": []}},
        placeholder="",
        column_config=config,
    )


def time_column(label: str, help_: str) -> Any:
    return st.column_config.DatetimeColumn(
        label, format="YYYY-MM-DD HH:mm:ss", timezone=st.context.timezone, help=help_
    )


def _digest(keys: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]
