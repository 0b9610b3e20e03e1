"""Spools and shippers inside a test's own process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from support_naiad import LONGER
from support_server import Server
from support_spools import spool_header

from naiad.shipper.shipper import Shipper
from naiad.spool.folder import read_progress
from naiad.spool.writer import SpoolWriter
from naiad_proto.series import group_arrays
from naiad_proto.v1 import records_pb2 as pb

PROJECT = "team/p"


def spool_for(host: Path, url: str, run: str = "r", **more: Any) -> SpoolWriter:
    token = more.pop("token", None)
    header = spool_header(**({"url": url, "run_id": run, "epoch": 1_000} | more))
    writer = SpoolWriter(host, header, token)
    writer.item(pb.Item(timestamp=1, create_run=pb.CreateRun(created_at=1)))
    return writer


class Shipping:
    """A shipper on a thread."""

    def __init__(self, host: Path, **options: Any) -> None:
        self.shipper = Shipper(host, sample_hardware=False, **options)
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self.shipper.run, args=(self.stop,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        self.stop.set()
        self._thread.join(20 * LONGER)
        assert not self._thread.is_alive()


def acknowledged(writer: SpoolWriter) -> bool:
    told = read_progress(writer.folder)
    return int(told.get("acknowledged", 0)) >= writer.last_record


def points(server: Server) -> dict[tuple[str, str, int], float]:
    """(run, path, micro-step): value of everything in the log."""
    found: dict[tuple[str, str, int], float] = {}
    for batch in server.batches():
        for group in batch.groups:
            arrays = group_arrays(group)
            for row, path in enumerate(group.paths):
                for step, value in zip(arrays.steps, arrays.values[row], strict=True):
                    found[batch.run_id, path, int(step)] = float(value)
    return found


def steps_at(server: Server) -> list[int]:
    """Steps of `m0` in the server's log, in the order in which they came."""
    found = []
    for batch in server.batches():
        for group in batch.groups:
            if "m0" in group.paths:
                found += [int(step) // 1_000_000 for step in group_arrays(group).steps]
    return found
