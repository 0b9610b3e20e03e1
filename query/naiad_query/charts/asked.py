"""What a FetchChart needs to know of its runs."""

from __future__ import annotations

from collections.abc import Sequence

from naiad_proto.limits import shorten
from naiad_proto.v1 import query_pb2 as pb
from naiad_query.charts.groups import Groups, grouped, one_group
from naiad_query.errors import invalid
from naiad_store import Store
from naiad_store.selects import attributes, inheritance
from naiad_store.selects.attributes import What
from naiad_store.selects.runs import RunRow

_SHOWN = 10


def need_x_metric(store: Store, request: pb.FetchChartRequest, runs: Sequence[RunRow]) -> None:
    """Raises Refused where none of the runs has it."""
    if not request.x_metric or not runs:
        return

    def metrics(what: What) -> list[str]:
        if request.own_points_only:
            keys = [run.run for run in runs]
            return [name.path for name in attributes.names(store, request.project, keys, what)]
        return [name.path for name in inheritance.names(store, request.project, runs, what)]

    if metrics(What(paths=[request.x_metric], types=["float_series"])):
        return
    there = metrics(What(types=["float_series"]))
    some = ", ".join(there[:_SHOWN]) + (" and more" if len(there) > _SHOWN else "")
    raise invalid(
        f"x_metric {shorten(request.x_metric)!r} is no metric of these {len(runs):,} runs; they"
        f" have {some or 'none'}"
    )


def groups_of(store: Store, request: pb.FetchChartRequest, runs: Sequence[RunRow]) -> Groups | None:
    """None: a curve per run. Raises Refused."""
    if request.group_all:
        return one_group(runs)
    if not request.group_by:
        return None
    return grouped(store, request.project, runs, request.group_by)


def key_of(groups: Groups | None) -> object:
    """What an answer in groups depends on."""
    if groups is None:
        return None
    return (
        groups.of.tobytes(),
        list(groups.labels),
        {name: (str(values.type), values.to_pylist()) for name, values in groups.values.items()},
    )
