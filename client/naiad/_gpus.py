"""NVIDIA's GPUs, by NVML; none where there is no driver."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any


class Gpus:
    """Never raises: what a card or its driver can't tell is left out."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[tuple[int, Any]] = []
        try:
            import pynvml

            pynvml.nvmlInit()
            self._nvml = pynvml
            for number in range(pynvml.nvmlDeviceGetCount()):
                # One that fell off the bus keeps its number, and the others are looked at.
                with contextlib.suppress(Exception):
                    self._handles.append((number, pynvml.nvmlDeviceGetHandleByIndex(number)))
        except Exception:
            # No driver, no library, no permission: this machine has no GPU for us.
            self._nvml = None

    def static(self) -> dict[str, str | int | float]:
        facts: dict[str, str | int | float] = {}
        if self._nvml is None:
            return facts
        facts["gpu/count"] = len(self._handles)
        for number, handle in self._handles:
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
        for number, handle in self._handles:
            for name, read in reads.items():
                # Each by itself: cards differ in what they can tell.
                with contextlib.suppress(Exception):
                    values[f"gpu/{number}/{name}"] = float(read(handle))
        return values


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
