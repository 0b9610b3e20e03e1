"""Samples of the machine: every name of docs/hardware.md and no other, whatever is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support_naiad import LONGER, wait_until
from support_spools import spool_header

from naiad import _hardware
from naiad._cgroup import ControlGroup
from naiad._hardware import HardwareSampler
from naiad.shipper.hardware import HardwareShip
from naiad.spool.folder import host_folder, spools
from naiad.spool.layout import Header
from naiad.spool.reader import MetricRows, SpoolReader

PAGE = Path(__file__).parents[2] / "docs" / "hardware.md"


# --- a driver ----------------------------------------------------------------------------------


class NVMLError(Exception):
    pass


class NVMLError_NotSupported(NVMLError):
    pass


class NVMLError_GpuIsLost(NVMLError):
    pass


class FakeNvml(types.ModuleType):
    """As NVIDIA documents the calls. Card 1 can't tell its power and has no ECC; card 2 fell
    off the bus."""

    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2
    NVML_MEMORY_ERROR_TYPE_CORRECTED = 0
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.ready = False
        self.lost: set[int] = set()

    def nvmlInit(self) -> None:
        self.ready = True

    def nvmlDeviceGetCount(self) -> int:
        assert self.ready
        return 3

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return b"580.1"

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index == 2:
            raise NVMLError_GpuIsLost
        return 1000 + index

    def _card(self, handle: int) -> int:
        if handle - 1000 in self.lost:
            raise NVMLError_GpuIsLost
        return handle - 1000

    def nvmlDeviceGetName(self, handle: int) -> str:
        return f"Card {self._card(handle)}"

    def nvmlDeviceGetUUID(self, handle: int) -> bytes:
        return f"GPU-{self._card(handle)}".encode()

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        self._card(handle)
        return types.SimpleNamespace(total=80 * 2**30, used=2**30, free=79 * 2**30)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return types.SimpleNamespace(gpu=90 + self._card(handle), memory=40)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        if self._card(handle) == 1:
            raise NVMLError_NotSupported
        return 350_500

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 60 + self._card(handle)

    def nvmlDeviceGetClockInfo(self, handle: int, clock: int) -> int:
        self._card(handle)
        return {1: 1980, 2: 2619}[clock]

    def nvmlDeviceGetTotalEccErrors(self, handle: int, kind: int, counter: int) -> int:
        if self._card(handle) == 1:
            raise NVMLError_NotSupported
        return {0: 3, 1: 0}[kind]

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:
        self._card(handle)
        return [types.SimpleNamespace(pid=1, usedGpuMemory=None)] * 2


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def test_gpus_tell_what_they_can(nvml: FakeNvml) -> None:
    sampler = HardwareSampler()
    facts = sampler.static()
    assert facts["gpu/count"] == 2
    assert facts["gpu/driver_version"] == "580.1"
    assert facts["gpu/1/uuid"] == "GPU-1"
    assert facts["gpu/0/memory_total_bytes"] == 80 * 2**30
    values = sampler.sample()
    assert {name: value for name, value in values.items() if name.startswith("gpu/0/")} == {
        "gpu/0/utilization_percent": 90, "gpu/0/memory_utilization_percent": 40,
        "gpu/0/memory_used_bytes": 2**30, "gpu/0/power_watts": 350.5,
        "gpu/0/temperature_celsius": 60, "gpu/0/sm_clock_mhz": 1980,
        "gpu/0/memory_clock_mhz": 2619, "gpu/0/ecc_corrected_errors": 3,
        "gpu/0/ecc_uncorrected_errors": 0, "gpu/0/processes": 2,
    }  # fmt: skip
    assert values["gpu/1/utilization_percent"] == 91
    assert "gpu/1/power_watts" not in values
    assert "gpu/1/ecc_corrected_errors" not in values
    nvml.lost = {0}
    values = sampler.sample()
    assert not any(name.startswith("gpu/0/") for name in values)
    assert "gpu/1/temperature_celsius" in values


def test_no_driver_is_silent(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> None:
        raise NVMLError("Driver Not Loaded")

    monkeypatch.setattr(nvml, "nvmlInit", no_driver)
    sampler = HardwareSampler()
    assert not any(name.startswith("gpu") for name in {**sampler.static(), **sampler.sample()})
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert HardwareSampler().sample()


# --- control groups ----------------------------------------------------------------------------


def write(root: Path, files: dict[str, str]) -> ControlGroup:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return ControlGroup(root)


VERSION_2 = {
    "proc/self/cgroup": "0::/job/step\n",
    "sys/fs/cgroup/job/memory.max": "8589934592\n",
    "sys/fs/cgroup/job/cpu.max": "200000 100000\n",
    "sys/fs/cgroup/job/step/memory.max": "max\n",
    "sys/fs/cgroup/job/step/cpu.max": "max 100000\n",
    "sys/fs/cgroup/job/step/memory.current": "5000\n",
    "sys/fs/cgroup/job/step/memory.stat": "anon 3000\ninactive_file 1000\n",
    "sys/fs/cgroup/job/step/cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
}


@pytest.mark.parametrize(
    ("files", "limits", "used", "seconds"),
    [
        (VERSION_2, {"cgroup/memory_limit_bytes": 2**33, "cgroup/cpu_limit_cores": 2}, 4000, 2.5),
        # In a container the mount is the group itself.
        (
            {
                "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000\n",
                "sys/fs/cgroup/cpu.max": "max 100000\n",
                "sys/fs/cgroup/memory.current": "500\n",
            },
            {"cgroup/memory_limit_bytes": 1000}, 500, None,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/docker/ab\n4:memory:/docker/ab\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "4096\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "2048\n",
                "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 48\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpuacct/cpuacct.usage": "1500000000\n",
            },
            {"cgroup/memory_limit_bytes": 4096, "cgroup/cpu_limit_cores": 0.5}, 2000, 1.5,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/\n5:cpu:/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            {}, None, None,
        ),
        ({}, {}, None, None),
    ],
)  # fmt: skip
def test_limits_of_control_groups(
    tmp_path: Path,
    files: dict[str, str],
    limits: dict[str, float],
    used: float | None,
    seconds: float | None,
) -> None:
    group = write(tmp_path, files)
    assert group.limits() == limits
    assert group.memory_used() == used
    assert group.cpu_seconds() == seconds


# --- processes ---------------------------------------------------------------------------------

BUSY = """
import subprocess, sys, threading
child = subprocess.Popen([sys.executable, "-c", "print('up', flush=True)\\nwhile True: pass"])
threading.Thread(target=lambda: threading.Event().wait(), daemon=True).start()
held = [open(sys.executable, "rb") for _ in range(20)]
memory = bytearray(50_000_000)
memory[::4096] = b"x" * len(memory[::4096])
print("ready", flush=True)
sys.stdin.readline()
child.kill()
child.wait()
"""


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[str]]:
    """A tree of two processes, of which the child computes."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert {process.stdout.readline(), process.stdout.readline()} == {"up\n", "ready\n"}
    yield process
    process.communicate("\n", timeout=30 * LONGER)


