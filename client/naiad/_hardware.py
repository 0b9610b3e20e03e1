"""Samples of this machine: CPU, memory, disks, network, processes, GPUs. docs/hardware.md has
every name and unit."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Iterable
from typing import Any

import psutil

# What psutil and NVML raise for things that aren't there, may not be seen, or just went.
_ABSENT: tuple[type[BaseException], ...] = (
    psutil.Error, OSError, NotImplementedError, AttributeError, RuntimeError, ValueError, KeyError,
)  # fmt: skip


class HardwareSampler:
    """Never raises: what can't be read is left out. Not for several threads at once."""

    def __init__(self, pids: Callable[[], Iterable[int]] | None = None) -> None:
        """`pids`: processes to look at beside the machine, with their children."""
        self._pids = pids
        self._processes: dict[int, psutil.Process] = {}
        self._counters: dict[str, tuple[float, float]] = {}
        self._gpus = _Gpus()
        with contextlib.suppress(*_ABSENT):
            # The first call of each only remembers where it stands.
            psutil.cpu_percent()
            psutil.cpu_percent(percpu=True)
        self._rates(time.monotonic())

    def static(self) -> dict[str, str | int | float]:
        """Facts of the machine that don't change."""
        facts: dict[str, str | int | float] = {"cpu/model": _cpu_model()}
        with contextlib.suppress(*_ABSENT):
            facts["cpu/logical_cores"] = psutil.cpu_count() or 0
            facts["cpu/physical_cores"] = psutil.cpu_count(logical=False) or 0
        with contextlib.suppress(*_ABSENT):
            facts["memory/total_bytes"] = int(psutil.virtual_memory().total)
        facts["os"] = platform.platform()
        facts.update(self._gpus.static())
        return {name: value for name, value in facts.items() if value not in ("", 0)}

    def sample(self, pids: Iterable[int] | None = None) -> dict[str, float]:
        """Values now, by name. Rates and percentages are over the time since the last call."""
        now = time.monotonic()
        values: dict[str, float] = {}
        for part in (self._cpu, self._memory):
            with contextlib.suppress(*_ABSENT):
                values.update(part())
        values.update(self._rates(now))
        wanted = pids if pids is not None else (self._pids() if self._pids else ())
        values.update(self._trees(list(wanted)))
        values.update(self._gpus.sample())
        return values

    # --- the machine -----------------------------------------------------------------------

    def _cpu(self) -> dict[str, float]:
        values = {"cpu/percent": psutil.cpu_percent()}
        for core, percent in enumerate(psutil.cpu_percent(percpu=True)):
            values[f"cpu/core/{core}/percent"] = percent
        with contextlib.suppress(*_ABSENT):
            for minutes, load in zip((1, 5, 15), psutil.getloadavg(), strict=True):
                values[f"cpu/load_{minutes}m"] = load
        return values

    def _memory(self) -> dict[str, float]:
        memory = psutil.virtual_memory()
        values = {
            "memory/used_bytes": float(memory.total - memory.available),
            "memory/available_bytes": float(memory.available),
            "memory/percent": float(memory.percent),
        }
        with contextlib.suppress(*_ABSENT):
            swap = psutil.swap_memory()
            values["memory/swap_used_bytes"] = float(swap.used)
        with contextlib.suppress(*_ABSENT):
            disk = psutil.disk_usage(".")
            values["disk/used_bytes"] = float(disk.used)
            values["disk/free_bytes"] = float(disk.free)
        return values

    def _rates(self, now: float) -> dict[str, float]:
        totals: dict[str, float] = {}
        with contextlib.suppress(*_ABSENT):
            disk = psutil.disk_io_counters()
            if disk:
                totals["disk/read_bytes_per_second"] = disk.read_bytes
                totals["disk/written_bytes_per_second"] = disk.write_bytes
        with contextlib.suppress(*_ABSENT):
            network = psutil.net_io_counters()
            if network:
                totals["network/received_bytes_per_second"] = network.bytes_recv
                totals["network/sent_bytes_per_second"] = network.bytes_sent
        rates = {}
        for name, total in totals.items():
            before = self._counters.get(name)
            self._counters[name] = (now, total)
            # Counters of an interface that came anew begin at zero.
            if before and now > before[0] and total >= before[1]:
                rates[name] = (total - before[1]) / (now - before[0])
        return rates

    # --- processes -------------------------------------------------------------------------

    def _trees(self, pids: list[int]) -> dict[str, float]:
        values: dict[str, float] = {}
        seen: set[int] = set()
        for pid in pids:
            with contextlib.suppress(*_ABSENT):
                root = self._process(pid)
                tree = [root, *root.children(recursive=True)]
                seen.update(process.pid for process in tree)
                values.update(self._tree(f"process/{pid}", tree))
        for gone in self._processes.keys() - seen:
            del self._processes[gone]
        return values

    def _process(self, pid: int) -> psutil.Process:
        known = self._processes.get(pid)
        # A number is used again; the start time tells.
        if known is None or not known.is_running():
            known = self._processes[pid] = psutil.Process(pid)
            known.cpu_percent()
        return known

    def _tree(self, name: str, tree: list[psutil.Process]) -> dict[str, float]:
        cpu = rss = threads = files = 0.0
        for found in tree:
            with contextlib.suppress(*_ABSENT):
                process = self._process(found.pid)
                with process.oneshot():
                    cpu += process.cpu_percent()
                    rss += process.memory_info().rss
                    threads += process.num_threads()
                with contextlib.suppress(*_ABSENT):
                    files += process.num_fds()
        return {
            f"{name}/cpu_percent": cpu,
            f"{name}/rss_bytes": rss,
            f"{name}/threads": threads,
            f"{name}/open_files": files,
            f"{name}/processes": float(len(tree)),
        }


