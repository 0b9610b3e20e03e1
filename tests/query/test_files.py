"""Files of runs, on this machine again."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from support_query import Reading, Spool

from naiad import query
from naiad.exceptions import NaiadQueryError
from naiad.query import runs
from naiad.query.types import File

pytestmark = pytest.mark.usefixtures("environment")


@pytest.fixture(scope="module")
def project(server: Reading) -> str:
    """Files with names that are paths, of several steps, and one twice."""
    spool = Spool("team/files", "r/../x".replace("/", "_")).create("exp / one")
    spool.set("model", server.put(b"weights", "../../model.bin"))
    spool.set("a b/ü", server.put(b"text", ""))
    spool.file("images", 0, server.put(b"zero", "0.png"))
    spool.file("images", 1.5, server.put(b"one and a half", "0.png"))
    server.write(spool)
    return "team/files"


def test_single_files_of_a_table(project: str, tmp_path: Path) -> None:
    table = runs.fetch_runs_table(project=project, attributes=["model", "a b/ü", "sys/id"])
    frame = runs.download_files(files=table, destination=tmp_path)
    assert frame.index.names == ["run", "step"]
    assert frame.columns.name == "attribute"
    ((run, step),) = frame.index
    assert run == "r_.._x"
    assert math.isnan(step)
    paths = {path: Path(frame[path].iloc[0]) for path in frame.columns}
    assert {path: local.relative_to(tmp_path).as_posix() for path, local in paths.items()} == {
        "a b/ü": "r_.._x/a b/ü/file", "model": "r_.._x/model/.._.._model.bin",
    }  # fmt: skip
    assert {path: local.read_bytes() for path, local in paths.items()} == {
        "a b/ü": b"text", "model": b"weights",
    }  # fmt: skip


def test_files_of_a_series_by_experiment(project: str, tmp_path: Path) -> None:
    series = query.fetch_series(project=project, experiments="one", attributes="images")
    frame = query.download_files(files=series, destination=str(tmp_path))
    assert list(frame.index) == [("exp / one", 0.0), ("exp / one", 1.5)]
    assert frame.index.names == ["experiment", "step"]
    assert [Path(path).read_bytes() for path in frame["images"]] == [b"zero", b"one and a half"]
    assert {Path(path).parent.name for path in frame["images"]} == {
        "step_0.000000",
        "step_1.500000",
    }


def test_one_file_a_list_and_a_column(
    project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = runs.fetch_runs_table(project=project, attributes=["model", "images"])
    file = table["model"].iloc[0]
    for given in (file, [file, None, 3.5, file], table["model"]):
        frame = runs.download_files(files=given)
        assert frame.shape == (1, 1)
        path = Path(frame["model"].iloc[0])
        assert path.is_relative_to(tmp_path)
        assert path.read_bytes() == b"weights"
    assert [one.name for one in path.parent.iterdir()] == [".._.._model.bin"]


def test_files_with_and_without_a_step_have_rows_of_their_own(project: str, tmp_path: Path) -> None:
    table = runs.fetch_runs_table(project=project, attributes=["model"])
    series = runs.fetch_series(project=project, runs=None, attributes="images")
    files = [*table["model"], *series["images"]]
    frame = runs.download_files(files=files, destination=tmp_path)
    assert list(frame.columns) == ["images", "model"]
    assert frame.isna().to_numpy().tolist() == [[True, False], [False, True], [False, True]]


def test_nothing_to_fetch_is_an_empty_frame(tmp_path: Path) -> None:
    frame = runs.download_files(files=pd.DataFrame({"a": [1, None]}), destination=tmp_path)
    assert frame.shape == (0, 0)
    assert frame.index.names == ["run", "step"]


def test_a_file_that_is_not_the_projects_is_refused_and_leaves_nothing(
    project: str, tmp_path: Path
) -> None:
    made_up = File(project, None, "r", "model", None, "x", 1, "", "", "0" * 64)
    with pytest.raises(NaiadQueryError, match="project 'team/files' has no file '0000"):
        runs.download_files(files=made_up, destination=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
