"""What users get wrong, from a call to what is read back: the bad item is named, the rest of
the batch is kept, the server stays up."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from support_naiad import LONGER, Naiad, clean_environment, running_naiad

from naiad.connection import open_channel
from naiad.query import runs
from naiad_proto.limits import MAX_MESSAGE_BYTES

PROJECT = "bad/input"

SCRIPT = """
import json, sys
import naiad

errors = []
with naiad.Run(
    project="bad/input", run_id="r", enable_console_log_capture=False,
    on_error_callback=lambda error, seen: errors.append(str(error)),
) as run:
    run.log_metrics({"loss": float("nan"), "up": float("inf"), "down": float("-inf")}, step=0)
    run.log_metrics({"loss": 0.5, "text": "no number", "": 1.0, "x" * 2000: 2.0}, step=1)
    run.log_metrics({"loss": 0.25}, step=-1)
    run.log_metrics({"loss": 0.25}, step=float("nan"))
    run.log_metrics({"loss": 0.25}, step=2e12)
    run.log_configs({"good": 1, "bad": object(), "long": "x" * (1024 * 1024 + 1)})
    run.log_configs({"loss": 7})
    run.log_string_series({"words": 5, "said": "yes"}, step=0)
    run.add_tags(["fine", ""])
    run.log_metrics({"loss": 0.125}, step=2)
    assert run.wait_for_processing(timeout=100)
print(json.dumps(errors))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    with running_naiad(tmp_path_factory.mktemp("bad") / "data") as naiad:
        yield naiad


def logging_run(server: Naiad, tmp_path: Path, script: str, **environment: str):
    return subprocess.run(
        [sys.executable, "-c", script],
        env=clean_environment(
            NAIAD_URL=server.url, NAIAD_LOG_DIRECTORY=str(tmp_path / "spool"), **environment
        ),
        capture_output=True, text=True, timeout=60 * LONGER, check=False,
    )  # fmt: skip


def test_bad_items_are_named_and_the_rest_is_kept(
    server: Naiad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = logging_run(server, tmp_path, SCRIPT)
    assert done.returncode == 0, done.stderr
    said = "\n".join(json.loads(done.stdout)) + done.stderr
    for item in (
        "'text'",
        "-1",
        "nan",
        "2000000000000",
        "'bad'",
        "'long'",
        "'words'",
        "empty",
        "xxx",
    ):
        assert item in said, f"{item} is not named in:\n{said}"

    monkeypatch.setenv("NAIAD_URL", server.url)
    points = runs.fetch_metrics(project=PROJECT, runs=["r"], attributes="^(loss|up|down)$")
    loss = runs.fetch_metrics(project=PROJECT, runs=["r"], attributes=["loss"]).loc["r"]["loss"]
    assert math.isnan(loss.loc[0.0])
    assert loss.loc[[1.0, 2.0]].tolist() == [0.5, 0.125]
    assert list(loss.index) == [0.0, 1.0, 2.0]
    assert points.loc[("r", 0.0)]["up"] == math.inf
    assert points.loc[("r", 0.0)]["down"] == -math.inf
    # A path with two types keeps both.
    both = runs.list_attributes(project=PROJECT, runs=["r"])
    assert {"good", "said", "loss"} <= set(both)
    table = runs.fetch_runs_table(
        project=PROJECT,
        runs=["r"],
        attributes=["loss", "good", "sys/tags"],
        type_suffix_in_column_names=True,
    ).loc["r"]
    assert table["loss:int"] == 7
    assert table["loss:float_series"] == 0.125
    assert table["good:int"] == 1
    assert set(table["sys/tags:string_set"]) == {"fine"}


def test_the_caller_may_ask_for_an_exception(server: Naiad, tmp_path: Path) -> None:
    script = """
import naiad
with naiad.Run(project="bad/input", run_id="raise", enable_console_log_capture=False) as run:
    try:
        run.log_metrics({"loss": "high"}, step=0)
    except Exception as error:
        print(type(error).__name__, error)
"""
    done = logging_run(server, tmp_path, script, NAIAD_LOG_FAILURE_ACTION="raise")
    assert done.returncode == 0, done.stderr
    assert "'loss'" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("project='one-word'", "'one-word'"),
        ("project='a/b', run_id='with/slash'", "with/slash"),
        ("project='a/b', run_id='x' * 731", "730"),
        ("project='a/b', experiment_name='x' * 731", "730"),
        ("project='a/b', mode='sometimes'", "'sometimes'"),
        ("project='a/b', fork_step=3", "fork_run_id"),
        ("project=7", "project"),
    ],
)
def test_the_constructor_raises_on_wrong_arguments(
    server: Naiad, tmp_path: Path, arguments: str, named: str
) -> None:
    done = logging_run(server, tmp_path, f"import naiad\nnaiad.Run({arguments})")
    assert done.returncode == 1
    assert named in done.stderr.splitlines()[-1]


def test_garbage_does_not_bring_the_server_down(server: Naiad) -> None:
    with open_channel(server.url) as channel:
        call = channel.unary_unary("/naiad.v1.IngestService/WriteBatch")
        for garbage, code in [
            (b"\xff" * 100, grpc.StatusCode.INVALID_ARGUMENT),
            (b"", grpc.StatusCode.INVALID_ARGUMENT),
        ]:
            with pytest.raises(grpc.RpcError) as refused:
                call(garbage, timeout=10 * LONGER)
            assert refused.value.code() is code
            assert refused.value.details()
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.url.removeprefix("grpc://"), options) as channel:
        call = channel.unary_unary("/naiad.v1.IngestService/WriteBatch")
        with pytest.raises(grpc.RpcError) as refused:
            call(b"\x00" * (MAX_MESSAGE_BYTES + 1), timeout=10 * LONGER)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.process.poll() is None
