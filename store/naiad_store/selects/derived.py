"""Attributes that every run has without logging them, as Neptune's users know them.

Each is an expression over what `runs.with_facts` gives of a run, so that filters, sorting and
tables can't come to differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from naiad_store.selects.attributes import ARROW, Attribute, What
from naiad_store.selects.patterns import matching
from naiad_store.selects.runs import with_facts
from naiad_store.store import Store


class Derived(NamedTuple):
    # Null where a run has none.
    sql: str
    # Whether it takes what writers said of the run.
    lives: bool = False
    # Whether it says how a run came to be in the trash: not shown of others unless it is named.
    trash: bool = False


_SEEN = Derived("if(lived, last_seen_at, NULL)", lives=True)
DERIVED: Mapping[Attribute, Derived] = {
    Attribute("sys/creation_time", "datetime"): Derived("created_at"),
    Attribute("sys/custom_run_id", "string"): Derived("run_id"),
    Attribute("sys/experiment/name", "string"): Derived("nullIf(experiment, '')"),
    Attribute("sys/failed", "bool"): Derived("lived AND state = 'failed'", lives=True),
    Attribute("sys/forked_from", "string"): Derived("nullIf(fork_run_id, '')"),
    Attribute("sys/id", "string"): Derived("run_id"),
    # Which of several runs that had the id.
    Attribute("sys/incarnation", "int"): Derived("toInt64(incarnation)", trash=True),
    Attribute("sys/modification_time", "datetime"): _SEEN,
    Attribute("sys/owner", "string"): Derived("nullIf(toString(owner), '')"),
    Attribute("sys/ping_time", "datetime"): _SEEN,
    Attribute("sys/state", "string"): Derived("if(lived, state, 'running')", lives=True),
    Attribute("sys/state_reason", "string"): Derived("nullIf(reason, '')", lives=True),
    # Seconds from its birth to its end, or to when it was last heard of.
    Attribute("sys/trained_time", "float"): Derived(
        "if(lived, greatest(0, toUnixTimestamp64Milli(ifNull(ended_at, last_seen_at))"
        " - toUnixTimestamp64Milli(created_at)) / 1000, NULL)",
        lives=True,
    ),
    Attribute("sys/trashed_by", "string"): Derived("if(trashed, deleted_by, NULL)", trash=True),
    Attribute("sys/trashed_time", "datetime"): Derived("if(trashed, deleted_at, NULL)", trash=True),
}


def derived_columns(
    store: Store, project: str, runs: Sequence[int], names: Sequence[Attribute]
) -> dict[Attribute, pa.Array]:
    """Values of derived attributes for `runs`, in their order."""
    if not names or not runs:
        return {name: pa.array([], ARROW[name.type]) for name in names}
    parameters: dict[str, object] = {"project": project, "runs": list(runs)}
    among = "run IN {runs:Array(UInt64)}"
    sql = with_facts(
        lives=any(DERIVED[name].lives for name in names),
        trash=any(DERIVED[name].trash for name in names),
        among=among,
    )
    shown = ", ".join(f"{DERIVED[name].sql} AS c{n}" for n, name in enumerate(names))
    found = store.query(f"SELECT run, {shown} FROM ({sql})", parameters)
    keys = found.column("run").to_numpy()
    order = np.argsort(keys)
    take = pa.array(order[np.searchsorted(keys, np.asarray(runs, np.uint64), sorter=order)])
    return {
        name: found.column(f"c{number}").combine_chunks().take(take).cast(ARROW[name.type])
        for number, name in enumerate(names)
    }


def derived_names(store: Store, what: What, *, in_trash: bool = False) -> list[Attribute]:
    """Derived attributes that `what` asks for, `in_trash` of runs there; matched by the store,
    which knows RE2."""
    wanted = [name for name in DERIVED if what.wants(name.type)]
    if what.paths is not None:
        paths = set(what.paths)
        return [name for name in wanted if name.path in paths]
    wanted = [name for name in wanted if in_trash or not DERIVED[name].trash]
    if what.pattern is None or not wanted:
        return wanted
    parameters: dict[str, object] = {"paths": [name.path for name in wanted]}
    condition = matching("p", what.pattern, parameters)
    matches = store.query(
        f"SELECT arrayMap(p -> {condition}, {{paths:Array(String)}}) AS found", parameters
    )
    found = matches.column(0).to_pylist()[0]
    return [name for name, yes in zip(wanted, found, strict=True) if yes]
