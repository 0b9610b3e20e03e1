"""`naiad metrics` and `naiad export`, and the forms of `naiad sql`."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from support_cli import lines, naiad, on_a_terminal, refused
from support_one_engine import store_url
from support_query import PATIENCE, Reading, Spool

from naiad.cli import export as module
from naiad.query.streams import Batches

__all__ = ["store_url"]

pytestmark = pytest.mark.usefixtures("environment")


def test_a_line_of_figures_for_each_metric() -> None:
    assert lines("metrics") == [
        ["run", "metric", "points", "first_step", "last_step", "last", "min", "max", "mean",
         "not_finite"],
        ["fork", "loss", "4", "0.0", "3.0", "60.0", "8.0", "70.0", "36.75", "0"],
        ["sgd", "loss", "4", "0.0", "0.0", "1.0", "1.0", "1.0", "1.0", "3"],
        ["adam-2", "acc", "2", "0.0", "1.0", "0.6", "0.5", "0.6", "0.55", "0"],
        ["adam-2", "loss", "2", "0.0", "1.0", "4.0", "4.0", "5.0", "4.5", "0"],
        ["adam-1", "loss", "3", "0.0", "2.0", "7.0", "7.0", "9.0", "8.0", "0"],
    ]  # fmt: skip
    assert [line[1] for line in lines("metrics", "acc", "--match", "adam")] == ["metric", "acc"]
    chosen = lines("metrics", "loss", "--filter", "lr < 1 and loss.count > 2")
    assert [line[0] for line in chosen] == ["run", "sgd"]
    own = lines("metrics", "--run", "fork", "--own-points")
    assert own[1][2:5] == ["2", "2.0", "3.0"]
    (found,) = json.loads(
        naiad("metrics", "--json", "--run", "adam", "--experiments", "acc").stdout
    )
    assert (found["experiment"], found["points"], found["mean"]) == ("adam", 2, 0.55)


def test_where_there_is_nothing_to_show_it_is_said() -> None:
    done = naiad("metrics", "nope", "--run", "sgd")
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == (
        "nothing there: no such metric, or no such run; `naiad metrics` shows all that there are\n"
    )
    assert json.loads(naiad("metrics", "nope", "--json").stdout) == []


def test_a_metric_that_was_never_finite(server: Reading) -> None:
    server.write(Spool("team/nan", "r").create().metrics({"loss": [float("nan")] * 2}))
    (line,) = lines("metrics", "--project", "team/nan")[1:]
    assert line == ["r", "loss", "2", "", "", "", "", "", "", "2"]


def test_points() -> None:
    assert lines("metrics", "loss", "--tail", "1", "--run", "adam-1", "--run", "fork") == [
        ["run", "metric", "step", "time", "value"],
        ["fork", "loss", "3.0", "2026-01-01T00:00:03.000Z", "60.0"],
        ["adam-1", "loss", "2.0", "2026-01-01T00:00:02.000Z", "7.0"],
    ]
    steps = {
        "1:2": ["1.0", "2.0"], ":0": ["0.0"], "3:": ["3.0"], "0.5:1.5": ["1.0"], "7:": [],
    }  # fmt: skip
    for given, wanted in steps.items():
        shown = lines("metrics", "--points", "--run", "fork", "--step-range", given)
        assert [line[2] for line in shown[1:]] == wanted, given
    shown = lines("metrics", "--points", "--run", "sgd", "--previews")
    assert [line[4:] for line in shown] == [
        ["value", "preview"], ["1.0", "false"], ["NaN", "false"], ["Infinity", "false"],
        ["-Infinity", "false"], ["3.5", "true"],
    ]  # fmt: skip
    done = naiad("metrics", "acc", "--points", "--csv")
    assert list(csv.reader(io.StringIO(done.stdout)))[1:] == [
        ["adam-2", "acc", "0.0", "2026-01-01T00:00:00.000Z", "0.5"],
        ["adam-2", "acc", "1.0", "2026-01-01T00:00:01.000Z", "0.6"],
    ]


def test_buckets() -> None:
    shown = lines("metrics", "loss", "--buckets", "1", "--run", "adam-1")
    assert shown[0][:6] == ["run", "metric", "from_x", "to_x", "first_x", "first_y"]
    assert shown[1][:6] == ["adam-1", "loss", "0.0", "1.048576", "0.0", "9.0"]
    assert len(shown) == 3


def test_on_a_terminal() -> None:
    assert on_a_terminal("metrics", "acc", columns=120) == [
        "run     metric  points  first_step  last_step  last  min  max  mean  not_finite",
        "adam-2  acc          2           0          1   0.6  0.5  0.6  0.55           0",
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["metrics", "--points", "--tail", "3"], 2, "each a view of their own"),
        (["metrics", "--step-range", "1:2"], 2, "--step-range goes with --points or --tail"),
        (["metrics", "--points", "--step-range", "5"], 2, "is '5'; give FIRST:LAST, as 0:1000"),
        (["metrics", "--points", "--step-range", "a:b"], 2, "give FIRST:LAST, as 0:1000"),
        (["metrics", "--points", "--step-range", "3:2"], 2, "give FIRST:LAST, as 0:1000"),
        (["metrics", "--run", "a", "--match", "b"], 2, "by --run or by --match, not by both"),
        (["metrics", "--json", "--csv"], 2, "two forms; ask for one"),
        (["metrics", "--project", ""], 2, "name the project: --project WORKSPACE/NAME"),
        (["metrics", "--match", "("], 1, "not a regular expression that RE2 takes"),
        (["metrics", "--filter", "lr >"], 1, "filter, column 5: expected a value"),
        (["export", "points", "x.csv"], 2, "'points' is not one of 'runs', 'metrics', 'series'"),
        (["export", "metrics", "x.txt"], 2, "ends in neither .parquet nor .csv; say --format"),
        (["export", "runs", "x.csv", "--step-range", "1:"], 2, "are about points, not runs"),
        (["export", "runs", "/no/where/x.csv"], 1, "No such file or directory"),
        (["export", "runs", "x.csv", "--project", "x/y"], 1, "there is no project 'x/y'"),
        (["sql"], 2, 'give one statement: naiad sql "select * from runs", or --file'),
        (["sql", "--file", "nowhere.sql"], 2, "'nowhere.sql': No such file"),
        (["sql", "--csv", "--json", "select 1"], 2, "two forms; ask for one"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(
    arguments: list[str], status: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(*arguments, status=status)
    assert list(tmp_path.iterdir()) == []


def exported(tmp_path: Path, *arguments: str) -> Path:
    done = naiad("export", *arguments)
    assert done.exit_code == 0, done.output
    assert re.fullmatch(r"(1 row|[\d,]+ rows) in .*\([\d,]+ bytes\)\n", done.stderr)
    (file,) = tmp_path.iterdir()
    return file


def test_runs_as_parquet(tmp_path: Path) -> None:
    file = exported(tmp_path, "runs", str(tmp_path / "runs.parquet"))
    table = parquet.read_table(file)
    assert table.num_rows == 4
    # lr has two types, so each says which.
    assert {"run_id", "experiment", "lr:float", "lr:int", "loss", "sys/tags", "readme"} < set(
        table.column_names
    )
    row = {row["run_id"]: row for row in table.to_pylist()}["sgd"]
    assert row["depth"] == 2**60 + 1
    assert row["sys/tags"] == ["good"]
    assert row["readme"]["name"] == "note.txt"


def test_runs_as_csv(tmp_path: Path) -> None:
    file = exported(
        tmp_path, "runs", str(tmp_path / "x"), "--format", "csv", "--run", "sgd",
        "--attributes", "^(note|sys/tags|when|loss)$", "--filter", "depth exists",
    )  # fmt: skip
    (row,) = csv.DictReader(io.StringIO(file.read_text()))
    assert row == {
        "run_id": "sgd", "experiment": "sgd", "loss": "-inf", "note": 'a "quoted" ü',
        "sys/tags": '["good"]', "when": "2026-02-03 04:05:06.789Z",
    }  # fmt: skip


def test_metrics(tmp_path: Path) -> None:
    file = exported(
        tmp_path, "metrics", str(tmp_path / "m.parquet"), "--attributes", "loss",
        "--run", "fork", "--step-range", "1:2",
    )  # fmt: skip
    table = parquet.read_table(file)
    assert table.column_names == ["run", "path", "step", "timestamp", "value"]
    assert table.drop_columns("timestamp").to_pylist() == [
        {"run": "fork", "path": "loss", "step": 1.0, "value": 8.0},
        {"run": "fork", "path": "loss", "step": 2.0, "value": 70.0},
    ]


def test_series_as_csv(tmp_path: Path) -> None:
    file = exported(tmp_path, "series", str(tmp_path / "s.csv"), "--experiments", "--run", "sgd")
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [(row["experiment"], row["path"], row["string_value"]) for row in rows[:2]] == [
        ("sgd", "log/out", "one"), ("sgd", "log/out", "two"),
    ]  # fmt: skip
    by_path = {row["path"]: row for row in rows}
    assert json.loads(by_path["weights"]["histogram"])["values"] == [3.0, 4.0]
    assert json.loads(by_path["images"]["file"])["name"] == "note.txt"


def test_nothing_found_is_a_file_without_rows(tmp_path: Path) -> None:
    file = exported(tmp_path, "metrics", str(tmp_path / "m.csv"), "--run", "nobody")
    assert file.read_text() == '"run","path","step","timestamp","value"\n'


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text("mine")
    told = refused("export", "runs", str(file))
    assert told == f"Error: {file} is there already; --force overwrites it\n"
    assert file.read_text() == "mine"
    exported(tmp_path, "runs", str(file), "--force")
    assert file.read_text().startswith('"run_id"')


def test_one_that_comes_meanwhile_stays_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "runs.csv"
    of_csv = module._as_text

    def meanwhile(batch: pa.RecordBatch) -> pa.RecordBatch:
        file.write_text("mine")
        return of_csv(batch)

    monkeypatch.setattr(module, "_as_text", meanwhile)
    assert "is there by now; --force" in refused("export", "runs", str(file))
    assert [one.read_text() for one in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("end", [OSError("no space left"), KeyboardInterrupt()])
def test_no_part_of_a_file_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    def broken(self: Batches) -> Iterator[pa.RecordBatch]:
        assert [one.suffix for one in tmp_path.iterdir()] == [".part"]
        raise end
        yield

    monkeypatch.setattr(Batches, "__iter__", broken)
    done = naiad("export", "metrics", str(tmp_path / "m.parquet"))
    assert done.exit_code == 1
    assert ("no space left" in done.stderr) or ("Aborted!" in done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_the_middle_of_much(server: Reading, tmp_path: Path) -> None:
    run = Spool("team/much", "r").create()
    for part in range(20):
        steps = list(range(part * 10_000, (part + 1) * 10_000))
        run.metrics({"loss": [float(step) for step in steps]}, steps=steps)
    server.write(run)
    file = tmp_path / "m.csv"
    script = (
        "import sys, os, time, signal\n"
        "from naiad.query.streams import Batches\n"
        "real = Batches.__iter__\n"
        "def slow(self):\n"
        "    for batch in real(self):\n"
        "        yield batch\n"
        "        print('one', flush=True)\n"
        "        time.sleep(600)\n"
        "Batches.__iter__ = slow\n"
        "from naiad.cli import main\n"
        "main()\n"
    )
    command = [
        sys.executable, "-c", script, "export", "metrics", str(file), "--project", "team/much",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "one\n"
        assert [one.suffix for one in tmp_path.iterdir()] == [".part"]
        process.send_signal(signal.SIGINT)
        assert "Aborted!" in process.stderr.read()
        assert process.wait(PATIENCE) == 1
    assert list(tmp_path.iterdir()) == []


def test_sql_from_a_file_and_as_csv(tmp_path: Path) -> None:
    file = tmp_path / "best.sql"
    file.write_text("-- the tags\nselect tag, 'a,\"b' as text, [1, 2] as list from tags;\n")
    done = naiad("sql", "--file", str(file), "--csv")
    assert list(csv.reader(io.StringIO(done.stdout))) == [
        ["tag", "text", "list"], ["good", 'a,"b', "[1, 2]"],
    ]  # fmt: skip


def test_whoever_reads_no_more_is_no_error() -> None:
    statement = "select arrayJoin(range(90000)) as n"
    command = f'{sys.executable} -m naiad sql "{statement}" | head -2'
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.stdout, done.stderr) == ("n\n0\n", "")
