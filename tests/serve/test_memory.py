"""Processes of a cluster hold little: no engine that they don't use, nothing that they freed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support_naiad import LONGER

FREED = """
import psutil
from naiad_serve.memory import give_back_freed

give_back_freed()
# What is freed once teaches glibc to keep blocks of that size.
bytes(8 << 20)
before = psutil.Process().memory_info().rss
large, small = [], []
for _ in range(40):
    large.append(b"x" * (3 << 20))
    small.append(b"y" * 5000)
at_most = psutil.Process().memory_info().rss
large.clear()
print(before, at_most, psutil.Process().memory_info().rss)
"""


def run(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=60 * LONGER, check=True,
    ).stdout  # fmt: skip


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's alone")
def test_what_is_freed_is_given_back_though_something_lies_between() -> None:
    before, at_most, after = (int(size) / 2**20 for size in run(FREED).split())
    assert at_most - before > 90
    assert after - before < 20


@pytest.mark.parametrize("stage", ["ingesting", "consuming", "querying"])
def test_no_stage_loads_the_embedded_store_before_it_is_asked_for(stage: str) -> None:
    """It takes 200 MB."""
    loaded = run(f"import sys, naiad_serve.{stage}; print('chdb' in sys.modules)")
    assert loaded.strip() == "False"
