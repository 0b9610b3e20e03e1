"""Lines that the console's reader has seen, in a spool of its own."""

from __future__ import annotations

import codecs
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from naiad._console import LineCutter
from naiad._console_series import NumberedLines
from naiad.spool.folder import RunMemory, new_writer_id, read_token
from naiad.spool.layout import Header
from naiad.spool.writer import SpoolWriter
from naiad_proto.v1 import records_pb2 as pb


class SpooledConsole:
    """A writer of the run whose records are console lines. It takes none after the training's end,
    even if some child of that goes on to write."""

    def __init__(self, what: dict[str, Any]) -> None:
        """Raises OSError."""
        host, header = Path(what["host"]), Header.from_dict(what["header"])
        memory = RunMemory(host, header.project, header.run_id)
        header = replace(
            header, writer_id=new_writer_id(), epoch=memory.next_epoch(), pid=os.getpid(),
            role="console", hardware="",
        )  # fmt: skip
        self._writer = SpoolWriter(host, header, read_token(Path(what["spool"])))
        self._header = header
        # At once both: the run is running because of its processes alone.
        self._status(pb.WRITER_STATE_RUNNING)
        self._status(pb.WRITER_STATE_FINISHED)
        self._finished = False
        paths = {stream["name"]: stream["path"] for stream in what["streams"]}
        self._lines = NumberedLines(memory, paths, self._writer.string)
        self._cutters = {name: LineCutter(first) for name, first in self._lines.first.items()}
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in paths}

    @property
    def folder(self) -> str:
        return str(self._writer.folder)

    @property
    def records(self) -> int:
        return self._writer.last_record

    def take(self, name: str, at: int, data: bytes) -> None:
        if self._finished:
            return
        lines = self._cutters[name].feed(self._decoders[name].decode(data))
        self._lines.take(name, [(number, at, text) for number, text in lines])
        self._writer.prepare()

    def flush(self) -> None:
        """Also lines that are not ended yet."""
        if self._finished:
            return
        at = _now()
        for name, cutter in self._cutters.items():
            self._lines.take(name, [(number, at, text) for number, text in cutter.flush()])

    def finish(self, left_out: int) -> None:
        """The training has ended."""
        if not self._finished:
            self._finished = True
            self._lines.settle()
            if left_out:
                reason = f"{left_out:,} bytes of the console were not kept"
                self._status(pb.WRITER_STATE_FINISHED, reason)
            self._writer.close()

    def _status(self, state: pb.WriterState.ValueType, reason: str = "") -> None:
        status = pb.WriterStatus(
            state=state, started_at=_now(), host=self._header.host, pid=self._header.pid,
            reason=reason,
        )  # fmt: skip
        self._writer.item(pb.Item(timestamp=_now(), writer_status=status))


def _now() -> int:
    return time.time_ns() // 1_000_000
