"""What has to be known of series, beside what is rolled, before rollups of them are read."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence

from naiad_store.selects.rolled import Series
from naiad_store.selects.rolling import count
from naiad_store.store import Store

# (run, until) from a run itself back to its oldest ancestor.
Line = Sequence[tuple[int, int]]


def last_steps(
    store: Store,
    project: str,
    runs: Collection[int],
    paths: Collection[str],
    settings: Mapping[str, object] | None = None,
) -> dict[Series, int]:
    """The highest micro-step of each of these series, where `series` has it. Raises StoreError."""
    found = store.query(
        "SELECT run, path, reinterpret(step, 'Int64') AS last FROM series FINAL"
        " WHERE project = {project:String} AND path IN {paths:Array(String)}"
        " AND type = 'float_series' AND committed AND run IN {runs:Array(UInt64)}",
        {"project": project, "paths": sorted(paths), "runs": sorted(runs)},
        settings,
    )
    runs_of, paths_of, last = (column.to_pylist() for column in found.columns)
    return dict(zip(zip(runs_of, paths_of, strict=True), last, strict=True))


def own_lowest(store: Store, project: str, lines: Iterable[tuple[str, Line]]) -> dict[Series, int]:
    """Of forks that have points of their own where their ancestors' count, the lowest micro-step.
    `lines`: of paths those of forks. Raises StoreError."""
    cuts: dict[Series, tuple[int, int]] = {}
    for path, line in lines:
        for (run, _), (_, until) in itertools.pairwise(line):
            _, before = cuts.get((run, path), (0, 0))
            cuts[run, path] = (0, max(before, until + 1))
    return {series: one.lowest for series, one in count(store, project, cuts).items()}
