"""Whether an error is about the batch that it answers, or about the server."""

from __future__ import annotations

import time
from typing import Any

import grpc

from naiad.shipper.pending import Pending
from naiad.shipper.report import Report
from naiad.shipper.server import Server, Verdict, pause_after, verdict
from naiad.spool.layout import Header

# A server that stumbles over one batch, so often and for so long, while it takes others,
# won't take that one: it is set aside, or it would be sent for ever.
SUSPECT_TRIES = 8
SUSPECT_SECONDS = 300.0


class Judge:
    """Of one spool's batches at one server."""

    def __init__(self, header: Header, server: Server, report: Report) -> None:
        self._header = header
        self._server = server
        self._report = report
        self._probing: Any = None

    def gives_up(self, batch: Pending, error: grpc.RpcError) -> bool:
        """Tells what is wrong, and when to try again; True if trying again won't help."""
        match verdict(error):
            case Verdict.RETRY | Verdict.BLOCKED:
                self.blame_server(error)
                return False
            case Verdict.SUSPECT if not self._hopeless(batch):
                self._report.trouble(self._server.url, error)
                return False
        return True

    def blame_server(self, error: grpc.RpcError) -> None:
        """It has nothing to do with any batch: all of them wait."""
        self._server.failed(error)
        self._report.trouble(self._server.url, error)

    def _hopeless(self, batch: Pending) -> bool:
        """Counts one more failure of the batch itself; True once it is to be set aside."""
        now = time.monotonic()
        if not batch.failures:
            batch.failing_since, batch.taken_then = now, self._server.taken
        batch.failures += 1
        batch.try_again_at = now + pause_after(batch.failures)
        if batch.failures < SUSPECT_TRIES or now - batch.failing_since < SUSPECT_SECONDS:
            return False
        # A server that takes nothing at all is sick, and says nothing of this batch.
        self._probe()
        return self._server.taken > batch.taken_then

    def _probe(self) -> None:
        """Asks something harmless, where nothing else is under way that would tell."""
        if self._probing is None:
            header = self._header
            self._probing = self._server.open_writer(
                header.project, header.run_id, header.writer_id
            )
        elif self._probing.done():
            if self._probing.exception() is None:
                self._server.succeeded()
            self._probing = None
