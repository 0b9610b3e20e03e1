"""The runs table over 10,000 runs: a query service on loopback over a store in this process, the
real client, from the call to the Arrow table. Result cache off.

    python benchmarks/query [--quick] table

A run has 12 configs, 8 metrics with 100 points each, two tags and a writer that ended.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from report import Row
from support_clickhouse import migrated
from support_query import reading

from naiad.query.client import Attributes, QueryClient, Runs
from naiad_store import Store

PROJECT = "bench/table"
RUNS, CONFIGS, METRICS, POINTS = 10_000, 12, 8, 100
COLUMNS = [
    *(f"config/c{n:02d}" for n in range(CONFIGS)),
    *(f"metric/m{n}" for n in range(METRICS - 2)),
    "sys/state",
    "sys/tags",
]
_RUN = "cityHash64(number)"
_VERSION = "bitOr(bitShiftLeft(toUInt128(1), 127), toUInt128(number))"
# Configs: a third each of ints, floats and words.
_FILL = (
    f"""INSERT INTO runs SELECT '{PROJECT}', concat('run-', toString(number)), 0, {_RUN},
        toDateTime64('2026-01-01 00:00:00', 3, 'UTC') + number, {_VERSION}, 'bench', '', 0, 0, 1
        FROM numbers({{runs:UInt64}})""",
    f"""INSERT INTO writers (project, run, writer_id, log_partition, epoch, host, pid, state,
            state_version, started_at, ended_at, last_seen_at, row_version)
        SELECT '{PROJECT}', {_RUN}, hex(number), 0, 1, 'host', 1,
            if(number % 5 = 0, 'failed', 'finished'), 1,
            toDateTime64('2026-01-01 00:00:00', 3, 'UTC') + number,
            toDateTime64('2026-01-02 00:00:00', 3, 'UTC') + number,
            toDateTime64('2026-01-02 00:00:00', 3, 'UTC') + number, 1
        FROM numbers({{runs:UInt64}})""",
    f"""INSERT INTO attributes (project, path, type, run, number, integer, text, version)
        SELECT '{PROJECT}', 'sys/name', 'string', {_RUN}, 0, 0,
            concat('exp-', toString(number % 500)), {_VERSION} FROM numbers({{runs:UInt64}})""",
    f"""INSERT INTO attributes (project, path, type, run, number, integer, text, version)
        SELECT '{PROJECT}', concat('config/c', leftPad(toString(c), 2, '0')),
            ['int', 'float', 'string'][c % 3 + 1], {_RUN},
            (cityHash64(number, c) % 1000) / if(c % 3 = 1, 1000, 1),
            cityHash64(number, c) % 1000,
            if(c % 3 = 2, concat('word-', toString(cityHash64(number, c) % 20)), ''), {_VERSION}
        FROM numbers({{runs:UInt64}}) ARRAY JOIN range({CONFIGS}) AS c""",
    f"""INSERT INTO string_sets SELECT '{PROJECT}', 'sys/tags', {_RUN}, tag, 1, now64(3), {_VERSION}
        FROM numbers({{runs:UInt64}})
        ARRAY JOIN ['all', concat('tag-', toString(number % 10))] AS tag""",
    f"""INSERT INTO points (project, path, run, step, ts, value, completion, version)
            SELECT '{PROJECT}', concat('metric/m', toString(m)), {_RUN}, s,
            toDateTime64('2026-01-01 00:00:00', 3, 'UTC') + s,
            (cityHash64(number, m, s) % 100000) / 100000, 1, {_VERSION}
        FROM numbers({{runs:UInt64}})
        ARRAY JOIN range({METRICS}) AS m ARRAY JOIN range({POINTS}) AS s""",
    """INSERT INTO series SELECT project, path, 'float_series', run, 1, max(step),
            max(ts), argMax(value, step), '', max(step)::UInt256 FROM points
        GROUP BY project, path, run""",
)
# About a third of the runs.
FILTER = 'config/c01 > 0.5 and config/c02 != "word-3" and metric/m0 < 0.7 and tags has "all"'


def fill(store: Store, runs: int) -> None:
    for statement in _FILL:
        store.command(statement, {"runs": runs})


def measure(quick: bool) -> list[Row]:
    runs, repeats = (1000, 3) if quick else (RUNS, 15)
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder,
        migrated(f"chdb://{folder}/store", "naiad") as store,
        reading(store, Path(folder)) as server,
        server.client() as client,
    ):
        fill(store, runs)
        return [
            Row(f"runs table, {runs:,} runs × {len(COLUMNS)} columns: {what}", target,
                _told(lambda ask=ask: ask(client), repeats))
            for what, target, ask in _QUESTIONS
        ]  # fmt: skip


def _page(client: QueryClient) -> int:
    page = client.runs_page(
        PROJECT, Runs(filter=FILTER), Attributes(paths=COLUMNS), sort_by="metric/m1", limit=100
    )
    assert page.next_cursor
    return page.total_runs


def _filtered(client: QueryClient) -> int:
    table = client.runs_table(
        PROJECT, Runs(filter=FILTER), Attributes(paths=COLUMNS), sort_by="metric/m1"
    )
    return int(table.num_rows)


def _whole(client: QueryClient) -> int:
    table = client.runs_table(
        PROJECT, Runs(filter='tags has "all"'), Attributes(paths=COLUMNS), sort_by="metric/m1"
    )
    assert len(table.column_names) == len(COLUMNS) + 2
    return int(table.num_rows)


def _by_minimum(client: QueryClient) -> int:
    page = client.runs_page(
        PROJECT, Runs(filter="metric/m0.min < 0.005"), Attributes(paths=COLUMNS),
        sort_by="metric/m1.max", limit=100,
    )  # fmt: skip
    return page.total_runs


def _groups(client: QueryClient) -> int:
    found = client.run_groups(
        PROJECT, ["config/c02"], attributes=Attributes("metric/"), sort_by="metric/m0.median"
    )
    return found.total_groups


_QUESTIONS: tuple[tuple[str, str, Callable[[QueryClient], int]], ...] = (
    ("filtered and sorted, a page of 100", "≤ 300 ms", _page),
    ("filtered and sorted, all that it leaves", "≤ 300 ms", _filtered),
    ("filtered and sorted, every run left", "≤ 300 ms", _whole),
    ("filter and order by least and greatest points, a page of 100", "", _by_minimum),
    ("grouped by a config, 8 metrics", "", _groups),
)


def _told(ask: Callable[[], int], repeats: int) -> str:
    found = ask()
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        ask()
        took.append((time.perf_counter() - began) * 1000)
    return f"{statistics.median(took):.0f} ms (least {min(took):.0f}); {found:,} found"
