"""What of a spool is readable by now, and what was said about it late."""

from __future__ import annotations

import time
from typing import Any

from naiad.shipper.report import Report
from naiad.shipper.server import Server
from naiad.spool.layout import Header
from naiad_proto.v1.log_pb2 import WriterProgress

# How often a server is asked: while someone waits for it, and else.
ASK_WHILE_WAITING = 0.03
ASK_SECONDS = 2.0


class StoredWatch:
    """Asks the server as long as it has acknowledged more than it has stored."""

    def __init__(self, header: Header, server: Server, report: Report) -> None:
        self._header = header
        self._server = server
        self._report = report
        self._asking: Any = None
        self._next_ask = 0.0

    def tick(self, *, waited_for: bool) -> None:
        if self._asking is not None:
            if self._asking.done():
                call, self._asking = self._asking, None
                self._hear(call)
            return
        told = self._report.told
        if told.stored >= told.acknowledged or not self._server.may_call:
            return
        now = time.monotonic()
        early = ASK_SECONDS - ASK_WHILE_WAITING if waited_for else 0.0
        if now >= self._next_ask - early:
            self._next_ask = now + ASK_SECONDS
            header = self._header
            self._asking = self._server.progress(header.project, header.run_id, header.writer_id)

    def _hear(self, call: Any) -> None:
        error = call.exception()
        if error is not None:
            self._server.failed(error)
            return
        for progress in call.result().writers:
            self._report.told.store(min(_stored(progress), self._report.told.acknowledged))
            for warning in progress.warnings:
                self._report.say_once("warning", warning.message)
            for rejection in progress.late_rejections:
                self._report.rejected(rejection)


def _stored(progress: WriterProgress) -> int:
    """Number of the record up to which all are stored."""
    stored = 0
    for interval in progress.stored:
        if interval.first <= stored + 1:
            stored = max(stored, interval.last)
    return stored
