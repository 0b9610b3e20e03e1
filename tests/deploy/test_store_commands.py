"""`naiad store`: while a server runs and without, and killed at any moment."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support_envelopes import seal
from support_histories import History
from support_naiad import LONGER, clean_environment, running_naiad, wait_until

from naiad_eventlog import open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS, run_key
from naiad_standalone.datafolder import DataFolder


def naiad(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "naiad", *map(str, arguments)],
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=100 * LONGER,
    )


def well(*arguments: object) -> str:
    done = naiad(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ill(*arguments: object) -> str:
    done = naiad(*arguments)
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


async def fill_log(data: Path, seed: int, batches: int) -> None:
    with DataFolder.open(data) as folder:
        async with await open_event_log(folder.log_url) as log:
            await log.create_topics(ALL_TOPICS)
            for batch, rejections in History(seed).more(batches):
                value = seal(batch, rejections=rejections, received_at=5000)
                await log.append(RECORDS.name, run_key(batch.project, batch.run_id), value)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose log is stored."""
    data = tmp_path_factory.mktemp("made") / "data"
    asyncio.run(fill_log(data, seed=1, batches=300))
    assert "rows made anew from 300 records" in well(
        "store", "rebuild", "--data", data, "--from-log"
    )
    return data


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data", symlinks=True))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_while_a_server_runs(tmp_path: Path) -> None:
    data, target = tmp_path / "data", tmp_path / "snapshot"
    asyncio.run(fill_log(data, seed=2, batches=50))
    copy = Path(shutil.copytree(data, tmp_path / "copy", symlinks=True))
    well("store", "rebuild", "--data", copy, "--from-log")
    counts = well("store", "check", "--data", copy)
    with running_naiad(data):
        check = ("store", "check", "--data", data)
        wait_until(lambda: well(*check) == counts, 60, "the server stores its log")
        assert f"in {target}" in well("store", "snapshot", "--data", data, target)
        assert "holds a snapshot already" in ill("store", "snapshot", "--data", data, target)
        for command in (["restore", target], ["rebuild", "--from-log"]):
            assert "stop the server first" in ill("store", *command, "--data", data)
    assert "all there" in well("store", "check", target)
    assert well("store", "check", "--data", data) == counts
    # Elsewhere, with the log that goes with it.
    other = tmp_path / "other"
    assert "not the log beside which it was taken" in ill(
        "store", "restore", "--data", other, target
    )
    well("store", "restore", "--data", other, "--without-log", target)
    assert well("store", "check", "--data", other) == counts


def test_in_a_folder_whose_path_is_long(tmp_path: Path) -> None:
    data = tmp_path / ("long" * 30)
    with running_naiad(data):
        assert "points" in well("store", "check", "--data", data)


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    assert "is not a data folder" in ill("store", "snapshot", "--data", tmp_path, "x")
    assert "holds no snapshot" in ill("store", "check", tmp_path)
    assert "use a folder or s3://" in ill("store", "check", "ftp://x/y")
    assert naiad("store", "rebuild", "--data", tmp_path).returncode == 2
    done = naiad("store", "check", NAIAD_STORE="chdb:///nowhere")
    assert "NAIAD_EVENT_LOG is not: set both" in done.stderr


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_any_moment_it_can_be_done_again(data: Path) -> None:
    chance = random.Random(1)
    before = well("store", "check", "--data", data)
    target = data.parent / "snapshot"

    def killed_then_well(*arguments: object) -> None:
        """Killed somewhere between its start and its end, then once more to the end."""
        process = subprocess.Popen(
            [sys.executable, "-m", "naiad", *map(str, arguments)],
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr
        # Starting takes most of the time; what it says tells when it works.
        lines = chance.randint(0, 8)
        for _ in range(lines):
            if not process.stderr.readline():
                break
        time.sleep(chance.uniform(0, 0.5) if lines else chance.uniform(0, 3))
        process.kill()
        process.communicate()
        done = naiad(*arguments)
        # It may have been done already.
        again = "holds a snapshot already" in done.stderr or "is not empty" in done.stderr
        assert done.returncode == 0 or again, done.stderr

    killed_then_well("store", "snapshot", "--data", data, target)
    assert "all there" in well("store", "check", target)
    killed_then_well("store", "rebuild", "--data", data, "--from-log", "--snapshot", target)
    assert well("store", "check", "--data", data) == before
    killed_then_well("store", "rebuild", "--data", data, "--from-log")
    assert well("store", "check", "--data", data) == before
    # The store is lost, the log and the snapshot are not.
    shutil.rmtree(data / "store")
    killed_then_well("store", "restore", "--data", data, target)
    assert well("store", "check", "--data", data) == before
