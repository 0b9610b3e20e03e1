"""The table of groups of runs, with what their numbers come to in each group."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from naiad_proto.limits import shorten
from naiad_proto.v1 import query_pb2 as pb
from naiad_query import asking
from naiad_query.errors import invalid
from naiad_query.grouping import Grouping, group_runs
from naiad_query.order import NUMBERS
from naiad_store import Store
from naiad_store.selects import inheritance
from naiad_store.selects.attributes import Attribute
from naiad_store.selects.derived import derived_columns, derived_names
from naiad_store.selects.runs import choose, fork_rows

STATS = ("min", "median", "max", "mean")
_STATS = pa.struct([("count", pa.uint64()), *((name, pa.float64()) for name in STATS)])
_TOTAL = b"total_groups"
_STAT = re.compile(rf"(.+)\.({'|'.join(STATS)})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Of the finite values of an attribute in each group."""

    count: npt.NDArray[np.int64]
    # By name; what stands there for groups without any means nothing.
    stats: Mapping[str, npt.NDArray[np.float64]]

    def column(self) -> pa.Array:
        none = self.count == 0
        arrays = [pa.array(self.count, pa.uint64())]
        arrays += [pa.array(self.stats[name], mask=none) for name in STATS]
        return pa.StructArray.from_arrays(arrays, fields=list(_STATS))


def run_groups(store: Store, request: pb.FetchRunGroupsRequest) -> pa.Table:
    """What FetchRunGroups answers; `groups_facts` has the rest. Raises Refused, FilterError,
    StoreError."""
    project = request.project
    wanted = [Attribute(name.path, name.type) for name in request.group_by]
    runs = choose(store, project, asking.which(request.runs))
    grouping = group_runs(store, project, runs.column("run").to_pylist(), fork_rows(runs), wanted)
    numbers = _numbers(store, request, runs, grouping)
    order = _order(request, wanted, grouping, numbers)
    total = grouping.count
    order = order[: request.limit] if request.limit else order
    take = pa.array(order)
    columns = {name: column.take(take) for name, column in grouping.columns.items()}
    counts = np.bincount(grouping.group, minlength=total)
    columns["run_count"] = pa.array(counts[order], pa.uint64())
    for name, found in numbers.items():
        columns[f"{name.path}:{name.type}"] = found.column().take(take)
    return pa.table(columns).replace_schema_metadata({_TOTAL: str(total)})


def groups_facts(table: pa.Table) -> tuple[pa.Table, int]:
    """(table, total_groups) of what `run_groups` gave."""
    return table.replace_schema_metadata(None), int(table.schema.metadata[_TOTAL])


def _numbers(
    store: Store, request: pb.FetchRunGroupsRequest, runs: pa.Table, grouping: Grouping
) -> dict[Attribute, _Numbers]:
    what = asking.what(request.attributes, *NUMBERS)
    keys = runs.column("run").to_pylist()
    if not keys:
        return {}
    found = inheritance.columns_of(store, request.project, keys, fork_rows(runs), what)
    derived = derived_names(store, what, in_trash=request.runs.in_trash)
    found |= derived_columns(store, request.project, keys, derived)
    names = sorted(found)
    if what.paths is not None:
        place = {path: number for number, path in reversed(list(enumerate(what.paths)))}
        names.sort(key=lambda name: place[name.path])
    return {name: _summed_up(found[name], grouping.group, grouping.count) for name in names}


def _summed_up(column: pa.Array, group: npt.NDArray[np.int64], count: int) -> _Numbers:
    values = column.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy()
    finite = np.flatnonzero(np.isfinite(values))
    order = finite[np.lexsort((values[finite], group[finite]))]
    values, groups = values[order], group[order]
    counts = np.bincount(groups, minlength=count)
    if not len(values):
        nothing = np.zeros(count)
        return _Numbers(counts, dict.fromkeys(STATS, nothing))
    begin = np.cumsum(counts) - counts
    last = len(values) - 1
    # Halves, so that the sum of two large ones stays finite.
    lower = values[np.minimum(begin + np.maximum(counts - 1, 0) // 2, last)]
    upper = values[np.minimum(begin + counts // 2, last)]
    sums = np.bincount(groups, weights=values, minlength=count)
    return _Numbers(
        counts,
        {
            "min": values[np.minimum(begin, last)],
            "median": lower * 0.5 + upper * 0.5,
            "max": values[np.clip(begin + counts - 1, 0, last)],
            "mean": sums / np.maximum(counts, 1),
        },
    )


def _order(
    request: pb.FetchRunGroupsRequest,
    by: Sequence[Attribute],
    grouping: Grouping,
    numbers: Mapping[Attribute, _Numbers],
) -> npt.NDArray[np.int64]:
    """Groups as asked for; equal ones, and without a wish all, in the order of their values."""
    places = np.arange(grouping.count)
    wish = request.sort_by
    if not wish:
        return places
    missing = np.zeros(grouping.count, np.bool_)
    paths = [name.path for name in by]
    if wish == "run_count":
        rank = np.bincount(grouping.group, minlength=grouping.count)
    elif wish in paths:
        rank = grouping.ranks[:, paths.index(wish)]
        missing = rank == np.iinfo(np.int64).max
    else:
        asked = _STAT.fullmatch(wish)
        of_path = [name for name in numbers if asked and name.path == asked[1]]
        of_path.sort(key=lambda name: NUMBERS.index(name.type))
        if not asked or (not of_path and not _is_wanted(request, asked[1])):
            raise invalid(
                f"sort_by is {shorten(wish)!r}; it is run_count, the path of a group_by"
                f"{' (' + ', '.join(paths) + ')' if paths else ''}, or the path of an attribute"
                f" asked for with .{', .'.join(STATS)} behind it"
            )
        if not of_path:
            return places
        found = numbers[of_path[0]]
        missing = found.count == 0
        _, rank = np.unique(found.stats[asked[2]], return_inverse=True)
    sign = 1 if request.ascending else -1
    return np.lexsort((places, np.where(missing, 0, rank * sign), missing))


def _is_wanted(request: pb.FetchRunGroupsRequest, path: str) -> bool:
    """An attribute may be asked for that no run has."""
    return path in request.attributes.paths.values or not request.attributes.HasField("paths")
