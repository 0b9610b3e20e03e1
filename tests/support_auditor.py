"""The auditor: what the query API says, against what the writers' own diaries say.

It takes nobody else's word. It tells

- what is lost, there twice, wrong, overwritten by something older, or was never logged;
- points out of the order of their steps;
- every derived row that differs from the same worked out afresh from the points: last values in
  `series` and in the table of runs, counts of points, buckets of charts;
- files whose content can't be had, and batches that were taken and are not said to be stored.

For moments when the writers rest, since answers to several questions are no snapshot.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import math
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import grpc
from support_expected import Diaries, Expected, Key
from support_naiad import LONGER

from naiad.connection import open_channel
from naiad.exceptions import NaiadError
from naiad.query.client import Attributes, QueryClient, Runs
from naiad_proto.v1.ingest_pb2 import ProgressRequest
from naiad_proto.v1.ingest_pb2_grpc import IngestServiceStub
from naiad_proto.v1.records_pb2 import FileReference

SHOWN = 8
_LIMIT = 1_000_000
_BUCKETS = 40
_ALL = 1_000_000
_VIEWS = {
    "points": "path, step, value, preview, timestamp",
    "strings": "path, step, value, timestamp",
    "histograms": "path, step, edges, bins, timestamp",
    "files": "path, step, sha256, name, timestamp",
    "attributes": "path, number",
    "tags": "path, tag",
    "series": "path, type, last_step, last_value, last_text, last_timestamp",
    "runs": "state, points",
}


@dataclass
class Answers:
    """All that the query API says of a run; what is there twice is twice in the lists."""

    # View -> rows, as SQL gives them.
    views: dict[str, list[tuple[Any, ...]]] = field(default_factory=lambda: defaultdict(list))
    # (path, micro-step, value) in the order of FetchMetrics.
    metrics: list[tuple[str, int, float]] = field(default_factory=list)
    buckets: list[dict[str, Any]] = field(default_factory=list)
    # "path:type" -> cell of the table of runs.
    table: dict[str, Any] = field(default_factory=dict)
    # (path, step, sha256, of what could be downloaded)
    contents: list[tuple[str, float, str, str]] = field(default_factory=list)
    # Writer -> what Progress calls stored.
    stored: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def items(self) -> Iterator[tuple[Key, Any]]:
        views = self.views
        for path, step, value, preview, _ in views["points"]:
            yield ("points", path, step), (repr(value), bool(preview))
        for path, step, value, _ in views["strings"]:
            yield ("strings", path, step), value
        for path, step, edges, counts, _ in views["histograms"]:
            yield ("histograms", path, step), (edges, counts)
        for path, step, digest, _, _ in views["files"]:
            yield ("files", path, step), digest
        for path, value in views["attributes"]:
            if not path.startswith("sys/"):
                yield ("attributes", path, None), value
        for path, tag in views["tags"]:
            yield ("tags", path, tag), True


def ask(
    client: QueryClient, project: str, runs: Collection[str], downloads: int
) -> dict[str, Answers]:
    """Of each of the runs, with the content of its newest files, so many at the most. Raises
    NaiadError where there is no answer."""
    found = {run: Answers() for run in runs}
    for view, columns in _VIEWS.items():
        rows = client.sql(
            f"SELECT run_id, {columns} FROM {view} WHERE project = '{project}'", limit=_LIMIT
        )
        assert rows.num_rows < _LIMIT, "more than a question can answer; log less"
        for run, *row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            # A run that nobody logged is told too.
            found.setdefault(run, Answers()).views[view].append(tuple(row))
    these = Runs(names=sorted(found))
    floats = Attributes(types=["float_series"])
    points = client.metrics(project, these, floats)
    columns_ = (points[name].to_pylist() for name in ("run", "path", "step", "value"))
    for run, path, step, value in zip(*columns_, strict=True):
        found[run].metrics.append((path, step, value))
    for row in client.metric_buckets(project, these, floats, max_buckets=_BUCKETS).to_pylist():
        found[row["run"]].buckets.append(row)
    files = client.series(project, these, Attributes(types=["file_series"])).to_pylist()
    for row in sorted(files, key=itemgetter("timestamp"), reverse=True):
        contents = found[row["run"]].contents
        if len(contents) < downloads:
            file, digest = row["file"], hashlib.sha256()
            for piece in client.download(project, FileReference(**file)):
                digest.update(piece)
            contents.append((row["path"], row["step"] / 1e6, file["sha256"], digest.hexdigest()))
    for cells in client.runs_table(project, these, Attributes()).to_pylist():
        found[cells["run_id"]].table = cells
    return found


def ask_stored(url: str, project: str, run: str) -> dict[str, list[tuple[int, int]]]:
    with open_channel(url, None) as channel:
        answer = IngestServiceStub(channel).Progress(
            ProgressRequest(project=project, run_id=run), timeout=20 * LONGER
        )
    return {
        one.writer_id: [(part.first, part.last) for part in one.stored] for one in answer.writers
    }


class Auditor:
    def __init__(self, url: str, ingest: str, project: str, diaries: Diaries) -> None:
        """`url`: of the reading side; `ingest`: of the writing side."""
        self.url = url
        self.ingest = ingest
        # A batch that is sent again after partitions were added may be counted in both places
        # (tests/consumers/writer/test_added_partitions.py): runs.points may be too high.
        self.counted_twice = False
        self.project = project
        self.diaries = diaries

    def answers(self, downloads: int = _ALL) -> dict[str, Answers]:
        """Raises NaiadError or RpcError where there is no answer."""
        runs = self.diaries.read().runs
        with QueryClient(self.url) as client:
            found = ask(client, self.project, runs, downloads)
        for run, expected in runs.items():
            if expected.taken:
                found[run].stored = ask_stored(self.ingest, self.project, run)
        return found

    def problems(self, downloads: int = _ALL) -> list[str]:
        return self.judge(self.answers(downloads))

    def judge(self, found: Mapping[str, Answers]) -> list[str]:
        return [
            f"{run}: {problem}"
            for run, answers in found.items()
            for expected in [self.diaries.runs[run]]
            for problem in [
                *expected.problems(answers.items()),
                *count_problems(expected, answers, counted_twice=self.counted_twice),
                *derived_problems(answers),
            ]
        ]

    def check(self, seconds: float = 0, downloads: int = _ALL) -> None:
        """That all is there and right, within so many seconds: what is on its way may come.
        The writers have to rest."""
        deadline = time.monotonic() + seconds
        while True:
            # Before the look: what one says that took long may be no more.
            late = time.monotonic() > deadline
            try:
                # An audit is dozens of questions, and not worth one before the points are in.
                while not self._all_in() and time.monotonic() < deadline:
                    time.sleep(0.1)
                problems = self.problems(downloads)
            except (NaiadError, grpc.RpcError) as error:
                problems = [f"no answer: {error}"]
            if not problems:
                return
            if late:
                shown = "\n  ".join(problems[:SHOWN])
                raise AssertionError(
                    f"{len(problems)} problems among {self.diaries.points} points:\n  {shown}"
                )
            time.sleep(0.1)

    def _all_in(self) -> bool:
        """Whether there are as many points as there should be; no more than a hint."""
        least = sum(
            key[0] == "points" and any(call.returned for call in calls)
            for expected in self.diaries.read().runs.values()
            for key, calls in expected.items.items()
        )
        question = f"SELECT count() FROM points WHERE project = '{self.project}'"
        with QueryClient(self.url) as client:
            (count,) = client.sql(question).column(0).to_pylist()
        return bool(count >= least)


def count_problems(expected: Expected, found: Answers, *, counted_twice: bool = False) -> list[str]:
    """`runs.points`, and which records are stored, against the diaries."""
    told = []
    if len(found.views["runs"]) != 1:
        return [f"the run is there {len(found.views['runs'])} times"]
    ((_, points),) = found.views["runs"]
    most = math.inf if counted_twice else expected.points + expected.perhaps
    if not expected.points <= points <= most:
        told.append(
            f"drifted: runs.points is {points}, logged were {expected.points}"
            + (f" to {expected.points + expected.perhaps}" if expected.perhaps else "")
        )
    for writer, taken in expected.taken.items():
        stored, offered = found.stored.get(writer, []), _merged(expected.offered[writer])
        if not _within(_merged(taken), stored) or not _within(stored, offered):
            told.append(f"stored of writer {writer} is {stored}, taken were {_merged(taken)}")
    return told


def derived_problems(found: Answers) -> list[str]:
    return [
        *_series_problems(found), *_metrics_problems(found), *_bucket_problems(found),
        *_table_problems(found),
        *(
            f"the file {path} at {step} has other bytes than it should"
            for path, step, wanted, had in found.contents
            if wanted != had
        ),
    ]  # fmt: skip


def _series_problems(found: Answers) -> list[str]:
    """The last point of each series, against the points."""
    # (path, type) -> (committed, step, value, text, timestamp)
    last: dict[tuple[str, str], tuple[Any, ...]] = {}

    def meet(path: str, kind: str, committed: bool, step: float, *rest: Any) -> None:
        if (path, kind) not in last or last[path, kind][:2] < (committed, step):
            last[path, kind] = (committed, step, *rest)

    views = found.views
    for path, step, value, preview, at in views["points"]:
        meet(path, "float_series", not preview, step, repr(value), None, at)
    for path, step, value, at in views["strings"]:
        meet(path, "string_series", True, step, "None", value, at)
    for path, step, _, _, at in views["histograms"]:
        meet(path, "histogram_series", True, step, "None", None, at)
    for path, step, _, _, at in views["files"]:
        meet(path, "file_series", True, step, "None", None, at)
    told = []
    met = set()
    for path, kind, step, number, text, at in views["series"]:
        if (path, kind) in met:
            told.append(f"there twice: the series {path} ({kind})")
        met.add((path, kind))
        wanted = last.get((path, kind), (None,))[1:]
        if wanted != (step, repr(number), text, at):
            told.append(
                f"drifted: series has {(step, number, text, at)} as the last point of {path}"
                f" ({kind}), the points say {wanted}"
            )
    told += [f"lost: the series {path} ({kind})" for path, kind in last.keys() - met]
    return told


def _metrics_problems(found: Answers) -> list[str]:
    """FetchMetrics: in order, and the same points."""
    places = [(path, step) for path, step, _ in found.metrics]
    told = [
        f"out of order: {before[0]} has step {after[1] / 1e6} after {before[1] / 1e6}"
        for before, after in itertools.pairwise(places)
        if after <= before
    ]
    given = {(path, step / 1e6): repr(value) for path, step, value in found.metrics}
    wanted = {
        (path, step): repr(value)
        for path, step, value, preview, _ in found.views["points"]
        if not preview
    }
    if given != wanted:
        other = {key for key, _ in given.items() ^ wanted.items()}
        told.append(f"FetchMetrics and SQL differ in {len(other)} points: {sorted(other)[:3]}")
    return told


def _bucket_problems(found: Answers) -> list[str]:
    """Every bucket, against its points."""
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for path, step, value, preview, _ in found.views["points"]:
        if not preview:
            points[path].append((step, value))
    for of_path in points.values():
        of_path.sort()
    told = []
    counted: dict[str, int] = defaultdict(int)
    for row in found.buckets:
        of_path = points[row["path"]]
        first = bisect.bisect_left(of_path, row["from_x"], key=itemgetter(0))
        beyond = bisect.bisect_left(of_path, row["to_x"], key=itemgetter(0))
        inside = of_path[first:beyond]
        counted[row["path"]] += len(inside)
        if wrong := _bucket_problem(row, inside):
            told.append(f"drifted: the bucket of {row['path']} from {row['from_x']}: {wrong}")
    for path, all_of_it in points.items():
        if counted[path] != len(all_of_it):
            told.append(f"the buckets of {path} hold {counted[path]} of {len(all_of_it)} points")
    return told


def _bucket_problem(row: dict[str, Any], points: list[tuple[float, float]]) -> str:
    fine = [(x, y) for x, y in points if math.isfinite(y)]
    wanted: dict[str, float] = {
        "finite_count": len(fine),
        "nan_count": sum(math.isnan(y) for _, y in points),
        "positive_infinity_count": sum(y == math.inf for _, y in points),
        "negative_infinity_count": sum(y == -math.inf for _, y in points),
    }
    if fine:
        least = min(fine, key=lambda one: (one[1], one[0]))
        most = max(fine, key=lambda one: (one[1], -one[0]))
        for name, (x, y) in zip(
            ("first", "last", "min", "max"), (fine[0], fine[-1], least, most), strict=True
        ):
            wanted |= {f"{name}_x": x, f"{name}_y": y}
    for name, value in wanted.items():
        if row[name] != value:
            return f"{name} is {row[name]}, the points say {value}"
    if not math.isclose(row["sum_y"], math.fsum(y for _, y in fine), rel_tol=1e-9, abs_tol=1e-9):
        return f"sum_y is {row['sum_y']}, the points say {math.fsum(y for _, y in fine)}"
    return ""


def _table_problems(found: Answers) -> list[str]:
    """Last values in the table of runs, against `series`."""
    told = []
    for path, kind, _, number, text, _ in found.views["series"]:
        cell = found.table.get(f"{path}:{kind}")
        if kind == "float_series" and repr(cell) != repr(number):
            told.append(f"drifted: the table of runs has {cell} for {path}, series {number}")
        if kind == "string_series" and cell != text:
            told.append(f"drifted: the table of runs has {cell!r} for {path}, series {text!r}")
    return told


def _merged(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    made: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if made and first <= made[-1][1] + 1:
            made[-1] = made[-1][0], max(made[-1][1], last)
        else:
            made.append((first, last))
    return made


def _within(inner: list[tuple[int, int]], outer: list[tuple[int, int]]) -> bool:
    return all(any(a <= first and last <= b for a, b in outer) for first, last in inner)