def sampled(sampler: HardwareSampler, pids: list[int], seconds: float) -> Any:
    """A sample whose rates are over about `seconds`."""
    sampler.sample(pids)
    begin = time.monotonic()
    wait_until(lambda: time.monotonic() - begin > seconds, 30, "time has passed")
    return sampler.sample(pids)


def test_a_process_tree_is_measured(busy: subprocess.Popen[str]) -> None:
    sampler, other = HardwareSampler(), HardwareSampler()
    (child,) = psutil.Process(busy.pid).children()

    def now() -> tuple[float, float]:
        """The time, and what both processes have computed by then."""
        times = [process.cpu_times() for process in (psutil.Process(busy.pid), child)]
        return time.monotonic(), sum(one.user + one.system for one in times)

    # Also measured around the samples and between them: any process here may stand still at any
    # moment.
    before = now()
    first = sampler.sample([busy.pid])
    after = now()
    assert f"process/{busy.pid}/cpu_percent" not in first
    # A second run's sampler on the same host takes nothing away from the first one's.
    other.sample([os.getpid()])

    def gone_by() -> tuple[float, float]:
        at, spent = now()
        return at - after[0], spent - after[1]

    wait_until(lambda: min(gone_by()) > 0.6, 60, "it computes")
    within, between = gone_by()
    values = sampler.sample([busy.pid, 2**22 + 1])
    whole, around = (late - early for early, late in zip(before, now(), strict=True))
    tree = {
        name.rpartition("/")[2]: value
        for name, value in values.items()
        if name.startswith(f"process/{busy.pid}/")
    }
    assert tree["processes"] == 2
    assert tree["threads"] >= 3
    assert tree["open_files"] > 20
    assert tree["rss_bytes"] > 60_000_000
    assert 0.9 * between / whole < tree["cpu_percent"] / 100 < 1.1 * around / within
    assert not any(str(2**22 + 1) in name for name in values)
    assert 0 < values["cpu/percent"] <= 100
    without = sampler.sample([busy.pid], without={child.pid})
    assert without[f"process/{busy.pid}/processes"] == 1


