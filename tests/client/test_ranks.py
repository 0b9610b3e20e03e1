"""Distributed training: which process this is, who logs, and many processes in one run."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from support_naiad import LONGER, clean_environment, wait_until
from support_runs import PATIENT
from support_server import Server

import naiad
from naiad._ranks import Ranks, ranks_of
from naiad.exceptions import NaiadTypeError, NaiadValueError
from naiad.settings import default_namespace
from naiad.spool.folder import host_folder, spools
from naiad_proto.series import group_arrays
from naiad_proto.v1 import records_pb2 as pb

pytestmark = pytest.mark.usefixtures("processes_end")

TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_LOCAL_RANK": "0", "OMPI_COMM_WORLD_SIZE": "8",
}  # fmt: skip
SLURM = {"SLURM_PROCID": "2", "SLURM_LOCALID": "2", "SLURM_NTASKS": "16"}


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, Ranks()),
        (TORCHRUN, Ranks(3, 1, 4)),
        (OPEN_MPI, Ranks(5, 0, 8)),
        (SLURM, Ranks(2, 2, 16)),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "4"}, Ranks(2, 2, 4)),
        (SLURM | TORCHRUN, Ranks(3, 1, 4)),
        (SLURM | OPEN_MPI, Ranks(5, 0, 8)),
        ({"PMI_RANK": "1", "MPI_LOCALRANKID": "1", "PMI_SIZE": "2"}, Ranks(1, 1, 2)),
        ({"RANK": "3"}, Ranks()),
        ({"RANK": "high", "WORLD_SIZE": "4"}, Ranks()),
        ({"RANK": "4", "WORLD_SIZE": "4"}, Ranks()),
    ],
)
def test_launchers_are_read(environment: dict[str, str], found: Ranks) -> None:
    assert ranks_of(None, None, None, environment) == found


def test_what_is_given_counts() -> None:
    assert ranks_of(1, None, 2, TORCHRUN) == Ranks(1, None, 2)
    assert ranks_of(None, None, 8, TORCHRUN) == Ranks(3, 1, 8)


def test_ray_is_asked_where_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    train = types.ModuleType("ray.train")
    context = types.SimpleNamespace(
        get_world_rank=lambda: 1, get_local_rank=lambda: 0, get_world_size=lambda: 2
    )
    train.get_context = lambda: context  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray.train", train)
    assert ranks_of(None, None, None, {}) == Ranks(1, 0, 2)
    del train.get_context
    assert ranks_of(None, None, None, {}) == Ranks()


@pytest.mark.parametrize(
    ("arguments", "kind", "named"),
    [
        ({"rank": -1}, NaiadValueError, "rank is -1"),
        ({"rank": 2, "world_size": 2}, NaiadValueError, "not below world_size"),
        ({"world_size": 0}, NaiadValueError, "world_size is 0"),
        ({"local_rank": "0"}, NaiadTypeError, "local_rank"),
        ({"rank": True}, NaiadTypeError, "rank"),
    ],
)
def test_wrong_ranks_raise(arguments: dict[str, Any], kind: type[Exception], named: str) -> None:
    with pytest.raises(kind, match=named):
        naiad.Run(project="team/p", **arguments)


# --- processes ---------------------------------------------------------------------------------

RANK = (
    PATIENT
    + """
import os, sys, threading
run = naiad.Run(project="team/p", run_id="r", hardware_interval=1, rank_zero_only=ONLY)
me = int(os.environ["RANK"])
print(f"rank {me} says hello")
def log(thread):
    for step in range(200):
        run.log_metrics({f"m{me}/{thread}": step}, step=step)
