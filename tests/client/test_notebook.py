"""In a notebook's kernel: cells that run again, and kernels that end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager
from support_naiad import LONGER, clean_environment, wait_until
from support_runs import PATIENT
from support_server import Server

from naiad.spool.folder import host_folder, spools
from naiad_proto.series import group_arrays, string_arrays
from naiad_proto.v1 import records_pb2 as pb

pytestmark = pytest.mark.usefixtures("processes_end")

CELL = (
    PATIENT
    + """
run = naiad.Run(project="team/p", run_id="r", hardware_interval=None, runtime_namespace="rt",
                source_tracking_config=None, console={console!r})
print("cell {number}")
for step in range(100):
    run.log_metrics({{"a": step}}, step={number} * 100 + step)
"""
)


class Kernel:
    def __init__(self, server: Server, folder: Path) -> None:
        self.root = folder / "root"
        # By itself it sends a SIGTERM after half of five seconds.
        self.manager = KernelManager(shutdown_wait_time=60 * LONGER)
        self.manager.start_kernel(
            env=clean_environment(
                NAIAD_URL=server.url, NAIAD_LOG_DIRECTORY=str(self.root), NAIAD_QUIET="1",
                IPYTHONDIR=str(folder / "ipython"), JUPYTER_RUNTIME_DIR=str(folder),
            ),
            cwd=folder,
        )  # fmt: skip
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60 * LONGER)

    def run(self, code: str) -> str:
        """What the cell printed; fails if it raised."""
        printed = ""

        def hear(message: dict) -> None:
            nonlocal printed
            content = message["content"]
            assert message["msg_type"] != "error", "\n".join(content["traceback"])
            if message["msg_type"] == "stream":
                printed += content["text"]

        reply = self.client.execute_interactive(code, timeout=60 * LONGER, output_hook=hear)
        assert reply["content"]["status"] == "ok"
        return printed

    def close(self) -> None:
        self.client.stop_channels()
        if self.manager.is_alive():
            self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def kernel(server: Server, tmp_path: Path) -> Iterator[Kernel]:
    kernel = Kernel(server, tmp_path)
    yield kernel
    kernel.close()


def lines(server: Server) -> list[str]:
    """Of stdout, in the order of their numbers."""
    found = []
    for batch in server.batches():
        for series in batch.string_series:
            if series.path == "rt/stdout":
                found += zip(string_arrays(series).steps.tolist(), series.values, strict=True)
    return [text for _, text in sorted(found)]


def count(server: Server) -> int:
    steps = set()
    for batch in server.batches():
        for group in batch.groups:
            steps |= set(group_arrays(group).steps.tolist())
    return len(steps)


def ends(server: Server) -> list[int]:
    return [
        item.writer_status.state
        for batch in server.batches()
        for item in batch.items
        if item.HasField("writer_status") and item.writer_status.state != pb.WRITER_STATE_RUNNING
    ]


@pytest.mark.parametrize("console", ["python", "fd"])
def test_a_cell_that_runs_again_records_each_line_once(
    server: Server, kernel: Kernel, console: str
) -> None:
    for number in range(3):
        printed = kernel.run(CELL.format(number=number, console=console))
        assert f"cell {number}\n" in printed
    assert kernel.run("print('more')") == "more\n"
    assert kernel.run(f"assert run.wait_for_submission({20 * LONGER}, verbose=False)") == ""
    wait_until(lambda: count(server) == 300, 20, "all points")
    kernel.run("run.close()")
    assert lines(server) == ["cell 0", "cell 1", "cell 2", "more"]
    paths = {series.path for batch in server.batches() for series in batch.string_series}
    assert paths <= {"rt/stdout", "rt/stderr"}


def test_a_kernel_that_restarts_ends_its_run_and_loses_nothing(
    server: Server, kernel: Kernel
) -> None:
    kernel.run(CELL.format(number=0, console="python"))
    kernel.manager.restart_kernel(now=False)
    kernel.client.wait_for_ready(timeout=60 * LONGER)
    wait_until(lambda: ends(server), 20, "the end arrived")
    # Not stopped by the manager, which would have lost its patience.
    assert ends(server) == [pb.WRITER_STATE_FINISHED]
    wait_until(lambda: count(server) == 100, 20, "all points")
    assert kernel.run(CELL.format(number=1, console="python")) == "cell 1\n"
    kernel.run("run.close()")
    assert count(server) == 200
    assert [line for line in lines(server) if line.startswith("cell")] == ["cell 0", "cell 1"]


def test_a_kernel_that_is_killed_loses_nothing(server: Server, kernel: Kernel) -> None:
    kernel.run(CELL.format(number=0, console="python"))
    server.stop()
    kernel.run("for step in range(100): run.log_metrics({'a': step}, step=1000 + step)")
    kernel.manager.restart_kernel(now=True)
    server.start()
    wait_until(lambda: spools(host_folder(kernel.root)) == [], 60, "everything is sent")
    assert count(server) == 200
    assert ends(server) == [pb.WRITER_STATE_KILLED]
