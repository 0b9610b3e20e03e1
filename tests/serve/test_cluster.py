"""All stages as processes on Kafka, a store over HTTP and Valkey, some of them several times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support_clickhouse import clickhouse
from support_kafka import fresh, kafka_url
from support_naiad import LONGER, clean_environment, wait_until
from support_serve import Stage, Stages
from support_truth import read_back, read_diaries
from support_valkey import running_valkey

from naiad_eventlog.topics import RECORDS

__all__ = ["kafka_url"]
# Processes start slowly where many tests run at once.
pytestmark = [pytest.mark.crowd, pytest.mark.slow, pytest.mark.timeout(600)]

PROJECT, SEED, STEPS, RUNS = "serve/cluster", 31, 100, 4

# Logs, and ends when the server says that all of it is stored.
CLIENT = f"""
import sys
from pathlib import Path
from support_diary import Diary, plain_run

with plain_run({PROJECT!r}, sys.argv[2]) as run:
    diary = Diary(run, Path(sys.argv[1]), {SEED}, sys.argv[2])
    for step in range({STEPS}):
        diary.step(step)
    assert run.wait_for_processing(timeout={100 * LONGER})
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


@pytest.mark.long
def test_many_processes_lose_and_double_nothing(tmp_path: Path, kafka_url: str) -> None:
    with (
        clickhouse(tmp_path / "clickhouse") as server,
        running_valkey(tmp_path) as valkey,
        Stages(
            tmp_path / "stages", event_log=fresh(kafka_url), store=server.url, state=valkey.url
        ) as stages,
    ):
        # All at once, on a store without tables: one writer makes them, the others wait.
        writers = [stages.make("writer").spawn() for _ in range(2)]
        doors = [stages.make("ingest").spawn() for _ in range(2)]
        others = {name: stages.make(name).spawn() for name in ("live", "alerter", "query")}
        for stage in stages.all:
            stage.until_ready()

        runs = [f"run-{n}" for n in range(RUNS)]
        clients = [log(tmp_path, door.url, run) for run, door in zip(runs, doors * 2, strict=True)]
        for client in clients:
            assert client.wait(110 * LONGER) == 0
        for run in runs:
            truth = read_diaries(tmp_path / run, SEED)
            assert len(truth.must) > STEPS
            truth.check(read_back(others["query"].url, PROJECT, run))

        audited = subprocess.run(
            [sys.executable, "-m", "naiad", "audit", PROJECT, "--url", others["query"].url],
            env=clean_environment(), capture_output=True, text=True, timeout=100 * LONGER,
            check=False,
        )  # fmt: skip
        assert audited.returncode == 0, audited.stdout + audited.stderr

        # What they tell of themselves fits together: nothing waits, and all was read.
        lag = "naiad_consumer_lag_records"
        for stage in [*doors, *writers, others["live"], others["alerter"]]:
            wait_until(lambda s=stage: s.metric(lag) == 0, 30, f"{stage.name} is through")  # type: ignore[misc]
        batches = sum(door.metric("naiad_ingest_batches_total") for door in doors)
        for group, readers in (
            ("naiad.writer", writers),
            ("naiad.live", [others["live"]]),
            ("naiad.alerter", [others["alerter"]]),
        ):

            def read(group: str = group, readers: list[Stage] = readers) -> float:
                return sum(r.metric("naiad_consumer_records_total", group=group) for r in readers)

            # A lag of 0 may be one of before.
            assert batches > 0
            wait_until(lambda read=read: read() >= batches, 30, f"{group} has read all")  # type: ignore[misc]
        points = sum(door.metric("naiad_ingest_points_total") for door in doors)
        assert points > 0
        stored = "naiad_writer_points_total"
        wait_until(lambda: sum(w.metric(stored) for w in writers) >= points, 30, "all is counted")
        wait_until(
            lambda: [name for name, _ in doors[0].metrics()].count(lag) == RECORDS.partitions,
            30, "a lag of each partition",
        )  # fmt: skip

        for stage in stages.all:
            assert stage.stop() == 0, stage.said
            assert "Traceback" not in stage.said, stage.said
