"""Attributes that every run has without logging them, as Neptune's users know them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from naiad_store.selects.attributes import ARROW, Attribute, What
from naiad_store.selects.patterns import matching
from naiad_store.selects.runs import Lived, RunRow
from naiad_store.store import Store


def _trained(run: RunRow, lived: Lived | None) -> float | None:
    if lived is None:
        return None
    end = lived.ended_at or lived.last_seen_at
    return max(0.0, (end - run.created_at).total_seconds())


DERIVED: Mapping[Attribute, Callable[[RunRow, Lived | None], Any]] = {
    Attribute("sys/creation_time", "datetime"): lambda run, _: run.created_at,
    Attribute("sys/custom_run_id", "string"): lambda run, _: run.run_id,
    Attribute("sys/experiment/name", "string"): lambda run, _: run.experiment or None,
    Attribute("sys/failed", "bool"): lambda _, lived: bool(lived and lived.state == "failed"),
    Attribute("sys/forked_from", "string"): lambda run, _: run.fork_run_id or None,
    Attribute("sys/id", "string"): lambda run, _: run.run_id,
    Attribute("sys/modification_time", "datetime"): lambda _, lived: lived and lived.last_seen_at,
    Attribute("sys/owner", "string"): lambda run, _: run.owner or None,
    Attribute("sys/ping_time", "datetime"): lambda _, lived: lived and lived.last_seen_at,
    Attribute("sys/state", "string"): lambda _, lived: lived.state if lived else "running",
    Attribute("sys/state_reason", "string"): lambda _, lived: (lived and lived.reason) or None,
    # Seconds from its birth to its end, or to when it was last heard of.
    Attribute("sys/trained_time", "float"): _trained,
}


def derived_column(
    attribute: Attribute, runs: Sequence[RunRow], lives: Mapping[int, Lived]
) -> pa.Array:
    """Values of a derived attribute for `runs`, in their order."""
    value = DERIVED[attribute]
    return pa.array([value(run, lives.get(run.run)) for run in runs], ARROW[attribute.type])


def derived_names(store: Store, what: What) -> list[Attribute]:
    """Derived attributes that `what` asks for; matched by the store, which knows RE2."""
    wanted = [name for name in DERIVED if what.wants(name.type)]
    if what.paths is not None:
        paths = set(what.paths)
        return [name for name in wanted if name.path in paths]
    if what.pattern is None or not wanted:
        return wanted
    parameters: dict[str, object] = {"paths": [name.path for name in wanted]}
    condition = matching("p", what.pattern, parameters)
    matches = store.query(
        f"SELECT arrayMap(p -> {condition}, {{paths:Array(String)}}) AS found", parameters
    )
    found = matches.column(0).to_pylist()[0]
    return [name for name, yes in zip(wanted, found, strict=True) if yes]