def test_rates_are_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = HardwareSampler()
    # Too soon to say anything.
    with monkeypatch.context() as patched:
        patched.setattr(_hardware, "_SHORTEST", 3600.0)
        assert "cpu/percent" not in sampler.sample()
    values = sampled(sampler, [], 0.6)
    assert values["disk/written_bytes_per_second"] >= 0
    assert values["network/received_bytes_per_second"] >= 0


@pytest.mark.parametrize(
    "broken",
    ["cpu_times", "virtual_memory", "swap_memory", "disk_usage", "disk_io_counters",
     "net_io_counters", "getloadavg", "Process"],
)  # fmt: skip
def test_nothing_that_fails_spoils_the_rest(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError(broken)

    monkeypatch.setattr(psutil, broken, fails)
    sampler = HardwareSampler()
    values = sampled(sampler, [os.getpid()], 0.6)
    assert len({name.partition("/")[0] for name in values}) >= 3
    sampler.static()


# --- the shipper's part ------------------------------------------------------------------------


def header(**more: Any) -> Header:
    return spool_header(**({"hardware": "rt", "hardware_interval": 3600.0} | more))


def test_a_sampler_that_fails_does_not_end_the_shipper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    host = host_folder(tmp_path)

    def fails(self: HardwareSampler, *_: Any) -> Any:
        raise RuntimeError("no sampling today")

    monkeypatch.setattr(HardwareSampler, "sample", fails)
    ship = HardwareShip(host)
    for _ in range(3):
        ship.tick([(tmp_path, header())])
        (sampled,) = ship._runs.values()
        sampled.next_at = 0.0
    ship.close()
    # Said once.
    (record,) = caplog.records
    assert "no sampling today" in record.getMessage()
    assert len(spools(host)) == 1


def test_one_sampler_for_all_processes_of_a_run(tmp_path: Path) -> None:
    host = host_folder(tmp_path)
    ship = HardwareShip(host)
    began = int(time.time())
    live = [
        (tmp_path, header()), (tmp_path, header(pid=os.getppid())),
        (tmp_path, header(role="child", pid=1)),
        (tmp_path, header(hardware="", pid=1)),
    ]  # fmt: skip
    ship.tick(live)
    ship.tick(live)
    ship.close()
    (spool,) = spools(host)
    rows = list(SpoolReader(spool).rows(2**22, writer_lives=False))
    (metrics,) = (row for row in rows if isinstance(row, MetricRows))
    assert began <= metrics.steps[0] / 1e6 <= time.time()
    assert metrics.steps[0] % 10**6 == 0
    processes = {path.split("/")[2] for path in metrics.shape.paths if "/process/" in path}
    assert processes == {str(os.getpid()), str(os.getppid())}


# --- the page ----------------------------------------------------------------------------------


def documented() -> tuple[set[str], set[str]]:
    """Names of series and of single values."""
    series, single = PAGE.read_text().split("## Single values")
    found = [set(re.findall(r"^\| `([^`]+)` \|", part, re.MULTILINE)) for part in (series, single)]
    return found[0], found[1]


def general(name: str) -> str:
    name = re.sub(r"process/\d+", "process/<pid>", name)
    name = re.sub(r"load_\d+m", "load_<n>m", name)
    return re.sub(r"/\d+/", "/<n>/", name)


def test_the_page_has_every_name_and_no_other(
    nvml: FakeNvml, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, VERSION_2)

    def group() -> ControlGroup:
        return ControlGroup(tmp_path)

    monkeypatch.setattr(_hardware, "ControlGroup", group)
    # Not every machine tells these.
    monkeypatch.setattr(_hardware, "_cpu_model", lambda: "model")
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 4)
    sampler = HardwareSampler()
    values = sampled(sampler, [os.getpid()], 0.6)
    series, single = documented()
    assert {general(name) for name in values} == series
    from naiad._ranks import Ranks

    ranks = {f"process/1/{name}" for name in Ranks(0, 0, 1).facts()}
    assert {general(name) for name in sampler.static().keys() | ranks} == single
