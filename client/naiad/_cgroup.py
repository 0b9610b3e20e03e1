"""What a container may use, and uses: its control group, version 2 or 1. Linux only; elsewhere,
and without limits, nothing is found."""

from __future__ import annotations

import contextlib
from pathlib import Path

# Version 1 has no word for "no limit", only numbers near 2**63.
_NO_LIMIT = 2**60


class ControlGroup:
    """Of the process that asks, which is in that of the training which started it."""

    def __init__(self, root: Path = Path("/")) -> None:
        """`root`: for tests, where /proc and /sys are."""
        self._mounts = root / "sys/fs/cgroup"
        self._groups: dict[str, str] = {}
        with contextlib.suppress(OSError):
            for line in (root / "proc/self/cgroup").read_text().splitlines():
                _, controllers, path = line.split(":", 2)
                for controller in controllers.split(","):
                    self._groups[controller] = path.lstrip("/")

    def limits(self) -> dict[str, float]:
        found = {}
        memory = self._least_memory()
        if memory is not None:
            found["cgroup/memory_limit_bytes"] = memory
        cores = self._least_cores()
        if cores is not None:
            found["cgroup/cpu_limit_cores"] = cores
        return found

    def memory_used(self) -> float | None:
        """Without the page cache that would be given up at once, as `docker stats` counts."""
        used = self._number("", "memory.current")
        statistics = self._read("", "memory.stat")
        if used is None:
            used = self._number("memory", "memory.usage_in_bytes")
            statistics = self._read("memory", "memory.stat")
        if used is None:
            return None
        cache = {}
        for line in statistics.splitlines():
            name, _, value = line.partition(" ")
            cache[name] = value
        inactive = cache.get("total_inactive_file", cache.get("inactive_file", "0"))
        return max(0.0, used - (float(inactive) if inactive.isdecimal() else 0.0))

    def cpu_seconds(self) -> float | None:
        """Used since the group was made."""
        for line in self._read("", "cpu.stat").splitlines():
            if line.startswith("usage_usec "):
                return float(line.split()[1]) / 1e6
        nanoseconds = self._number("cpuacct", "cpuacct.usage")
        return None if nanoseconds is None else nanoseconds / 1e9

    # --- files -----------------------------------------------------------------------------

    def _folders(self, controller: str) -> list[Path]:
        """The group's folder and those above it. Within a container the path that the kernel
        tells may be the host's, and the mount is already the container's own."""
        path = self._groups.get(controller)
        if path is None:
            return []
        base = self._mounts / controller if controller else self._mounts
        if not base.is_dir():
            return []
        found = [base]
        for part in Path(path).parts:
            found.append(found[-1] / part)
        return [folder for folder in reversed(found) if folder.is_dir()]

    def _read(self, controller: str, name: str) -> str:
        for folder in self._folders(controller):
            with contextlib.suppress(OSError):
                return (folder / name).read_text()
        return ""

    def _number(self, controller: str, name: str) -> float | None:
        text = self._read(controller, name).strip()
        return float(text) if text.isdecimal() else None

    def _all(self, controller: str, name: str) -> list[list[str]]:
        """The words of the file in the group and in those above it, which bind as well."""
        found = []
        for folder in self._folders(controller):
            with contextlib.suppress(OSError):
                found.append((folder / name).read_text().split())
        return found

    def _least_memory(self) -> float | None:
        words = self._all("", "memory.max") + self._all("memory", "memory.limit_in_bytes")
        limits = [int(one[0]) for one in words if one and one[0].isdecimal()]
        return min((float(limit) for limit in limits if limit < _NO_LIMIT), default=None)

    def _least_cores(self) -> float | None:
        pairs = self._all("", "cpu.max")
        pairs += [
            quota + period
            for quota, period in zip(
                self._all("cpu", "cpu.cfs_quota_us"), self._all("cpu", "cpu.cfs_period_us"),
                strict=False,
            )
        ]  # fmt: skip
        found = [
            int(pair[0]) / int(pair[1])
            for pair in pairs
            if len(pair) == 2 and pair[0].isdecimal() and int(pair[1]) > 0
        ]
        return min(found, default=None)
