"""The auditor sees what it is there to see, before anything is trusted to it."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support_auditor import Answers, Auditor
from support_embedded import Embedded, embedded
from support_naiad import LONGER
from support_siege import siege

pytestmark = pytest.mark.slow


@dataclass
class Audited:
    platform: Embedded
    auditor: Auditor
    answers: dict[str, Answers]


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    """Two clients and a raw writer have logged, one of them was killed and its run resumed."""
    folder = tmp_path_factory.mktemp("audited")
    with embedded(folder, own_disk=False) as platform:
        with siege(platform, folder, runs=["one"], seed=1) as besieged:
            besieged.load.log(300)
            besieged.load.kill(besieged.load.clients()[0])
            besieged.load.start("one")
            besieged.load.log(200)
            # The raw writer is as fast as the server's disk, the clients are not: as many of its
            # batches as the tests below take for granted.
            besieged.load.deliver(15)
            besieged.end()
            auditor = besieged.auditor
        answers = auditor.answers()
        assert auditor.judge(answers) == []
        yield Audited(platform, auditor, answers)


def test_the_load_is_what_it_is_meant_to_be(audited: Audited) -> None:
    """Overwritten, late, resumed, edited: else a green audit would say little."""
    expected = audited.auditor.diaries.runs
    items = expected["one"].items
    assert sum(len(calls) > 1 for calls in items.values()) > 20
    authors = [{call.rank[1] for call in calls} for calls in items.values()]
    assert max(map(len, authors)) > 1, "no item has two authors"
    assert {key[0] for key in items} == {
        "points", "strings", "histograms", "files", "attributes", "tags",
    }  # fmt: skip
    assert any(preview for _, _, _, preview, _ in audited.answers["one"].views["points"])
    assert sum(len(calls) > 1 for calls in expected["raw"].items.values()) > 20
    assert all(len(spools) > 5 for spools in expected["raw"].taken.values())
    assert audited.answers["one"].contents


def _drop(rows: list[Any]) -> None:
    rows.pop(len(rows) // 2)


def _double(rows: list[Any]) -> None:
    rows.append(rows[len(rows) // 2])


def _change(rows: list[Any], place: int, value: Any) -> None:
    row = list(rows[len(rows) // 2])
    row[place] = value
    rows[len(rows) // 2] = tuple(row)


def _older(found: Answers, auditor: Auditor) -> None:
    """A point has what was logged there before."""
    for key, calls in auditor.diaries.runs["one"].items.items():
        values = {call.value for call in calls} if key[0] == "points" else ()
        now = [value for item, value in found.items() if item == key]
        if len(values) > 1 and all(call.returned for call in calls):
            (older, *_) = values - set(now)
            rows = found.views["points"]
            (place,) = [n for n, row in enumerate(rows) if row[:2] == key[1:]]
            rows[place] = (*rows[place][:2], float(older[0]), older[1], rows[place][4])
            return
    raise AssertionError("nothing was overwritten")


def _swap(rows: list[Any]) -> None:
    at = next(n for n in range(len(rows) - 1) if rows[n][0] == rows[n + 1][0])
    rows[at], rows[at + 1] = rows[at + 1], rows[at]


PLANTED: dict[str, tuple[str, Callable[[Answers, Auditor], None]]] = {
    **{
        f"{what} among {view}": (told, lambda found, _, view=view, do=do: do(found.views[view]))
        for view in ("points", "strings", "histograms", "files", "attributes", "tags")
        for what, told, do in (("a loss", "lost: ", _drop), ("a double", "there 2 times", _double))
    },
    "a wrong value": (
        "wrong: |never logged", lambda found, _: _change(found.views["points"], 2, 0.123)
    ),
    "a wrong text": ("wrong: ", lambda found, _: _change(found.views["strings"], 2, "x")),
    "a point nobody logged": (
        "never logged", lambda found, _: _change(found.views["points"], 1, 1e6)
    ),
    "an older value": ("overwritten by something older", _older),
    "steps out of order": ("out of order", lambda found, _: _swap(found.metrics)),
    "a point that FetchMetrics lacks": ("differ in 1 points", lambda f, _: _drop(f.metrics)),
    "a last value that drifted": (
        "drifted: series has", lambda found, _: _change(found.views["series"], 3, 0.123)
    ),
    "a last step that drifted": (
        "drifted: series has", lambda found, _: _change(found.views["series"], 2, 1e6)
    ),
    "a series that is not listed": ("lost: the series", lambda f, _: _drop(f.views["series"])),
    "a series listed twice": ("there twice: the series", lambda f, _: _double(f.views["series"])),
    "a count that drifted": (
        "drifted: runs.points is", lambda found, _: _change(found.views["runs"], 1, 7)
    ),
    "a run that is there twice": ("is there 2 times", lambda f, _: _double(f.views["runs"])),
    "a bucket that drifted": (
        "drifted: the bucket", lambda found, _: found.buckets[3].update(max_y=1e9)
    ),
    "a bucket that is not there": ("the buckets of", lambda found, _: _drop(found.buckets)),
    "a count of a bucket that drifted": (
        "drifted: the bucket", lambda found, _: found.buckets[3].update(nan_count=99)
    ),
    "a cell of the table that drifted": (
        "drifted: the table", lambda found, _: found.table.update({"w1/loss:float_series": 0.1})
    ),
    "a file with other bytes": (
        "has other bytes", lambda found, _: _change(found.contents, 3, "0" * 64)
    ),
}  # fmt: skip


@pytest.mark.parametrize("plant", PLANTED)
def test_a_fault_planted_in_the_answers_is_told(audited: Audited, plant: str) -> None:
    told, do = PLANTED[plant]
    found = copy.deepcopy(audited.answers)
    do(found["one"], audited.auditor)
    problems = audited.auditor.judge(found)
    assert any(re.search(told, problem) for problem in problems), problems


def test_records_that_are_not_stored_are_told(audited: Audited) -> None:
    for cut in (lambda parts: parts.pop(), lambda parts: parts.append((10**6, 10**6))):
        found = copy.deepcopy(audited.answers)
        cut(next(iter(found["raw"].stored.values())))
        (problem,) = audited.auditor.judge(found)
        assert "raw: stored of writer" in problem


# What goes wrong in the data itself, each at a place of its own. Nothing may be merged away.
SABOTAGE = """
import sys
from naiad_store import Store

