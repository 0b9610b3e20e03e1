"""docs/wire.md: its example runs, and its numbers are the code's."""

from __future__ import annotations

import asyncio
import math
import os
import re
import sys
from pathlib import Path

import pytest
from support_batches import WRITER
from support_ingest import serving_ingest
from support_naiad import LONGER

from naiad_auth import TokenStore
from naiad_ingest import MAX_FILE_BYTES
from naiad_ingest.validation.batch import MAX_REJECTIONS
from naiad_ingest.validation.columns import MAX_BAD_ROWS
from naiad_ingest.validation.values import MAX_TIMESTAMP
from naiad_proto import limits
from naiad_proto.series import group_arrays
from naiad_proto.steps import MAX_MICRO_STEP
from naiad_proto.v1.records_pb2 import Batch
from naiad_proto.versions import MAX_EPOCH, MAX_RECORD, version, writer_hash

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "wire.md").read_text()


async def test_the_example_runs_and_what_it_logs_is_what_it_says(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    # It is short, and need not say how long a machine may stand still.
    patient = example.replace("timeout=10", f"timeout={20 * LONGER:g}")
    tokens = TokenStore(tmp_path / "tokens.json")
    async with serving_ingest(tmp_path, tokens) as ingest:
        environment = {
            **os.environ,
            "NAIAD_URL": f"grpc://127.0.0.1:{ingest.port}",
            "NAIAD_API_TOKEN": tokens.create(project="team/wire"),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", patient,
            env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 60 * LONGER)
        assert process.returncode == 0, err.decode()
        assert re.fullmatch(r"safe at offset \d+, 0 rejected\n", out.decode())
        (envelope,) = await ingest.logged()
    batch = Batch.FromString(envelope.batch)
    (group,) = batch.groups
    arrays = group_arrays(group)
    assert list(group.paths) == ["loss", "lr"]
    assert arrays.values[0, :2].tolist() == [0.9, 0.5]
    assert math.isnan(arrays.values[0, 2])
    assert arrays.values[1].tolist() == [0.1, 0.1, 0.01]
    assert arrays.records.tolist() == [3, 4, 5]


def test_the_version_given_as_an_example_is_right() -> None:
    assert f"Writer `{WRITER}` has the hash `{writer_hash(WRITER):#x}`" in PAGE
    (epoch,) = re.findall(r"epoch\s(\d+) has the version", PAGE)
    assert f"`{version(int(epoch), WRITER, 7):#x}`" in PAGE


@pytest.mark.parametrize(
    ("row", "number"),
    [
        ("a message", limits.MAX_MESSAGE_BYTES),
        ("project", limits.MAX_PROJECT_BYTES),
        ("run id, experiment name (`sys/name`)", limits.MAX_RUN_ID_BYTES),
        ("run id, experiment name (`sys/name`)", limits.MAX_EXPERIMENT_NAME_BYTES),
        ("attribute path", limits.MAX_PATH_BYTES),
        ("string value", limits.MAX_STRING_BYTES),
        ("tag", limits.MAX_TAG_BYTES),
        ("step", f"{MAX_MICRO_STEP // 10**6:,}.{MAX_MICRO_STEP % 10**6:06}"),
        ("timestamp", MAX_TIMESTAMP),
        ("histogram", limits.MAX_HISTOGRAM_BINS),
        ("record number", MAX_RECORD),
        ("epoch", MAX_EPOCH),
        ("file", MAX_FILE_BYTES),
    ],
)
def test_limits_are_those_of_the_code(row: str, number: int | str) -> None:
    (limit,) = re.findall(rf"^\| {re.escape(row)} \| (.*) \|$", PAGE.split("## Limits")[1], re.M)
    shown = number if isinstance(number, str) else f"{number:,}"
    assert re.search(rf"(?<![\d,.]){re.escape(shown)}(?![\d,.]\d)", limit)


def test_bounds_on_rejections_are_those_of_the_code() -> None:
    assert f"more than {MAX_BAD_ROWS} bad rows" in PAGE
    assert f"more than {MAX_REJECTIONS:,} things" in PAGE
