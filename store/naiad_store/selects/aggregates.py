"""What stands for a series in filters and sorting: its last, first, least or greatest value, its
mean, how many points it has.

This is the one place that knows where these come from: `last` from the table `series`, the others
from the points, or, of metrics that are rolled, from what `summaries` makes of both: the same
values, but for a mean's last digits. Points count once each however often they were sent, and as
far as they are committed; NaN is no candidate for min, max and mean, infinities are; first and
last take what stands there; count counts every point. A series without a candidate has no value.
A fork's series is its ancestors' up to where it forked, and then its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa

from naiad_proto.filters.kinds import SERIES_TYPES, STATS
from naiad_store.selects.forks import Forks
from naiad_store.selects.scope import PREVIEW
from naiad_store.selects.summaries import Summaries, Summary
from naiad_store.selects.summing import NUMBER
from naiad_store.store import Store

# Of a table's points: an aggregate and a condition on the group. -0.0 is 0.0, whichever of them a
# min or max meets first.
_AGGREGATES: Mapping[str, tuple[str, str]] = {
    "first": ("argMin(value, x)", "1"),
    "min": (f"minIf(value + 0., {NUMBER})", f"countIf({NUMBER}) > 0"),
    "max": (f"maxIf(value + 0., {NUMBER})", f"countIf({NUMBER}) > 0"),
    "mean": (f"avgIf(value, {NUMBER})", f"countIf({NUMBER}) > 0"),
    "count": ("count()", "1"),
}
# Of each type of series its table, what is read as a value, and which rows are points.
_TABLES: Mapping[str, tuple[str, str, str]] = {
    "float_series": ("points", "value", f"NOT ({PREVIEW})"),
    "string_series": ("string_points", "value", "1"),
    "histogram_series": ("histogram_points", "0", "1"),
    "file_series": ("file_points", "0", "1"),
}


def stat_rows(
    stat: str,
    types: Collection[str],
    path: str,
    forks: Forks,
    parameters: dict[str, object],
    among: str = "1",
    summary: Summary | None = None,
) -> str:
    """SQL: `run`, `type`, `number` and `text`, a row for each series of `types` at `path` (SQL of
    a parameter). The number is the value of a float_series and any count, else the text is it.
    `among` is a condition on `run`, of which a parameter list stays one. `summary` is the
    metric's, if something of it is rolled; it is asked, and its values are parameters."""
    kinds = [kind for kind in SERIES_TYPES if kind in types and kind in STATS[stat]]
    if stat == "last":
        return _last(kinds, path, forks, parameters, among)
    found = [
        _known(summary.values(stat), parameters)
        if kind == "float_series" and summary is not None
        else _aggregated(stat, kind, path, forks, parameters, among)
        for kind in kinds
    ]
    return " UNION ALL ".join(found) or _NONE


def series_rows(
    types: Collection[str],
    path: str,
    forks: Forks,
    parameters: dict[str, object],
    among: str = "1",
) -> str:
    """SQL: `run` and `type` of the series of `types` at `path` that have any value to show."""
    kinds = [kind for kind in SERIES_TYPES if kind in types]
    where = f"{_where(path)} AND {_of(kinds)} AND {among}"
    rows = f"SELECT run, type FROM series FINAL WHERE {where}"
    for kind in kinds if forks else ():
        table, value, keep = _TABLES[kind]
        line = forks.line(table, value, f"{_where(path)} AND {keep}", parameters)
        rows += f" UNION ALL SELECT DISTINCT run, '{kind}' AS type FROM ({line})"
    return rows


