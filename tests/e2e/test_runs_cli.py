"""`naiad runs` and `naiad projects` as their user runs them, against a whole server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support_naiad import LONGER, Naiad, clean_environment, running_naiad, wait_until

from naiad import editing, query
from naiad.cli import main
from naiad.exceptions import NaiadTypeError
from naiad.query.client import Attributes, QueryClient, Runs

pytestmark = pytest.mark.slow

TRAIN = """
import sys, naiad
for run_id in sys.argv[2:]:
    with naiad.Run(project="team/cli", run_id=run_id, experiment_name="e",
                   log_directory=sys.argv[1], hardware_interval=None) as run:
        run.log_configs({"lr": 0.1 * len(run_id), "same": 1})
        run.log_metrics({"loss": 0.5}, step=1)
        assert run.wait_for_processing(timeout=100)
"""
LIVE = """
import sys, logging, naiad
logging.basicConfig(level=logging.WARNING, format="%(message)s")
run = naiad.Run(project="team/cli", run_id="live", log_directory=sys.argv[1])
run.log_metrics({"loss": 0.5}, step=0)
assert run.wait_for_processing(timeout=100)
print("ready", flush=True)
step = 0
for line in sys.stdin:
    step += 1
    run.log_metrics({"loss": 0.5}, step=step)
    assert run.wait_for_processing(timeout=100)
    print("logged", flush=True)
run.close()
print("closed", flush=True)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Naiad]:
    folder = tmp_path_factory.mktemp("cli")
    with running_naiad(folder / "data") as naiad:
        train(naiad, folder, "a", "bb", "ccc", "dddd")
        yield naiad


