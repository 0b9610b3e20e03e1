"""Samples of this machine: CPU, memory, disks, network, processes, GPUs. docs/hardware.md has
every name and unit."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

import psutil

from naiad._cgroup import ControlGroup
from naiad._gpus import Gpus

# Whatever psutil raises for things that aren't there, may not be seen, or just went; in odd
# containers that has been nearly anything.
_ABSENT = Exception
# Rates over less, in seconds, would say nothing.
_SHORTEST = 0.5
# Of psutil: what this system counts.
_FILES = "num_handles" if os.name == "nt" else "num_fds"
_LOOPBACK = frozenset({"lo", "lo0", "Loopback Pseudo-Interface 1"})


class HardwareSampler:
    """Never raises: what can't be read is left out. Not for several threads at once, and one for
    each run: rates are over the time since its own last look."""

    def __init__(self) -> None:
        # Of counters, when they were read and what they said.
        self._counters: dict[str, tuple[float, float]] = {}
        # CPU seconds of each process of a tree, by tree.
        self._trees_before: dict[int, tuple[float, dict[tuple[int, float], float]]] = {}
        self._cores: tuple[float, list[tuple[float, float]]] = (0.0, [])
        self._gpus = Gpus()
        self._group = ControlGroup()
        # Of a group without limits the machine's own figures say the same.
        self._limits: dict[str, float] = {}
        with contextlib.suppress(_ABSENT):
            self._limits = self._group.limits()
        with contextlib.suppress(_ABSENT):
            self._rates(time.monotonic())
        with contextlib.suppress(_ABSENT):
            self._cpu(time.monotonic())

    def static(self) -> dict[str, str | int | float]:
        """Facts of the machine that don't change."""
        facts: dict[str, str | int | float] = {"cpu/model": _cpu_model()}
        with contextlib.suppress(_ABSENT):
            facts["cpu/logical_cores"] = psutil.cpu_count() or 0
            facts["cpu/physical_cores"] = psutil.cpu_count(logical=False) or 0
        with contextlib.suppress(_ABSENT):
            facts["memory/total_bytes"] = int(psutil.virtual_memory().total)
        facts["os"] = platform.platform()
        facts.update(self._limits)
        facts.update(self._gpus.static())
        return {name: value for name, value in facts.items() if value not in ("", 0)}

    def sample(self, pids: Iterable[int] = (), without: Collection[int] = ()) -> dict[str, float]:
        """Values now, by name. `pids`: processes to look at, with their children; `without`
        those. Rates and percentages are over the time since the last call."""
        now = time.monotonic()
        values: dict[str, float] = {}
        parts: tuple[Callable[[], dict[str, float]], ...] = (
            lambda: self._cpu(now), self._memory, lambda: self._rates(now),
            lambda: self._trees(now, list(pids), without), self._gpus.sample,
        )  # fmt: skip
        for part in parts:
            with contextlib.suppress(_ABSENT):
                values.update(part())
        return values

    # --- the machine -----------------------------------------------------------------------

    def _cpu(self, now: float) -> dict[str, float]:
        values: dict[str, float] = {}
        before_at, before = self._cores
        if now - before_at >= _SHORTEST:
            cores = [_idle_and_all(times) for times in psutil.cpu_times(percpu=True)]
            self._cores = (now, cores)
            if len(before) == len(cores):
                percents = [_busy(*pair) for pair in zip(before, cores, strict=True)]
                values["cpu/percent"] = sum(percents) / len(percents)
                for core, percent in enumerate(percents):
                    values[f"cpu/core/{core}/percent"] = percent
        with contextlib.suppress(_ABSENT):
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
        with contextlib.suppress(_ABSENT):
            swap = psutil.swap_memory()
            values["memory/swap_used_bytes"] = float(swap.used)
        with contextlib.suppress(_ABSENT):
            disk = psutil.disk_usage(".")
            values["disk/used_bytes"] = float(disk.used)
            values["disk/free_bytes"] = float(disk.free)
        if "cgroup/memory_limit_bytes" in self._limits:
            with contextlib.suppress(_ABSENT):
                used = self._group.memory_used()
                if used is not None:
                    values["cgroup/memory_used_bytes"] = used
        return values

    def _rates(self, now: float) -> dict[str, float]:
        totals: dict[str, float] = {}
        with contextlib.suppress(_ABSENT):
            disk = psutil.disk_io_counters()
            if disk:
                totals["disk/read_bytes_per_second"] = disk.read_bytes
                totals["disk/written_bytes_per_second"] = disk.write_bytes
        with contextlib.suppress(_ABSENT):
            network = psutil.net_io_counters(pernic=True)
            # Without what the machine says to itself.
            outside = [counted for name, counted in network.items() if name not in _LOOPBACK]
            if outside:
                totals["network/received_bytes_per_second"] = sum(c.bytes_recv for c in outside)
                totals["network/sent_bytes_per_second"] = sum(c.bytes_sent for c in outside)
        if "cgroup/cpu_limit_cores" in self._limits:
            with contextlib.suppress(_ABSENT):
                seconds = self._group.cpu_seconds()
                if seconds is not None:
                    totals["cgroup/cpu_percent"] = 100 * seconds
        rates = {}
        for name, total in totals.items():
            before = self._counters.get(name)
            if before and now - before[0] < _SHORTEST:
                continue
            self._counters[name] = (now, total)
            # Counters of an interface that came anew begin at zero.
            if before and total >= before[1]:
                rates[name] = (total - before[1]) / (now - before[0])
        return rates

    # --- processes -------------------------------------------------------------------------

    def _trees(self, now: float, pids: list[int], without: Collection[int]) -> dict[str, float]:
        values: dict[str, float] = {}
        for gone in self._trees_before.keys() - set(pids):
            del self._trees_before[gone]
        for pid in pids:
            with contextlib.suppress(_ABSENT):
                root = psutil.Process(pid)
                tree = [root, *root.children(recursive=True)]
                tree = [process for process in tree if process.pid not in without]
                values.update(self._tree(now, pid, tree))
        return values

    def _tree(self, now: float, pid: int, tree: list[psutil.Process]) -> dict[str, float]:
        seconds: dict[tuple[int, float], float] = {}
        rss = threads = files = 0.0
        for process in tree:
            with contextlib.suppress(_ABSENT), process.oneshot():
                times = process.cpu_times()
                # A number is used again; the start time tells.
                seconds[process.pid, process.create_time()] = times.user + times.system
                rss += process.memory_info().rss
                threads += process.num_threads()
            with contextlib.suppress(_ABSENT):
                files += getattr(process, _FILES)()
        name = f"process/{pid}"
        values = {
            f"{name}/rss_bytes": rss,
            f"{name}/threads": threads,
            f"{name}/open_files": files,
            f"{name}/processes": float(len(tree)),
        }
        at, before = self._trees_before.get(pid, (None, {}))
        if at is None or now - at >= _SHORTEST:
            self._trees_before[pid] = (now, seconds)
            if at is not None:
                # One that came since has used all of its time since.
                used = sum(spent - before.get(key, 0.0) for key, spent in seconds.items())
                values[f"{name}/cpu_percent"] = 100 * used / (now - at)
        return values


def _idle_and_all(times: Any) -> tuple[float, float]:
    fields = times._asdict()
    # Guests' time is in `user` and `nice` already.
    whole = sum(spent for name, spent in fields.items() if not name.startswith("guest"))
    return fields["idle"] + fields.get("iowait", 0.0), whole


def _busy(before: tuple[float, float], now: tuple[float, float]) -> float:
    idle, whole = now[0] - before[0], now[1] - before[1]
    return min(100.0, max(0.0, 100 * (1 - idle / whole))) if whole > 0 else 0.0


def _cpu_model() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
