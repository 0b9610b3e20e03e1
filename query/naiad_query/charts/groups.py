"""Groups of runs whose curves a chart draws as one, and what they are called."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from naiad_proto.limits import shorten
from naiad_proto.v1 import query_pb2 as pb
from naiad_query.errors import invalid
from naiad_query.grouping import group_runs
from naiad_store import Store
from naiad_store.selects.attributes import Attribute
from naiad_store.selects.runs import RunRow

MOST_GROUPS = 1000
ALL_RUNS = "all runs"


@dataclass(frozen=True, slots=True)
class Groups:
    """Number of the group of each run, in the order of the question's runs; a label for each
    group; and its values, a column "path:type" for each attribute."""

    of: NDArray[np.int64]
    labels: Sequence[str]
    values: Mapping[str, pa.Array] = field(default_factory=dict)
    # For ChartInfo.notes.
    notes: Sequence[str] = ()


def one_group(runs: Sequence[RunRow]) -> Groups:
    return Groups(np.zeros(len(runs), np.int64), [ALL_RUNS])


def grouped(
    store: Store, project: str, runs: Sequence[RunRow], by: Sequence[pb.AttributeName]
) -> Groups:
    """Groups in the order of their values. Raises Refused."""
    wanted = [Attribute(name.path, name.type) for name in by]
    forks = [run for run in runs if run.fork_run_id]
    found = group_runs(store, project, [run.run for run in runs], forks, wanted)
    if found.count > MOST_GROUPS:
        raise invalid(
            f"group_by makes {found.count:,} groups of {len(runs):,} runs; at most"
            f" {MOST_GROUPS:,} are given: group by fewer attributes, or by others"
        )
    cells = zip(*(column.to_pylist() for column in found.columns.values()), strict=True)
    paths = [name.path for name in wanted]
    missing = [
        f"none of these {len(runs):,} runs has {shorten(path)!r}"
        for path, column in zip(paths, found.columns.values(), strict=True)
        if len(column) and column.null_count == len(column)
    ]
    return Groups(found.group, [_label(paths, row) for row in cells], found.columns, missing)


def _label(paths: Sequence[str], values: Sequence[Any]) -> str:
    return ", ".join(f"{path}={_text(value)}" for path, value in zip(paths, values, strict=True))


def _text(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case float():
            return "nan" if math.isnan(value) else f"{value:.12g}"
        case list():
            return "{" + ", ".join(sorted(value)) + "}"
        case _:
            return str(value)