threads = [threading.Thread(target=log, args=(i,)) for i in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
run.log_configs({f"c{me}": me})
run.add_tags([f"t{me}"])
print("ready", file=sys.__stderr__, flush=True)
sys.stdin.readline()
run.close()
"""
)


def points(server: Server) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for batch in server.batches():
        for group in batch.groups:
            steps = group_arrays(group).steps.tolist()
            for path in group.paths:
                found.setdefault(path, set()).update(steps)
    return found


def items(server: Server, kind: str) -> list[tuple[str, Any]]:
    return [
        (batch.writer_id, getattr(item, kind))
        for batch in server.batches()
        for item in batch.items
        if item.WhichOneof("kind") == kind
    ]


@pytest.mark.parametrize("only", [False, True])
def test_four_ranks_log_to_one_run(server: Server, tmp_path: Path, only: bool) -> None:
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK.replace("ONLY", str(only))],
            env=clean_environment(
                NAIAD_URL=server.url, NAIAD_LOG_DIRECTORY=str(tmp_path / "root"),
                RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="4", NAIAD_QUIET="1",
            ),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(4)
    ]  # fmt: skip
    try:
        for rank in ranks:
            assert rank.stderr
            assert rank.stderr.readline() == "ready\n"
        here = default_namespace()
        # Of all four processes, whoever logs.
        wait_until(
            lambda: all(
                f"{here}/process/{rank.pid}/rss_bytes" in points(server) for rank in ranks
            ),
            30, "each process's tree is sampled",
        )  # fmt: skip
    finally:
        outputs = [rank.communicate("\n", timeout=60 * LONGER) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * 4, outputs
    wait_until(lambda: spools(host_folder(tmp_path / "root")) == [], 20, "all is sent")

    found = points(server)
    logging = [0] if only else [0, 1, 2, 3]
    mine = {path: steps for path, steps in found.items() if path.startswith("m")}
    assert set(mine) == {f"m{rank}/{thread}" for rank in logging for thread in range(4)}
    assert all(len(steps) == 200 for steps in mine.values())
    values = {change.path: change.value for _, change in items(server, "set_attribute")}
    assert {path for path in values if path[0] == "c"} == {f"c{rank}" for rank in logging}
    tags = {tag for _, change in items(server, "update_string_set") for tag in change.add}
    assert tags == {f"t{rank}" for rank in logging}

    for number, rank in enumerate(ranks):
        place = f"{here}/process/{rank.pid}"
        assert values[f"{place}/rank"].int_value == number
        assert values[f"{place}/local_rank"].int_value == number
        assert values[f"{place}/world_size"].int_value == 4
    said = {
        series.path: list(series.values)
        for batch in server.batches()
        for series in batch.string_series
    }
    assert said == {
        f"{here}/stdout{'' if rank == 0 else f'_rank{rank}'}": [f"rank {rank} says hello"]
        for rank in range(4)
    }
    # One sampler beside four processes, and each says how it ended.
    ends = [
        writer
        for writer, status in items(server, "writer_status")
        if status.state == pb.WRITER_STATE_FINISHED
    ]
    assert len(ends) == len(set(ends)) == 5
    assert values["source_code/python/version"].string_value


HOST = """
import os
from naiad import _platform
name = f"node{os.environ['RANK']}"
_platform.node_name = lambda: name
"""


def test_two_hosts_record_each_its_own(server: Server, tmp_path: Path) -> None:
    """As two machines with one file system: each has its own folder of spools and its shipper."""
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", HOST + RANK.replace("ONLY", "True")],
            env=clean_environment(
                NAIAD_URL=server.url, NAIAD_LOG_DIRECTORY=str(tmp_path / "root"),
                RANK=str(rank), LOCAL_RANK="0", WORLD_SIZE="2", NAIAD_QUIET="1",
            ),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    wait_until(
        lambda: {f"runtime/node{n}/memory/percent" for n in range(2)} <= points(server).keys(),
        60, "both hosts are sampled",
    )  # fmt: skip
    outputs = [host.communicate("\n", timeout=60 * LONGER) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], outputs
    wait_until(
        lambda: all(spools(tmp_path / "root" / f"node{rank}") == [] for rank in range(2)),
        30, "all is sent",
    )  # fmt: skip
    said = {
        series.path: list(series.values)
        for batch in server.batches()
        for series in batch.string_series
    }
    assert said == {f"runtime/node{rank}/stdout": [f"rank {rank} says hello"] for rank in range(2)}
    values = {change.path: change.value for _, change in items(server, "set_attribute")}
    # Rank 0 tells of the code; the other host of itself.
    assert values["source_code/host/name"].string_value == "node0"
    other = "runtime/node1/source_code"
    assert values[f"{other}/host/name"].string_value == "node1"
    assert f"{other}/command" not in values
    assert {path for path in points(server) if path.startswith("m")} == {
        f"m0/{thread}" for thread in range(4)
    }


# --- children ----------------------------------------------------------------------------------

CHILDREN = """
import multiprocessing, os, pickle, sys, copy
import naiad

def work(run, which):
    for step in range(100):
        run.log_metrics({f"child{which}": step}, step=step)
    run.log_configs({f"pid{which}": os.getpid()})
    if which == 2:
        os._exit(0)
    if which == 3:
        run.close()

if __name__ == "__main__":
    run = naiad.Run(project="team/p", run_id="r", hardware_interval=None,
                    source_tracking_config=None, enable_console_log_capture=False,
                    api_token="very-secret")
    assert b"very-secret" not in pickle.dumps(run)
    assert copy.deepcopy(run) is run
    run.log_metrics({"parent": 0}, step=0)
    context = multiprocessing.get_context(sys.argv[1])
    children = [context.Process(target=work, args=(run, which)) for which in range(4)]
    for child in children:
        child.start()
    for step in range(1, 100):
        run.log_metrics({"parent": step}, step=step)
    for child in children:
        child.join()
    codes = [child.exitcode for child in children]
    assert codes == [0] * 4, codes
    run.close()
    assert copy.deepcopy(run).log_metrics({"late": 1}, step=0) is None
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("shipper", ["process", "thread"])
def test_children_log_as_writers_of_their_own(
    server: Server, tmp_path: Path, method: str, shipper: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(CHILDREN)
    environment = clean_environment(
        NAIAD_URL=server.url, NAIAD_LOG_DIRECTORY=str(tmp_path / "root"), NAIAD_QUIET="1",
        NAIAD_SHIPPER=shipper,
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(script), method],
        env=environment, capture_output=True, text=True, timeout=90 * LONGER,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if shipper == "thread":
        # A child that os._exit ended had nobody to send the rest.
        sync = [sys.executable, "-m", "naiad", "sync", str(tmp_path / "root")]
        subprocess.run(sync, check=True, capture_output=True, env=environment)
    wait_until(lambda: spools(host_folder(tmp_path / "root")) == [], 20, "all is sent")
    assert {path: len(steps) for path, steps in points(server).items()} == {
        "parent": 100, **{f"child{which}": 100 for which in range(4)},
    }  # fmt: skip
    writers: dict[str, list[int]] = {}
    for writer, status in items(server, "writer_status"):
        writers.setdefault(writer, []).append(status.state)
    assert len(writers) == 5
    for states in writers.values():
        assert states[0] == pb.WRITER_STATE_RUNNING
        # Once more each where a shipper ended before it heard the answer.
        assert set(states) == {pb.WRITER_STATE_RUNNING, pb.WRITER_STATE_FINISHED}
    # The same once more where a shipper ended before it heard the answer.
    births = {birth.SerializeToString() for _, birth in items(server, "create_run")}
    assert len(births) == 1


FORKED = """
import os, sys, time
import naiad

what = sys.argv[1:]
if "no processes" in what:
    sys.executable = "/nowhere/python"
run = naiad.Run(project="team/p", run_id="r", hardware_interval=None,
                source_tracking_config=None, enable_console_log_capture=False)
run.log_metrics({"parent": 0}, step=0)
run.wait_for_submission()
parent = os.getpid()
if child := os.fork():
    if "outlives" in what:
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    run.close()
    sys.exit(os.waitstatus_to_exitcode(status))
print(len(os.listdir("/proc/self/task")), "thread", flush=True)
while "outlives" in what and os.getppid() == parent:
    time.sleep(0.01)
run.log_metrics({"child": 0}, step=0)
run.close(timeout=3 if "no processes" in what else None)
print("closed", flush=True)
"""


def _forked(server: Server, folder: Path, *what: str, **environment: str) -> list[str]:
    """What the two complained of. Its output ends when both have let go of it, so also a child
    that outlives its parent is waited for."""
    done = subprocess.run(
        [sys.executable, "-c", FORKED, *what], capture_output=True, text=True, timeout=90 * LONGER,
        env=_alone(server, folder) | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1 thread\nclosed\n"
    # A slow machine is no complaint.
    return [line for line in done.stderr.splitlines() if "waiting for" not in line]


def _alone(server: Server, folder: Path) -> dict[str, str]:
    return clean_environment(
        NAIAD_URL=server.url, NAIAD_LOG_DIRECTORY=str(folder / "root"), NAIAD_QUIET="1"
    )


def _both_are_there(server: Server, folder: Path) -> None:
    wait_until(lambda: spools(host_folder(folder / "root")) == [], 20, "all is sent")
    assert {path: len(steps) for path, steps in points(server).items()} == {"parent": 1, "child": 1}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
class TestForkedFromAThreadedShipper:
    def test_grpc_keeps_out_of_the_child(self, server: Server, tmp_path: Path) -> None:
        """By itself it starts its threads there again, which now and then ended the child."""
        assert _forked(server, tmp_path, NAIAD_SHIPPER="thread") == []
        _both_are_there(server, tmp_path)

    def test_a_child_that_outlives_its_parent_sends(self, server: Server, tmp_path: Path) -> None:
        assert _forked(server, tmp_path, "outlives", NAIAD_SHIPPER="thread") == []
        _both_are_there(server, tmp_path)

    def test_where_no_process_can_be_started_the_childs_data_waits(
        self, server: Server, tmp_path: Path
    ) -> None:
        said = _forked(server, tmp_path, "outlives", "no processes")
        first, second = [line for line in said if "can't run" in line]
        assert "/nowhere/python" in first
        assert first.endswith("it runs as a thread")
        assert f"waits in {host_folder(tmp_path / 'root')} for the next run" in second
        assert "`naiad sync`" in second
        assert list(points(server)) == ["parent"]
        sync = [sys.executable, "-m", "naiad", "sync", str(tmp_path / "root")]
        subprocess.run(sync, check=True, capture_output=True, env=_alone(server, tmp_path))
        _both_are_there(server, tmp_path)