def train(server: Naiad, folder: Path, *run_ids: str) -> None:
    subprocess.run(
        [sys.executable, "-c", TRAIN, str(folder / "spool"), *run_ids],
        env=clean_environment(NAIAD_URL=server.url), check=True,
        timeout=100 * LONGER,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def environment(server: Naiad, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_URL", server.url)
    monkeypatch.setenv("NAIAD_PROJECT", "team/cli")


def naiad(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="naiad")


def said(*arguments: str) -> str:
    done = naiad(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(*arguments: str, status: int = 1) -> str:
    done = naiad(*arguments)
    assert (done.exit_code, done.stdout) == (status, "")
    return done.stderr


def runs(*, in_trash: bool = False) -> list[str]:
    with QueryClient() as client:
        return sorted(client.list_runs("team/cli", Runs(in_trash=in_trash)))


def all_is_there() -> None:
    """In log and store; the last words of a process that ended are read a moment later."""
    wait_until(lambda: naiad("audit", "team/cli").exit_code == 0, 20, "all is stored")
    assert "all there" in said("audit", "team/cli")


def test_show_and_diff() -> None:
    shown = said("runs", "show", "bb")
    assert "loss\tfloat_series\t0.5\n" in shown
    assert "sys/id\tstring\tbb\n" in shown
    assert said("runs", "show", "bb", "--match", "^lr$") == (
        "attribute\ttype\tvalue\nlr\tfloat\t0.2\n"
    )
    assert said("runs", "diff", "a", "bb", "--match", "^(lr|same|sys/id)$") == (
        "attribute\ttype\ta\tbb\nlr\tfloat\t0.1\t0.2\n"
    )
    rows = json.loads(said("runs", "diff", "a", "bb", "--match", "^same$", "--all", "--json"))
    assert rows == [{"attribute": "same", "type": "int", "a": 1, "bb": 1}]
    assert said("runs", "diff", "a", "bb", "--match", "^same$") == "a and bb do not differ\n"


def test_tags() -> None:
    assert said("runs", "tag", "bb", "+best", "+try") == "bb: best, try\n"
    assert said("runs", "tag", "bb", "-try") == "bb: best\n"
    assert said("runs", "tag", "bb", "+g", "--group") == "bb: g\n"
    assert "neither +TAG" in refused("runs", "tag", "bb", "best", status=2)
    assert "no run 'nope'" in refused("runs", "tag", "nope", "+x")
    with QueryClient() as client:
        found = client.runs_table(
            "team/cli", Runs(names=["bb"]), Attributes(paths=["sys/state", "sys/tags"])
        ).to_pylist()
    # An edit is no process of the run.
    assert found[0]["sys/state:string"] == "finished"


def test_to_the_trash_and_back_and_gone() -> None:
    assert "say --yes" in refused("runs", "delete", "a", status=2)
    assert "name runs" in refused("runs", "delete", status=2)
    assert "name runs" in refused("runs", "delete", "a", "--all", status=2)
    assert "no run" in refused("runs", "delete", "--filter", "lr > 5", "-y")
    assert "column" in refused("runs", "delete", "--filter", "lr >", "-y")
    assert said("runs", "delete", "--filter", "lr > 0.35", "-y") == (
        "run 'dddd' of team/cli moved to the trash\n"
    )
    assert said("runs", "restore", "--all", "-y") == "run 'dddd' of team/cli restored\n"
    assert said("runs", "delete", "a", "bb", "-y") == "2 runs of team/cli moved to the trash\n"
    assert (runs(), runs(in_trash=True)) == (["ccc", "dddd"], ["a", "bb"])
    assert "naiad runs restore a" in refused("runs", "delete", "a", "-y")
    assert "naiad runs restore a" in refused("runs", "show", "a")
    assert "lr\tfloat\t0.1" in said("runs", "show", "a", "--in-trash")
    assert "naiad runs delete ccc" in refused("runs", "purge", "ccc", "-y")
    assert said("runs", "restore", "a", "-y") == "run 'a' of team/cli restored\n"
    assert runs() == ["a", "ccc", "dddd"]
    (one,) = json.loads(said("runs", "purge", "bb", "-y", "--json"))
    freed = one.pop("freed_bytes")
    assert one == {"run_id": "bb", "done": True, "error": None}
    assert freed > 100
    assert runs(in_trash=True) == []
    assert "no run 'bb' in the trash" in refused("runs", "restore", "bb", "-y")
    # The SDK says the same.
    (changed,) = editing.delete_runs(["a"])
    assert changed.done
    (changed,) = editing.delete_runs(["a"])
    assert "in the trash already" in changed.error
    (changed,) = editing.restore_runs(["bb"])
    assert "gone for good" in changed.error
    (changed,) = editing.restore_runs(["a"])
    assert changed.done
    all_is_there()


def test_an_id_is_used_again(server: Naiad, tmp_path: Path) -> None:
    said("runs", "delete", "dddd", "-y")
    train(server, tmp_path, "dddd")
    assert (runs(), runs(in_trash=True)) == (["a", "ccc", "dddd"], ["dddd"])
    done = naiad("runs", "restore", "dddd", "-y")
    assert done.exit_code == 1
    assert "was used again" in done.stderr
    assert done.stdout == "0 of 1 runs of team/cli restored\n"
    said("runs", "purge", "dddd", "-y")
    assert (runs(), runs(in_trash=True)) == (["a", "ccc", "dddd"], [])


def test_a_training_goes_on_when_its_run_is_deleted(server: Naiad, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LIVE, str(tmp_path / "spool")],
        env=clean_environment(NAIAD_URL=server.url), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as training:  # fmt: skip
        assert training.stdin
        assert training.stdout
        assert training.stderr

        def log_once() -> None:
            assert training.stdin
            assert training.stdout
            training.stdin.write("\n")
            training.stdin.flush()
            assert training.stdout.readline() == "logged\n"

        assert training.stdout.readline() == "ready\n"
        said("runs", "delete", "live", "-y")
        for _ in range(3):
            log_once()
        assert "live" not in runs()
        said("runs", "purge", "live", "-y")
        for _ in range(3):
            log_once()
        training.stdin.close()
        assert training.stdout.readline() == "closed\n"
        told = training.stderr.read()
        assert training.wait(30 * LONGER) == 0
    assert told.count("was deleted by") == 1
    assert told.count("was deleted and purged") == 1
    assert "Traceback" not in told
    assert "live" not in runs() + runs(in_trash=True)
    all_is_there()


def test_projects(server: Naiad, tmp_path: Path) -> None:
    listed = "project\truns\tin_trash\tdays\ttrash_days\nteam/cli\t{}\t{}\t{}\t{}\n".format
    there, trashed = len(runs()), len(runs(in_trash=True))
    assert said("projects", "list") == listed(there, trashed, "", "")
    assert "say --yes" in refused("projects", "delete", "team/cli", status=2)
    before = runs()
    assert "moved to the trash" in said("projects", "delete", "team/cli", "-y")
    # It has no runs that a question is about, and can be restored.
    assert said("projects", "list") == listed(0, there + trashed, "", "")
    listed_trash = json.loads(said("runs", "list", "--in-trash", "--json"))
    last = listed_trash[0]
    assert last["deleted_by"]
    assert last["deleted"] == max(row["deleted"] for row in listed_trash) > last["created"]
    # Several may have had one id.
    lives = {(row["run_id"], row["incarnation"]) for row in listed_trash}
    assert len(lives) == len(listed_trash) == there + trashed
    assert "runs restored" in said("projects", "restore", "team/cli", "-y")
    assert runs() == before
    began = time.time()
    assert said("projects", "retain", "team/cli", "--days", "30") == (
        "project team/cli: runs go to the trash 30 days after their end; the trash is purged after"
        " 30 days\n"
    )
    kept = listed(len(before), 0, 30, 30)
    wait_until(lambda: said("projects", "list") == kept, 10, "how long runs are kept is read")
    for output in ("pandas", "polars", "arrow"):
        table = query.fetch_projects_table(projects=["team/cli", "team/none"], output=output)
        if output == "pandas":
            row = table.loc["team/cli"].to_dict()
        else:
            (row,) = table.to_pylist() if output == "arrow" else table.to_dicts()
            assert row.pop("project") == "team/cli"
        assert list(row.values())[:4] == [len(before), 0, 30, 30]
        assert row["retention_set_by"]
        assert began - 1 <= row["retention_set_time"].timestamp() <= time.time() + 1
    assert said("projects", "retain", "team/cli", "--days", "0", "--trash-days", "0")
    forever = listed(len(before), 0, "", "")
    wait_until(lambda: said("projects", "list") == forever, 10, "that they are kept is read")
    assert query.fetch_projects_table()["days"].isna().tolist() == [True]
    assert len(query.fetch_projects_table(projects=[])) == 0
    with pytest.raises(NaiadTypeError, match="give a list of names"):
        query.fetch_projects_table(projects="team/cli")
    purged = said("projects", "purge", "team/cli", "-y")
    assert re.fullmatch(
        r"project team/cli: \d+ runs purged, about [\d.]+ (bytes|kB|MB) free\n", purged
    )
    assert "there is no project" in refused("projects", "purge", "team/cli", "-y")
    assert "no project 'team/cli'" in refused("runs", "list")
    # It can be used again.
    train(server, tmp_path, "new")
    wait_until(lambda: runs() == ["new"], 10, "the new run is seen")
