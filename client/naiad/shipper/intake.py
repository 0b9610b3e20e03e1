"""What is still to be sent of one spool, cut into batches, and how its writer's life ended."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from naiad.ledger import dropped_in
from naiad.shipper.batches import (
    BatchBuilder,
    after,
    end_of_life,
    heartbeat,
    request_of,
    tally_of,
)
from naiad.shipper.pending import Pending
from naiad.shipper.report import Report
from naiad.spool.folder import Life, writer_let_go
from naiad.spool.layout import PROGRESS, Header
from naiad.spool.reader import ItemRow, Row, SpoolReader
from naiad.tally import Tally
from naiad_proto.limits import MAX_MESSAGE_BYTES
from naiad_proto.v1 import records_pb2 as pb

_READ_BYTES = 4 * 1024 * 1024


class Intake:
    """Reads each record once, in order, and gives it out in one batch."""

    def __init__(
        self, folder: Path, header: Header, report: Report, *, silence_ends: bool = False
    ) -> None:
        self._folder = folder
        self._header = header
        self._report = report
        self._silence_ends = silence_ends
        # Of all that was read, so that the server can compare it with what arrived.
        self._counted = Tally(*report.told.acknowledged_tally)
        self._reader = SpoolReader(folder, report.told.acknowledged)
        self._rows: Iterator[Row] | None = None
        self._file_row: ItemRow | None = None
        # What is known of the writer. When it died: now, if that is seen happen, else when it
        # last wrote.
        self.lives = True
        self._silent = False
        self._met_alive = False
        self._last_sign = _last_sign(folder)
        # Number of the last record that was read.
        self.read = 0
        # The last attempt to read failed.
        self._stuck = False
        # Everything that a dead writer left is read.
        self.drained = False
        self._ended = False
        self._end_sent = False

    def meet(self, life: Life) -> None:
        """How the writer is. To be asked before `next`: what a writer that is dead then had
        published can be read."""
        self._silent = life is Life.SILENT
        self.lives = life is Life.LIVES or (self._silent and not self._silence_ends)
        self._met_alive |= self.lives

    @property
    def file_waits(self) -> bool:
        """Does `next` give a file, which ended the batch before it?"""
        return self._file_row is not None

    def next(self) -> Pending | None:
        """The next batch, or None when there is no more as of now. One without a request is a
        file's, whose content goes first."""
        batch = self._cut()
        self.drained = batch is None and not self.lives and not self._stuck
        return batch

    def heartbeat(self) -> pb.Batch:
        """A batch of nothing: the writer lives, and so much was read of it."""
        batch = heartbeat(self._header, self._report.epoch)
        self._add_counts(batch)
        return batch

    def free(self) -> None:
        """Removes segments whose every record is acknowledged."""
        acknowledged = self._report.told.acknowledged
        kept = []
        for path, last in self._reader.finished:
            if last <= acknowledged:
                path.unlink(missing_ok=True)
            else:
                kept.append((path, last))
        self._reader.finished[:] = kept
        for reason in self._reader.damaged:
            self._report.torn(reason)
        self._reader.damaged.clear()

    def close(self) -> None:
        self._reader.close()

    # --- inside ------------------------------------------------------------------------------

    def _cut(self) -> Pending | None:
        if self._file_row:
            # It ended the batch before it: a file may take long, and a batch is one interval.
            file_row, self._file_row = self._file_row, None
            self.read = file_row.last
            self._counted += tally_of(file_row)
            return Pending(file_row.first, file_row.last, b"", row=file_row)
        self._stuck = False
        builder = BatchBuilder(self._header, self._report.epoch)
        while not builder.full:
            row = self._next_row()
            if isinstance(row, ItemRow) and row.file:
                self._file_row = row
                break
            if row is None:
                break
            builder.add(row)
        if builder.empty:
            return self._cut() if self._file_row else self._end_of_life()
        self.read = builder.last
        self._counted += builder.tally
        batch = builder.build()
        self._add_counts(batch)
        for reason in builder.torn:
            self._report.torn(reason)
        self._ended = builder.ended or self._ended
        pending = Pending(
            builder.first, builder.last, request_of(batch), builder.tally, full=builder.full
        )
        if len(pending.request) > MAX_MESSAGE_BYTES:
            self._leave_out(pending)
        return pending

    def _leave_out(self, batch: Pending) -> None:
        """One row of very many long paths. gRPC would say RESOURCE_EXHAUSTED for ever."""
        why = f"{len(batch.request)} bytes; a message has at most {MAX_MESSAGE_BYTES}"
        try:
            self._report.set_aside(batch, why)
        except OSError as error:
            # It is read and won't be read again, so this is the end of it.
            self._report.refuse(
                batch.first, f"records {batch.first} to {batch.last}: {why}; not kept: {error}"
            )
            self._report.told.put_aside(batch.first, batch.last)
            batch.settle()

    def _add_counts(self, batch: pb.Batch) -> None:
        """What was counted of everything read until now, this batch included."""
        told = self._report.told
        batch.counts.through = self.read
        batch.counts.points = self._counted.points
        batch.counts.attributes = self._counted.attributes
        batch.counts.acknowledged = told.acknowledged
        batch.counts.dropped = dropped_in(self._folder)
        for first, last in told.set_aside:
            batch.counts.set_aside.add(first=first, last=last)

    def _next_row(self) -> Row | None:
        """The next row that is not acknowledged, or None when there is none as of now."""
        acknowledged = self._report.told.acknowledged
        while True:
            fresh = self._rows is None
            if self._rows is None:
                self._rows = self._reader.rows(_READ_BYTES, writer_lives=self.lives)
            try:
                row = next(self._rows, None)
            except OSError as error:
                # What was read so far is sent; this is tried again, and is no end.
                self._stuck = True
                self._report.say_once("error", f"the spool {self._folder} can't be read: {error}")
                row = None
            if row is None:
                self._rows = None
                if fresh:
                    return None
                # The end of a portion, or of what was there when the iterator was made, which
                # may have been before the writer's last words. Only a new look tells.
                continue
            self.read = row.last
            if row.last <= acknowledged:
                # In an earlier life of the shipper, in a segment kept for the rest.
                self._notice_end(row)
            elif left := after(row, acknowledged):
                return left

    def _notice_end(self, row: Row) -> None:
        if isinstance(row, ItemRow):
            item = pb.Item.FromString(row.item)
            if item.WhichOneof("kind") == "writer_status":
                self._ended = item.writer_status.state != pb.WRITER_STATE_RUNNING

    def _end_of_life(self) -> Pending | None:
        """For a writer that died without a word: that it did."""
        if self.lives or self._silent or self._stuck:
            return None
        if self._ended or self._end_sent or not self.read:
            return None
        self._end_sent = True
        # A process that is killed can't remove its lock's file. Without it, it went on in
        # another spool, because somebody removed this one.
        let_go = writer_let_go(self._folder)
        killed = self._header.role == "process" and not let_go
        batch = end_of_life(
            self._header,
            self._report.epoch,
            self.read + 1,
            pb.WRITER_STATE_KILLED if killed else pb.WRITER_STATE_FINISHED,
            "the process ended without saying why" if killed else "",
            # A run that was resumed meanwhile must not seem to have been killed after that.
            time.time_ns() // 1_000_000 if self._met_alive else self._last_sign,
        )
        self.read += 1
        self._add_counts(batch)
        return Pending(self.read, self.read, request_of(batch))


def _last_sign(folder: Path) -> int:
    """When a spool's writer, or its shipper beside it, last wrote; Unix milliseconds."""
    newest = 0.0
    for file in (folder, *folder.glob("*.spool"), folder / PROGRESS):
        with contextlib.suppress(OSError):
            newest = max(newest, file.stat().st_mtime)
    return min(int(newest * 1000), time.time_ns() // 1_000_000)
