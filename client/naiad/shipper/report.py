"""What is told of one spool: the progress file for its writer, and reasons kept beside it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import grpc

from naiad.ledger import keep_ledger
from naiad.shipper.parking import Parking
from naiad.shipper.pending import Pending
from naiad.shipper.server import Verdict, explain, verdict
from naiad.shipper.told import Told
from naiad.spool.folder import read_progress, write_json
from naiad.spool.layout import PROGRESS, Header
from naiad.tally import Tally
from naiad_proto.v1 import records_pb2 as pb

log = logging.getLogger("naiad.shipper")


class Report:
    """`told` is what `write` puts into the progress file. Each thing is said once."""

    def __init__(self, folder: Path, header: Header) -> None:
        self.told = Told.of(read_progress(folder))
        self._folder = folder
        self._header = header
        self._parking = Parking(folder, header)
        self._seen: set[tuple[str, str]] = set()
        self._written: dict[str, Any] | None = None
        # Could the progress file not be written the last time?
        self._unwritten = False

    @property
    def epoch(self) -> int:
        """Under which the spool is sent."""
        return self.told.epoch or self._header.epoch

    def write(self) -> None:
        """Brings the progress file up to date."""
        content = self.told.content()
        if content != self._written:
            try:
                write_json(self._folder / PROGRESS, content)
            except OSError as error:
                # Once and not at each round; a removed folder is for the round itself.
                if not self._unwritten:
                    log.warning("%s can't be written: %s", self._folder / PROGRESS, error)
                self._unwritten = True
                return
            self._unwritten = False
            self._written = content

    def keep_ledger(self, *, final: bool = False) -> None:
        """The counts, for when the folder is gone."""
        keep_ledger(self._folder, self._header, self.told.content(), final=final)

    def leave(self) -> None:
        """The folder is about to go; what was not taken stays beside it."""
        self._parking.leave()

    # --- what is in the way ------------------------------------------------------------------

    def say_once(self, kind: str, text: str) -> None:
        if (kind, text) not in self._seen:
            self._seen.add((kind, text))
            self.told.say(kind, text)

    def trouble(self, url: str, error: grpc.RpcError) -> None:
        """Why nothing goes on for now."""
        text = explain(url, error)
        if text != self.told.trouble:
            self.told.trouble = text
            kind = "auth" if verdict(error) is Verdict.BLOCKED else "network"
            self.say_once(kind, text)

    # --- what is not taken -------------------------------------------------------------------

    def rejected(self, rejection: pb.Rejection) -> None:
        """An item that the server did not take, whether it said so at once or later."""
        self._keep(
            "rejected",
            record=rejection.record, path=rejection.path, reason=rejection.message,
        )  # fmt: skip

    def refuse(self, record: int, reason: str, tally: Tally | None = None) -> None:
        """Something that the shipper itself leaves out, and how much that is."""
        self._keep("rejected", record=record, reason=reason)
        if tally:
            self.told.reject(tally)

    def set_aside(self, batch: Pending, why: str) -> None:
        """Keeps a batch beside the spool, with the reason, and goes on without it. Raises
        OSError."""
        self._parking.keep_batch(batch.first, batch.request)
        self.refuse(batch.first, f"records {batch.first} to {batch.last}: {why}", batch.tally)
        self.told.put_aside(batch.first, batch.last)
        batch.settle()

    def keep_file(self, record: int, file: Path) -> None:
        """Keeps the content of a file that was refused. Raises OSError."""
        self._parking.keep_file(record, file)

    def torn(self, reason: str) -> None:
        """Records that were broken when they were read back."""
        self.told.torn += 1
        self._keep("torn", reason=reason)

    def _keep(self, kind: str, **what: Any) -> None:
        try:
            fresh = self._parking.add(what)
        except OSError:
            # On a full disk the message has to do: raised in the middle of a batch, this would
            # cost the batch.
            fresh = True
        if fresh:
            self.told.rejected += 1
            self.told.say(kind, str(what["reason"]))
