"""What Compose would start, started here: every stage with its own command and settings from
compose.yaml, on a real Kafka, an S3 and a store over HTTP and Valkey, behind the gateway's nginx.

Only addresses differ, and that processes share a machine instead of a network.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from support_clickhouse import clickhouse
from support_compose import FOLDER, image_environment, interpolated, made_env, naiad, raw
from support_kafka import fresh, kafka_url
from support_monitoring import METRIC, questions
from support_naiad import LONGER, clean_environment
from support_nginx import Gateway, running_gateway
from support_s3 import S3, running_s3
from support_serve import Stage, Stages
from support_valkey import running_valkey

from naiad.query import files, runs
from naiad_serve.stages import STAGES

__all__ = ["kafka_url"]
pytestmark = [pytest.mark.crowd, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(800)]

PROJECT = "team/whole"
WRITER = f"""
import sys
import naiad

with naiad.Run(project=sys.argv[1], run_id="one") as run:
    run.log_configs({{"lr": 0.25}})
    for step in range(2000):
        run.log_metrics({{"loss": 1 / (step + 1), "odd": step % 2}}, step=step)
    run.assign_files({{"model": sys.argv[2]}})
    assert run.wait_for_processing(timeout={120 * LONGER})
"""


class Whole:
    def __init__(self, stages: dict[str, Stage], gateway: Gateway, s3: S3, token: str) -> None:
        self.stages = stages
        self.gateway = gateway
        self.s3 = s3
        self.token = token


@pytest.fixture(scope="module")
def whole(kafka_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder = tmp_path_factory.mktemp("whole")
    services = interpolated(raw(), made_env(folder))["services"]
    with ExitStack() as ending:
        store = ending.enter_context(clickhouse(folder / "clickhouse"))
        valkey = ending.enter_context(running_valkey(folder))
        s3 = ending.enter_context(running_s3(folder))
        bucket = re.search(r"s3://([^/]+)/", services["ingest"]["environment"]["NAIAD_FILES"])
        assert bucket
        s3.client.create_bucket(
            Bucket="naiad", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        log = fresh(kafka_url)

        def here(name: str, value: str) -> str:
            """The same setting for processes of one machine."""
            if name == "NAIAD_EVENT_LOG":
                return log
            if name == "NAIAD_STORE":
                return f"{store.url}/{value.rpartition('/')[2]}"
            if name == "NAIAD_STATE":
                return valkey.url
            value = value.replace("http://minio:9000", s3.endpoint)
            return value.replace("/data/", f"{folder}/").replace("/etc/naiad", str(FOLDER))

        stages = ending.enter_context(Stages(folder / "stages"))
        made = {}
        for name in STAGES:
            given = services[name]["environment"]
            settings = {key: here(key, value) for key, value in given.items()}
            # Ports of their own, since they share an address here.
            settings.pop("NAIAD_LISTEN", None)
            made[name] = stages.make(name, **settings)
            assert services[name]["command"] == ["serve", name]
        tokens = naiad(
            [*services["token"]["entrypoint"][1:], "create", "--name", "test"],
            {"NAIAD_TOKENS": made["ingest"].settings["NAIAD_TOKENS"]},
        )
        ports = {
            name: stage.port for name, stage in made.items() if "NAIAD_LISTEN" in stage.settings
        }
        gateway = ending.enter_context(running_gateway(folder / "nginx", **ports))
        made["dashboard"].settings["NAIAD_SERVER"] = f"grpc://127.0.0.1:{gateway.internal_port}"
        # All at once and in any order, as after a power cut: they wait for each other.
        for stage in made.values():
            stage.spawn()
        for stage in made.values():
            stage.until_ready(180)
        yield Whole(made, gateway, s3, tokens.stdout.strip())
        assert {name: stage.stop(60) for name, stage in made.items()} == dict.fromkeys(made, 0)


def test_a_run_comes_through_all_of_it(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model.bin"
    model.write_bytes(bytes(range(256)) * 100_000)
    subprocess.run(
        [sys.executable, "-c", WRITER, PROJECT, str(model)],
        env=clean_environment(
            NAIAD_URL=whole.gateway.url,
            NAIAD_API_TOKEN=whole.token,
            NAIAD_LOG_DIRECTORY=str(tmp_path / "spool"),
        ),
        timeout=180 * LONGER, check=True,
    )  # fmt: skip
    monkeypatch.setenv("NAIAD_URL", whole.gateway.url)
    monkeypatch.setenv("NAIAD_API_TOKEN", whole.token)
    points = runs.fetch_metrics(project=PROJECT, runs=["one"], attributes=["loss", "odd"])
    assert points["loss"].tolist() == [1 / (step + 1) for step in range(2000)]
    assert points["odd"].tolist() == [step % 2 for step in range(2000)]
    table = runs.fetch_runs_table(project=PROJECT, runs=["one"], attributes=["model"])
    found = files.download_files(files=table, destination=tmp_path / "got")
    assert Path(found.iloc[0, 0]).read_bytes() == model.read_bytes()
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    assert f"files/{digest[:2]}/{digest[2:]}" in whole.s3.kept("naiad")


def test_the_dashboard_is_there(whole: Whole) -> None:
    page = httpx.get(f"http://127.0.0.1:{whole.gateway.dashboard_port}/", timeout=30 * LONGER)
    assert "<title>" in page.text


def test_each_metric_that_rules_and_dashboard_ask_for_is_told_by_some_stage(whole: Whole) -> None:
    told = "".join(stage.get("/metrics")[1] for stage in whole.stages.values())
    for question in questions():
        for name in METRIC.findall(question):
            # The embedded log's is of `naiad up` alone.
            known = re.search(rf"^(# TYPE )?{re.sub('_(bucket|total)$', '', name)}", told, re.M)
            assert known or name == "naiad_log_bytes", name


def test_commands_work_with_a_stage_s_settings(whole: Whole, tmp_path: Path) -> None:
    """As `docker compose run writer ...` and the chart's job have them."""
    settings = {**image_environment(), **whole.stages["writer"].settings}
    for command, said in (
        (["store", "migrate"], "The store's tables are as this release needs them."),
        (["dead", "list"], "No records wait"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "naiad", *command],
            env=clean_environment(**settings), cwd=tmp_path,
            capture_output=True, text=True, timeout=100 * LONGER, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
