"""A store of long series, made directly and rolled, and a query service before it: a process of
its own, which is told what to do by lines and answers by lines.

    python benchmarks/query/filled.py FOLDER
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "bench/charts"
# Of one insert.
_ROWS = 5_000_000


def size(quick: bool) -> tuple[int, int, int]:
    """Runs, metrics, steps."""
    usual = (100, 1, 20_000) if quick else (1000, 1, 100_000)
    names = ("BENCH_RUNS", "BENCH_METRICS", "BENCH_STEPS")
    runs, metrics, steps = (
        int(os.environ.get(name, value)) for name, value in zip(names, usual, strict=True)
    )
    return runs, metrics, steps


class Filled:
    """The process. Each method is one of its `Work`."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        def call(**given: Any) -> Any:
            assert self._process.stdin
            assert self._process.stdout
            self._process.stdin.write(json.dumps({"do": name, **given}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f"the store's process ended in {name}")
            return json.loads(line)

        return call

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@contextmanager
def filled() -> Iterator[Filled]:
    # Not in /tmp, which may be memory.
    folder = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix=".bench-"))
    process = Filled(folder)
    try:
        yield process
    finally:
        process.close()
        shutil.rmtree(folder, ignore_errors=True)


class Clocked:
    """A store, and what its questions and statements took: by kind how many, seconds and seconds of
    computing."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.took: dict[str, list[float]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def query(self, sql: str, *given: Any, **more: Any) -> Any:
        return self._timed("query", sql, *given, **more)

    def command(self, sql: str, *given: Any, **more: Any) -> Any:
        return self._timed("command", sql, *given, **more)

    def stream(self, *given: Any, **more: Any) -> Iterator[Any]:
        """Seconds are those in which the store is waited for."""
        of_kind = self.took.setdefault("streaming", [0, 0.0, 0.0])
        batches = self._store.stream(*given, **more)
        of_kind[0] += 1
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            of_kind[1] += time.perf_counter() - began
            if batch is None:
                return
            yield batch

    def _timed(self, name: str, sql: str, *given: Any, **more: Any) -> Any:
        began, used = time.perf_counter(), time.process_time()
        try:
            return getattr(self._store, name)(sql, *given, **more)
        finally:
            of_kind = self.took.setdefault(_kind(sql), [0, 0.0, 0.0])
            of_kind[0] += 1
            of_kind[1] += time.perf_counter() - began
            of_kind[2] += time.process_time() - used


def _kind(sql: str) -> str:
    if "INSERT INTO rollups" in sql:
        return "tiers" if "AS tier" in sql else "columns"
    if "count() AS rows" in sql:
        return "counting"
    return "other"


class Work:
    """What the process can be told."""

    def __init__(self, folder: Path) -> None:
        from support_rolling import Owner

        from naiad_store import Store

        self._folder = folder
        self.store: Any = Clocked(Store.open(f"chdb://{folder / 'store'}"))
        self.store.migrate()
        self._owner_of = Owner
        self.owner: Any = None
        self._reading: Any = None
        # Project, run id, run, path, points: what came with the last fill.
        self._fresh: list[tuple[str, str, int, str, int]] = []

    def fill(self, runs: int, metrics: int, steps: int, first: int = 0, kind: str = "walk") -> Any:
        """Steps from `first` on of each of `runs` runs: a random walk, which begins at 0 each
        time, or a loss of three digits; timestamps with 2 ms of jitter."""
        from naiad_eventlog.partitioning import partition_of
        from naiad_eventlog.topics import run_key as log_key
        from naiad_store.keys import run_key

        names = [f"run-{number}" for number in range(runs)]
        keys = [run_key(PROJECT, name) for name in names]
        given: dict[str, object] = {"project": PROJECT, "keys": keys, "names": names}
        if not first:
            given["partitions"] = [partition_of(log_key(PROJECT, name), 8) for name in names]
            self.store.command(
                "INSERT INTO runs (project, run_id, run, created_at, version, priority)"
                " SELECT {project:String}, n, k, now64(3), 1, 1"
                " FROM (SELECT {names:Array(String)} AS n, {keys:Array(UInt64)} AS k)"
                " ARRAY JOIN n, k",
                given,
            )
            self.store.command(
                "INSERT INTO writers (project, run, writer_id, log_partition, epoch, state,"
                " last_seen_at, row_version) SELECT {project:String}, k, hex(k), p, 1, 'finished',"
                " now64(3), 1 FROM (SELECT {keys:Array(UInt64)} AS k,"
                " {partitions:Array(UInt32)} AS p) ARRAY JOIN k, p",
                given,
            )
            # For the bands of ten groups.
            self.store.command(
                "INSERT INTO attributes (project, path, type, run, number, integer, version)"
                " SELECT {project:String}, 'group', 'int', k, n % 10, n % 10, 1"
                " FROM (SELECT {keys:Array(UInt64)} AS k) ARRAY JOIN k, arrayEnumerate(k) AS n",
                given,
            )
        value = (
            "arrayMap(x -> round(exp(-x / 30000) + randCanonical(x + number) / 50, 3), steps)"
            if kind == "loss"
            else "arrayCumSum(arrayMap(x -> randNormal(0, 1, x + number), steps))"
        )
        self._fresh = [
            (PROJECT, name, key, f"metric-{metric}", steps)
            for name, key in zip(names, keys, strict=True)
            for metric in range(metrics)
        ]
        at_once = max(1, _ROWS // steps)
        began = time.perf_counter()
        for metric in range(metrics):
            for run in range(0, runs, at_once):
                self.store.command(
                    f"""
                    INSERT INTO points
                        (project, path, run, step, ts, value, completion, version)
                    SELECT {{project:String}}, {{path:String}}, run, toDecimal64(at, 6),
                        fromUnixTimestamp64Milli(toInt64(1767225600000 + at * 100 + rand(at) % 3)),
                        value, 1., bitOr(bitShiftLeft(toUInt128(1), 127), toUInt128(at))
                    FROM (
                        SELECT arrayElement({{some:Array(UInt64)}}, number + 1) AS run,
                            range({{first:UInt64}}, {{first:UInt64}} + {{steps:UInt64}}) AS steps,
                            {value} AS values
                        FROM numbers({{runs:UInt64}})
                    ) ARRAY JOIN steps AS at, values AS value
                    """,
                    {
                        "project": PROJECT, "path": f"metric-{metric}", "first": first,
                        "some": keys[run : run + at_once], "steps": steps,
                        "runs": len(keys[run : run + at_once]),
                    },
                )  # fmt: skip
            self.store.command(
                "INSERT INTO series (project, path, type, run, committed, step, rank)"
                " SELECT {project:String}, {path:String}, 'float_series', k, 1,"
                " toDecimal64({last:UInt64}, 6), {last:UInt64}"
                " FROM (SELECT {keys:Array(UInt64)} AS k) ARRAY JOIN k",
                given | {"path": f"metric-{metric}", "last": first + steps - 1},
            )
        return {"seconds": time.perf_counter() - began}

    def merge(self) -> Any:
        """As the background would in time."""
        for table in ("points", "rollups"):
            self.store.command(f"OPTIMIZE TABLE {table} FINAL")
        return {}

    def roll(self, rest: bool) -> Any:
        """All there is; the parts that are not over with `rest`."""
        new = self.owner is None
        if new:
            self.owner = self._owner_of(self.store, long=8192)
        # What came last is merged meanwhile: that is the writer's, not the roller's.
        self.store.command("SYSTEM STOP MERGES points")
        self.store.took.clear()
        began, used = time.perf_counter(), time.process_time()
        roller = self.owner.roller
        if new:
            roller._begin()
        else:
            # As the writer would count what it inserts.
            roller._marks.found(self._fresh, ())
        roller._roll(roller._due(patient=False))
        if rest:
            roller._roll(roller._ended(everything=True))
        took: dict[str, Any] = {
            "seconds": time.perf_counter() - began, "cpu": time.process_time() - used,
        }  # fmt: skip
        took["of that"] = {kind: cpu for kind, (_, _, cpu) in self.store.took.items()}
        self.store.command("SYSTEM START MERGES points")
        return took

    def least_by_time(self) -> Any:
        """Seconds of the least that a chart by time can take: all points of a metric are read, and
        summed or grouped by run and column, with one aggregate; the best of three times."""
        key = "bitOr(bitShiftLeft(run, 32), toUInt64(intDiv(toUnixTimestamp64Milli(ts), 8192)))"
        read = "FROM points FINAL WHERE project = {project:String} AND path = 'metric-0'"
        statements = {
            "read": f"SELECT sum(run), sum(step), sum(toInt64(ts)), sum(value) {read}",
            "grouped": f"SELECT count() FROM (SELECT {key} AS key, min(value) {read} GROUP BY key)",
        }
        took = {}
        for name, sql in statements.items():
            times = []
            for _ in range(3):
                began = time.perf_counter()
                self.store.query(sql, {"project": PROJECT})
                times.append(time.perf_counter() - began)
            took[name] = min(times)
        return took

    def bytes_per_point(self) -> Any:
        found = self.store.query(
            "SELECT table, sum(bytes_on_disk) AS bytes, sum(rows) AS rows FROM system.parts"
            " WHERE active AND database = currentDatabase() AND table IN"
            " ('points', 'rollups', 'rolled') GROUP BY table"
        ).to_pylist()
        sizes = {row["table"]: row["bytes"] for row in found}
        points = next(row["rows"] for row in found if row["table"] == "points")
        return {table: size / points for table, size in sizes.items()}

    def serve(self) -> Any:
        from support_query import Reading

        if self._reading is None:
            self._reading = Reading(self.store, self._folder)
        return {"url": self._reading.url}

    def cpu(self) -> Any:
        """Seconds of computing, how many questions were asked before what streams, how long they
        took, and how long what streams was waited for, all so far."""
        took = [each for kind, each in self.store.took.items() if kind != "streaming"]
        return {
            "seconds": time.process_time(),
            "questions": sum(each[0] for each in took),
            "asking": sum(each[1] for each in took),
            "streaming": self.store.took.get("streaming", [0, 0.0, 0.0])[1],
        }

    def close(self) -> None:
        if self._reading is not None:
            self._reading.close()
        self.store.close()


def main() -> None:
    sys.path += [str(ROOT / folder) for folder in ("benchmarks/client", "tests")]
    work = Work(Path(sys.argv[1]))
    for line in sys.stdin:
        asked = json.loads(line)
        answer = getattr(work, asked.pop("do"))(**asked)
        print(json.dumps(answer), flush=True)
    work.close()


if __name__ == "__main__":
    main()