class _Gpus:
    """NVIDIA's, by NVML; none where there is no driver."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        try:
            import pynvml

            pynvml.nvmlInit()
            self._nvml = pynvml
            for number in range(pynvml.nvmlDeviceGetCount()):
                self._handles.append(pynvml.nvmlDeviceGetHandleByIndex(number))
        except Exception:
            # No driver, no library, no permission: this machine has no GPU for us.
            self._nvml = None

    def static(self) -> dict[str, str | int | float]:
        facts: dict[str, str | int | float] = {}
        if self._nvml is None:
            return facts
        facts["gpu/count"] = len(self._handles)
        for number, handle in enumerate(self._handles):
            for name, read in (
                ("name", lambda h: _text(self._nvml.nvmlDeviceGetName(h))),
                ("uuid", lambda h: _text(self._nvml.nvmlDeviceGetUUID(h))),
                ("memory_total_bytes", lambda h: int(self._nvml.nvmlDeviceGetMemoryInfo(h).total)),
            ):
                with contextlib.suppress(Exception):
                    facts[f"gpu/{number}/{name}"] = read(handle)
        with contextlib.suppress(Exception):
            facts["gpu/driver_version"] = _text(self._nvml.nvmlSystemGetDriverVersion())
        return facts

    def sample(self) -> dict[str, float]:
        values: dict[str, float] = {}
        n = self._nvml
        if n is None:
            return values
        reads: dict[str, Callable[[Any], float]] = {
            "utilization_percent": lambda h: n.nvmlDeviceGetUtilizationRates(h).gpu,
            "memory_utilization_percent": lambda h: n.nvmlDeviceGetUtilizationRates(h).memory,
            "memory_used_bytes": lambda h: n.nvmlDeviceGetMemoryInfo(h).used,
            "power_watts": lambda h: n.nvmlDeviceGetPowerUsage(h) / 1000,
            "temperature_celsius": lambda h: n.nvmlDeviceGetTemperature(h, n.NVML_TEMPERATURE_GPU),
            "sm_clock_mhz": lambda h: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_SM),
            "memory_clock_mhz": lambda h: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_MEM),
            "ecc_corrected_errors": lambda h: n.nvmlDeviceGetTotalEccErrors(
                h, n.NVML_MEMORY_ERROR_TYPE_CORRECTED, n.NVML_VOLATILE_ECC
            ),
            "ecc_uncorrected_errors": lambda h: n.nvmlDeviceGetTotalEccErrors(
                h, n.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, n.NVML_VOLATILE_ECC
            ),
            "processes": lambda h: len(n.nvmlDeviceGetComputeRunningProcesses(h)),
        }
        for number, handle in enumerate(self._handles):
            for name, read in reads.items():
                # Each by itself: cards differ in what they can tell.
                with contextlib.suppress(Exception):
                    values[f"gpu/{number}/{name}"] = float(read(handle))
        return values


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _cpu_model() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
