"""The filters of the Runs page as one filter of the query service, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from naiad.exceptions import NaiadQueryError
from naiad.query.client import QueryClient, Runs
from naiad_dashboard.texts import plain
from naiad_dashboard.views import RunsView
from naiad_proto.filters import (
    Compare,
    Exists,
    Filter,
    FilterError,
    Literal,
    Not,
    Operand,
    parse_filter,
)

HELP = """
Runs for which this is true, as

`val/acc > 0.9 and lr in (0.1, 0.01)`
`tags has "prod" and not status == "failed"`
`name =~ "^resnet" and created > ago("7d")`
`loss.min < 0.1 or seed exists`

A metric stands for its last value; .min, .max, .mean, .first and .count are there too. Paths with
blanks stand in backticks.
"""


def combined(view: RunsView) -> str:
    """All that the page is narrowed by; empty for all runs."""
    parts = []
    if view.filter.strip():
        parts.append(f"({view.filter})")
    if view.find:
        by_id, by_name = (
            Compare(Operand(path), "=~", Literal(view.find))
            for path in ("sys/custom_run_id", "sys/name")
        )
        parts.append(f"({by_id} or {by_name})")
    if view.experiment:
        parts.append(str(Compare(Operand("sys/name"), "==", Literal(view.experiment))))
    return " and ".join(parts)


def is_understood(view: RunsView) -> bool:
    """Whether the reader's filter can be asked; else says why, as it stands in the box."""
    if not view.filter.strip():
        return True
    try:
        parse_filter(view.filter)
        return True
    except FilterError as error:
        tell(str(error))
        return False


def tell_refusal(client: QueryClient, view: RunsView, error: NaiadQueryError) -> None:
    """What the server says of the filter in the box, which it knows as a part of a longer one."""
    if view.filter.strip():
        try:
            client.runs_page(view.project, Runs(filter=view.filter), limit=1)
        except NaiadQueryError as own:
            error = own
    tell(str(error))


def tell(text: str) -> None:
    """An error, with the filter and the caret below it in letters of one width."""
    message, _, picture = text.partition("\n")
    st.error(plain(message), icon=":material/error:")
    if picture:
        st.code(picture, language=None)


def narrowed(filter_: str, values: Mapping[str, Any]) -> str:
    """The filter, and that attributes ("path:type") have these values; None: not at all."""
    parts = [f"({filter_})" if filter_.strip() else ""]
    for name, value in values.items():
        # Without its type: a group of numbers has ints and floats.
        operand = Operand(name.rpartition(":")[0])
        test: Filter = Compare(operand, "==", Literal(_literal(value)))
        parts.append(str(Not(Exists(operand)) if value is None else test))
    return " and ".join(part for part in parts if part)


def _literal(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
