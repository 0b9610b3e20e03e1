"""The stages as separate processes on Kafka: what one client logs another one reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support_kafka import fresh, kafka_url
from support_naiad import clean_environment
from support_serve import Stages
from support_truth import read_back, read_diaries

__all__ = ["kafka_url"]
pytestmark = pytest.mark.slow

PROJECT, SEED, STEPS = "serve/pipeline", 11, 120

# Logs, and ends when the server says that all of it is stored.
CLIENT = f"""
import sys
from pathlib import Path
from support_diary import Diary, plain_run

with plain_run({PROJECT!r}, sys.argv[2]) as run:
    diary = Diary(run, Path(sys.argv[1]), {SEED}, sys.argv[2])
    for step in range({STEPS}):
        diary.step(step)
    assert run.wait_for_processing(timeout=90)
"""


def log(folder: Path, url: str, run_id: str) -> subprocess.Popen[bytes]:
    diaries = folder / run_id
    diaries.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(diaries), run_id],
        env=clean_environment(
            NAIAD_URL=url,
            NAIAD_LOG_DIRECTORY=str(folder / f"spool {run_id}"),
            PYTHONPATH=str(Path(__file__).resolve().parent.parent),
        ),
    )


def test_what_is_logged_is_stored_and_read_and_every_stage_drains(
    tmp_path: Path, kafka_url: str
) -> None:
    store = f"chdb://{tmp_path / 'store'}"
    with Stages(tmp_path, event_log=fresh(kafka_url), store=store) as stages:
        # Two doors to one log, each of which knows what is stored of the other's runs too.
        doors = [stages.make("ingest").spawn(), stages.make("ingest").spawn()]
        writer = stages.start("writer")
        for door in doors:
            door.until_ready()
        clients = [log(tmp_path, door.url, f"run-{n}") for n, door in enumerate(doors)]
        for client in clients:
            assert client.wait(110) == 0
        for stage in [*doors, writer]:
            assert stage.stop() == 0, stage.said
            assert "Traceback" not in stage.said

        # chDB belongs to one process at a time.
        query = stages.start("query")
        for n in range(len(doors)):
            truth = read_diaries(tmp_path / f"run-{n}", SEED)
            assert len(truth.must) > STEPS
            truth.check(read_back(query.url, PROJECT, f"run-{n}"))
        assert query.stop() == 0