def stat_column(
    store: Store, project: str, runs: Sequence[int], forks: Forks, path: str, stat: str
) -> pa.Array:
    """The stat of the metric at `path` for each of `runs`, in their order; null where one has
    none."""
    summary = None
    if is_summed(stat):
        summary = Summaries(store, project, [path], forks, runs).of(path)
    if summary is not None:
        found = summary.values(stat)
    else:
        parameters: dict[str, object] = {"project": project, "path": path, "among": list(runs)}
        among = "run IN {among:Array(UInt64)}"
        rows = stat_rows(stat, ["float_series"], "{path:String}", forks, parameters, among)
        found = store.query(f"SELECT run, toFloat64(number) AS number FROM ({rows})", parameters)
    keys = np.asarray(runs, np.uint64)
    order = np.argsort(keys)
    values, known = np.zeros(len(keys)), np.zeros(len(keys), np.bool_)
    theirs = found.column("run").to_numpy()
    if len(keys) and len(theirs):
        there = np.searchsorted(keys, theirs, sorter=order).clip(max=len(keys) - 1)
        places = order[there]
        mine = keys[places] == theirs
        values[places[mine]] = found.column("number").to_numpy()[mine]
        known[places[mine]] = True
    return pa.array(values, mask=~known)


def is_summed(stat: str) -> bool:
    """Whether a metric's `Summary` has it."""
    return stat in _AGGREGATES


_NONE = "SELECT toUInt64(0) AS run, '' AS type, toFloat64(0) AS number, '' AS text WHERE 0"


def _known(values: pa.Table, parameters: dict[str, object]) -> str:
    """What `stat_rows` gives, of known numbers: as their bits, which say them exactly."""
    runs = values.column("run").to_pylist()
    bits = values.column("number").to_numpy().view(np.uint64).tolist()
    names = [f"known_{len(parameters)}_{name}" for name in ("runs", "bits")]
    parameters |= dict(zip(names, (runs, bits), strict=True))
    return (
        "SELECT one.1 AS run, 'float_series' AS type, reinterpretAsFloat64(one.2) AS number,"
        " '' AS text FROM (SELECT arrayJoin(arrayZip("
        f"{{{names[0]}:Array(UInt64)}}, {{{names[1]}:Array(UInt64)}})) AS one)"
    )


def _last(
    kinds: Sequence[str], path: str, forks: Forks, parameters: dict[str, object], among: str
) -> str:
    rows = (
        "SELECT run, toString(type) AS type, number, text FROM series FINAL"
        f" WHERE {_where(path)} AND {_of(kinds)} AND {among}"
    )
    if not forks:
        return rows
    # A fork that only has previews of its own shows those, as any run does.
    both = f"SELECT *, 1 AS place FROM ({rows})"
    for kind in kinds:
        table, value, keep = _TABLES[kind]
        line = forks.line(table, value, f"{_where(path)} AND {keep}", parameters)
        number, text = (
            ("argMax(value, x)", "''") if kind == "float_series" else ("0.", "argMax(value, x)")
        )
        both += (
            f" UNION ALL SELECT run, '{kind}' AS type, {number} AS number, {text} AS text,"
            f" 0 AS place FROM ({line}) WHERE {among} GROUP BY run"
        )
    return (
        f"SELECT run, type, number, text FROM ({both})"
        " ORDER BY run, type, place LIMIT 1 BY run, type"
    )


def _aggregated(
    stat: str, kind: str, path: str, forks: Forks, parameters: dict[str, object], among: str
) -> str:
    table, value, keep = _TABLES[kind]
    aggregate, having = _AGGREGATES[stat]
    where = f"{_where(path)} AND {keep}"
    points = f"SELECT run, reinterpret(step, 'Int64') AS x, {value} AS value FROM {table} FINAL"
    if forks:
        line = forks.line(table, value, where, parameters)
        points = (
            f"{points} WHERE {where} AND {among} AND run NOT IN {{forks_run:Array(UInt64)}}"
            f" UNION ALL SELECT * FROM ({line}) WHERE {among}"
        )
    else:
        points = f"{points} WHERE {where} AND {among}"
    is_text = kind == "string_series" and stat == "first"
    number, text = ("0.", aggregate) if is_text else (f"toFloat64({aggregate})", "''")
    return (
        f"SELECT run, '{kind}' AS type, {number} AS number, {text} AS text"
        f" FROM ({points}) GROUP BY run HAVING {having}"
    )


def _where(path: str) -> str:
    return f"project = {{project:String}} AND path = {path}"


def _of(kinds: Sequence[str]) -> str:
    return "type IN (" + ", ".join(f"'{kind}'" for kind in kinds) + ")" if kinds else "0"
