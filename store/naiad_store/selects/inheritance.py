"""What forks have from their ancestors: configs, and the series that they continue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from naiad_store.selects import attributes
from naiad_store.selects.attributes import SERIES_TYPES, Attribute, What
from naiad_store.selects.lineage import Lineage
from naiad_store.selects.points import metric_points, series_points
from naiad_store.selects.runs import RunRow
from naiad_store.selects.scope import Scope
from naiad_store.store import Store


def names(store: Store, project: str, runs: Sequence[RunRow], what: What) -> list[Attribute]:
    """Logged attributes of any of `runs`, in alphabetical order, each once. Of a fork also its
    ancestors' series and inherited configs; a series that begins only after the fork is named
    too."""
    keys = [run.run for run in runs]
    found = attributes.names(store, project, keys, what)
    forks = [run for run in runs if run.fork_run_id]
    if not forks:
        return found
    lineage = Lineage(store, project, forks)
    series = {one.run for fork in forks for one in lineage.ancestors(fork)}
    configs = {one.run for fork in forks for one in lineage.config_ancestors(fork)}
    more = attributes.names(store, project, sorted(series | configs), what)
    if configs != series:
        theirs = set(attributes.names(store, project, sorted(configs), what))
        more = [name for name in more if name.type in SERIES_TYPES or name in theirs]
    return sorted({*found, *(name for name in more if _is_inherited(name))})


def columns(
    store: Store, project: str, runs: Sequence[RunRow], what: What
) -> dict[Attribute, pa.Array]:
    """A column for each logged or inherited attribute of `runs`, in their order: of a series
    its last value, null where a run doesn't have it."""
    forks = [run for run in runs if run.fork_run_id]
    return columns_of(store, project, [run.run for run in runs], forks, what)


def columns_of(
    store: Store, project: str, runs: Sequence[int], forks: Sequence[RunRow], what: What
) -> dict[Attribute, pa.Array]:
    """The same for run keys, of which `forks` are those that are forks."""
    if not forks:
        return attributes.columns(store, project, runs, what)
    lineage = Lineage(store, project, forks)
    heirs = {fork.run: [one.run for one in lineage.config_ancestors(fork)] for fork in forks}
    mine = {run: number for number, run in enumerate(runs)}
    others = sorted({one for line in heirs.values() for one in line} - mine.keys())
    place = mine | {run: len(mine) + number for number, run in enumerate(others)}
    found = attributes.columns(store, project, [*runs, *others], what)
    of_series = _last_values(store, project, forks, what)
    answer: dict[Attribute, pa.Array] = {}
    for name in sorted({*found, *of_series}):
        column = found.get(name)
        if name.type in SERIES_TYPES:
            answer[name] = _with_last(column, runs, of_series.get(name, {}), name)
        elif column is not None:
            column = _inherited(column, heirs, place) if _is_inherited(name) else column
            answer[name] = column.slice(0, len(runs))
    return {name: column for name, column in answer.items() if column.null_count < len(runs)}


def _is_inherited(name: Attribute) -> bool:
    """What the platform says of a run is that run's alone."""
    return not name.path.startswith("sys/")


def _inherited(
    column: pa.Array, heirs: Mapping[int, Sequence[int]], place: Mapping[int, int]
) -> pa.Array:
    """The column with an ancestor's value where a fork has none."""
    has = column.is_valid().to_numpy(zero_copy_only=False)
    take = np.arange(len(column))
    for run, line in heirs.items():
        if not has[place[run]]:
            there = (place[ancestor] for ancestor in line)
            take[place[run]] = next((number for number in there if has[number]), place[run])
    return column.take(pa.array(take))


def _last_values(
    store: Store, project: str, forks: Sequence[RunRow], what: What
) -> dict[Attribute, dict[int, object]]:
    """Last value of each series of each fork (by run key), its ancestors' points included."""
    scope = Scope.of(store, project, forks)
    paths: dict[str, list[str]] = {}
    for name in attributes.names(store, project, scope.sources, what):
        if name.type in SERIES_TYPES:
            paths.setdefault(name.type, []).append(name.path)
    found: dict[Attribute, dict[int, object]] = {}
    if "float_series" in paths:
        for batch in metric_points(
            store, scope, paths["float_series"], tail_limit=1, include_previews=False
        ):
            for row in batch.select(["place", "path", "value"]).to_pylist():
                values = found.setdefault(Attribute(row["path"], "float_series"), {})
                values[forks[row["place"]].run] = row["value"]
    for batch in series_points(store, scope, paths, tail_limit=1):
        for row in batch.to_pylist():
            values = found.setdefault(Attribute(row["path"], row["type"]), {})
            values[forks[row["place"]].run] = row[_VALUE[row["type"]]]
    return found


_VALUE = {"string_series": "string_value", "histogram_series": "histogram", "file_series": "file"}


def _with_last(
    column: pa.Array | None, keys: Sequence[int], last: Mapping[int, object], name: Attribute
) -> pa.Array:
    """The column of `keys` with forks' values in it."""
    if column is None:
        return pa.array([last.get(key) for key in keys], attributes.ARROW[name.type])
    column = column.slice(0, len(keys))
    if not last:
        return column
    mine = pa.array([last.get(key) for key in keys], column.type)
    # Those of forks stand behind the others; each row takes its own.
    take = [len(keys) + number if key in last else number for number, key in enumerate(keys)]
    return pa.concat_arrays([column, mine]).take(pa.array(take, pa.int64()))
