"""Samples this host for every run that has a live process here, through spools of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from naiad.settings import host_name
from naiad.spool.folder import RunMemory, new_writer_id, read_token
from naiad.spool.layout import Header
from naiad.spool.writer import SpoolWriter
from naiad_proto.steps import MICRO
from naiad_proto.v1 import records_pb2 as pb

if TYPE_CHECKING:
    from naiad._hardware import HardwareSampler

log = logging.getLogger("naiad.shipper")

# After a sampler that could not begin, in seconds.
_PAUSE_SECONDS = 10.0


@dataclass
class _Sampled:
    writer: SpoolWriter
    sampler: HardwareSampler
    next_at: float = 0.0


class HardwareShip:
    """One sampler a host and run, not a process: eight ranks see the same host."""

    def __init__(self, host: Path) -> None:
        self._host = host
        self._runs: dict[tuple[str, str, str], _Sampled] = {}
        self._complained = False
        self._try_again_at = 0.0

    def tick(self, live: list[tuple[Path, Header]]) -> None:
        """`live`: spools whose process lives. Samples what is due, ends what is over. Never
        raises: points have to be sent whatever becomes of samples."""
        try:
            self._tick(live)
        except Exception as error:
            if not self._complained:
                self._complained = True
                log.exception("hardware can't be sampled: %s", error)

    def _tick(self, live: list[tuple[Path, Header]]) -> None:
        now = time.monotonic()
        by_run: dict[tuple[str, str, str], list[tuple[Path, Header]]] = {}
        # Children of the training, but no part of it.
        ours = {os.getpid(), *(header.pid for _, header in live if header.role == "console")}
        for folder, header in live:
            if header.role == "process" and header.hardware:
                key = (header.project, header.run_id, header.url)
                by_run.setdefault(key, []).append((folder, header))
        for key in self._runs.keys() - by_run.keys():
            self._runs.pop(key).writer.close()
        for key, spools in by_run.items():
            sampled = self._runs.get(key)
            if sampled is None:
                if now < self._try_again_at:
                    continue
                # Before it is tried: one that fails is not tried again at every turn.
                self._try_again_at = now + _PAUSE_SECONDS
                sampled = self._runs[key] = self._begin(*spools[0])
                self._try_again_at = 0.0
            if now >= sampled.next_at:
                sampled.next_at = now + max(1.0, spools[0][1].hardware_interval)
                pids = {header.pid for _, header in spools}
                # A sample that finds no room is not worth a word; the runs say it themselves.
                with contextlib.suppress(OSError):
                    sampled.writer.tend()
                    # A shipper that is a thread has the training's own number.
                    self._sample(sampled, sorted(pids), ours - pids)

    def close(self) -> None:
        for sampled in self._runs.values():
            with contextlib.suppress(OSError):
                sampled.writer.close()
        self._runs.clear()

    def _begin(self, folder: Path, header: Header) -> _Sampled:
        memory = RunMemory(self._host, header.project, header.run_id)
        own = Header(
            project=header.project, run_id=header.run_id, writer_id=new_writer_id(),
            epoch=memory.next_epoch(), url=header.url, host=host_name(), pid=0,
            mode=header.mode, role="sampler", hardware=header.hardware, ca_file=header.ca_file,
            cert_file=header.cert_file, key_file=header.key_file,
        )  # fmt: skip
        # Not before: NVML and psutil take a moment, and `naiad sync` needs neither.
        from naiad._hardware import HardwareSampler

        sampler = HardwareSampler()
        writer = SpoolWriter(self._host, own, read_token(folder))
        # At once both: the run is running because of its processes alone, and in a container
        # nobody may be left to tell a sampler's end.
        for state in (pb.WRITER_STATE_RUNNING, pb.WRITER_STATE_FINISHED):
            status = pb.WriterStatus(state=state, started_at=_now(), host=own.host)
            writer.item(pb.Item(timestamp=_now(), writer_status=status))
        for name, value in sampler.static().items():
            one = pb.Value(string_value=str(value))
            if isinstance(value, int):
                one = pb.Value(int_value=value)
            elif isinstance(value, float):
                one = pb.Value(float_value=value)
            change = pb.SetAttribute(path=f"{own.hardware}/{name}", value=one)
            writer.item(pb.Item(timestamp=_now(), set_attribute=change))
        return _Sampled(writer, sampler)

    def _sample(self, sampled: _Sampled, pids: list[int], without: set[int]) -> None:
        prefix = sampled.writer.header.hardware
        values = sampled.sampler.sample(pids, without)
        if values:
            at = _now()
            # Whole seconds: that is what the steps of hardware are.
            step = at // 1000 * MICRO
            sampled.writer.metrics({f"{prefix}/{k}": v for k, v in values.items()}, step, at)


def _now() -> int:
    return time.time_ns() // 1_000_000