with Store.open(sys.argv[1]) as store:
    run = "run = (SELECT run FROM runs FINAL WHERE run_id = 'one')"
    step = "step = (SELECT min(step) FROM points WHERE path = '{}')"
    for table in ("points", "series", "writers"):
        store.command(f"OPTIMIZE TABLE {table} FINAL")
        store.command(f"ALTER TABLE {table} MODIFY SETTING"
                      " max_bytes_to_merge_at_max_space_in_pool = 1")
    lost, wrong, twice = "w1/loss", "w1/accuracy", "w1/layer0/norm"
    store.command(f"ALTER TABLE points DELETE WHERE {run} AND path = '{lost}' AND"
                  f" {step.format(lost)} SETTINGS mutations_sync = 2")
    store.command(f"ALTER TABLE points UPDATE value = 0.123 WHERE {run} AND path = '{wrong}' AND"
                  f" {step.format(wrong)} SETTINGS mutations_sync = 2")
    store.command(f"INSERT INTO points SELECT * FROM points WHERE {run} AND path = '{twice}' AND"
                  f" {step.format(twice)}")
    # As if somebody had forgotten the one word.
    view = store.query("SHOW CREATE VIEW view_points").column(0).to_pylist()[0]
    assert "points FINAL" in " ".join(view.split()), view
    body = view[view.index("AS SELECT"):].replace("FINAL", "", 1)
    store.command(f"CREATE OR REPLACE VIEW view_points {body}")
    store.command(f"INSERT INTO series SELECT * REPLACE (number + 1 AS number, rank + 1 AS rank)"
                  f" FROM series FINAL WHERE {run} AND path = 'w2/late'")
    # By more than a call in which its process was killed may have brought or not.
    store.command(f"INSERT INTO writers SELECT * REPLACE (points + 10000 AS points,"
                  f" row_version + 1 AS row_version) FROM writers FINAL WHERE {run} LIMIT 1")
"""


def test_faults_planted_in_the_store_are_told(audited: Audited) -> None:
    """The whole way, through the query service: a lost point, a wrong one, one that is there
    twice, and derived rows that drifted."""
    platform, auditor = audited.platform, audited.auditor
    platform.kill()
    done = subprocess.run(
        [sys.executable, "-c", SABOTAGE, f"chdb://{platform.data / 'store'}"],
        capture_output=True, text=True, timeout=60 * LONGER, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    platform.start()
    problems = auditor.problems()
    for told in (
        r"one: lost: \('points', 'w1/loss', 0\.0\)",
        r"one: wrong: \('points', 'w1/accuracy', 0\.0\) = \('0\.123', False\), not",
        r"one: there 2 times: \('points', 'w1/layer0/norm', 0\.0\)",
        r"one: drifted: series has .* as the last point of w2/late \(float_series\)",
        r"one: drifted: runs\.points is \d+, logged were \d+",
    ):
        assert any(re.match(told, problem) for problem in problems), (told, problems)
    with pytest.raises(AssertionError, match="problems among"):
        auditor.check()
