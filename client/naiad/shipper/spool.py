"""Ships one spool: reads, sends, hears, frees, tells."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from naiad.shipper.batches import BatchBuilder, end_of_life, heartbeat, request_of
from naiad.shipper.server import BLOCKED, RETRY, Server
from naiad.spool.folder import (
    Life,
    read_json,
    read_progress,
    write_json,
    writer_let_go,
    writer_life,
)
from naiad.spool.layout import PROGRESS, REJECTED, TOKEN, WAITING, Header
from naiad.spool.reader import ItemRow, Row, SpoolReader
from naiad_proto.v1 import records_pb2 as pb

log = logging.getLogger("naiad.shipper")

# Batches of one spool under way at once: hides the way there and back.
IN_FLIGHT = 4
HEARTBEAT_SECONDS = 10.0
# How often a server is asked what is readable: while someone waits for it, and else.
ASK_WHILE_WAITING = 0.03
ASK_SECONDS = 2.0
# What the progress file repeats of messages; all of them are in rejected.jsonl.
KEPT_MESSAGES = 50
_READ_BYTES = 4 * 1024 * 1024


@dataclass
class Pending:
    """A batch that is not acknowledged yet."""

    first: int
    last: int
    request: bytes
    call: Any = None
    done: bool = False
    # Its content has to be there first; the request is made then.
    upload: Future[pb.FileReference] | None = None
    row: ItemRow | None = None


@dataclass
class Told:
    """What the progress file says; the training process reads it."""

    acknowledged: int = 0
    stored: int = 0
    read: int = 0
    rejected: int = 0
    epoch: int = 0
    opened: bool = False
    # Newest last, each with a number that rises.
    messages: list[dict[str, Any]] = field(default_factory=list)
    message_count: int = 0
    # Why nothing goes on; empty while it does.
    trouble: str = ""
    dashboard: str = ""

    def say(self, kind: str, text: str) -> None:
        """`kind`: rejected, warning, error, torn."""
        self.message_count += 1
        self.messages.append({"n": self.message_count, "kind": kind, "text": text})
        del self.messages[:-KEPT_MESSAGES]


class SpoolShip:
    """One spool under way. `tick` does what can be done without waiting."""

    def __init__(
        self,
        folder: Path,
        header: Header,
        server: Server,
        workers: Executor,
        *,
        silence_ends: bool = False,
    ) -> None:
        """`silence_ends`: a writer of whom there is only an old heartbeat counts as gone."""
        self._silence_ends = silence_ends
        self._silent = False
        self.folder = folder
        self.header = header
        self.server = server
        self.finished = False
        self._workers = workers
        self._rows: Iterator[Row] | None = None
        self._file_row: ItemRow | None = None
        self._pending: deque[Pending] = deque()
        self._opening: Any = None
        self._asking: Any = None
        self._next_ask = 0.0
        self._next_heartbeat = 0.0
        self._beating: Any = None
        # When its writer died: now, if that is seen happen, else when it last wrote.
        self._met_alive = False
        self._last_sign = _last_sign(folder)
        self._read = 0
        # The last attempt to read failed.
        self._stuck = False
        # Everything that a dead writer left is read.
        self._drained = False
        self._ended = False
        self._end_sent = False
        self._seen: set[tuple[str, str]] = set()
        before = read_progress(folder)
        known = {name: before[name] for name in Told.__dataclass_fields__ if name in before}
        self.told = Told(**known)
        self._reader = SpoolReader(folder, self.told.acknowledged)
        self._written: dict[str, Any] | None = None
        # Could the progress file not be written the last time?
        self._untold = False

    @property
    def epoch(self) -> int:
        return self.told.epoch or self.header.epoch

    @property
    def waits(self) -> bool:
        """Is something under way?"""
        return bool(self._pending)

    @property
    def bytes_waiting(self) -> int:
        return sum(len(pending.request) for pending in self._pending)

    def tick(self) -> bool:
        """Returns whether anything moved."""
        # Asked first: what a writer that is dead now had published can be read below.
        life = writer_life(self.folder)
        self._silent = life is Life.SILENT
        lives = life is Life.LIVES or (self._silent and not self._silence_ends)
        self._met_alive |= lives
        moved = self._hear()
        if self.server.may_call:
            if not self.told.opened:
                moved |= self._open(lives)
            else:
                moved |= self._resend()
                moved |= self._send(lives)
                self._beat(lives)
        self._ask()
        self._free()
        self._finish(lives)
        self._tell()
        return moved

    def close(self) -> None:
        self._reader.close()
        self._tell()

    # --- sending -------------------------------------------------------------------------

    def _open(self, lives: bool) -> bool:
        """Raises the epoch above every other writer's of the run, once, before the first
        batch: a clock that is behind must not make this writer the older one. A dead one's
        stays: others may have come after it."""
        if not lives or self.told.acknowledged:
            self.told.opened = True
            self.told.epoch = self.epoch
            return True
        if self._opening is None:
            header = self.header
            self._opening = self.server.open_writer(header.project, header.run_id, header.writer_id)
            return False
        if not self._opening.done():
            return False
        call, self._opening = self._opening, None
        error = call.exception()
        if error is None:
            self.server.succeeded()
            self.told.epoch = max(self.header.epoch, call.result().highest_epoch + 1)
        elif error.code() in RETRY | BLOCKED:
            self._trouble(error)
            return False
        else:
            # Its batches are going to hear the same, and are kept with the reason.
            self.told.epoch = self.header.epoch
        self.told.opened = True
        # Before anything is sent under it: a restarted shipper has to use the same.
        self._tell()
        return True

    def _send(self, lives: bool) -> bool:
        moved = False
        while sum(1 for pending in self._pending if pending.upload is None) < IN_FLIGHT:
            batch = self._next_batch(lives)
            self._drained = batch is None and not lives and not self._stuck
            if batch is None:
                break
            moved = True
            self._pending.append(batch)
            if batch.upload is None:
                batch.call = self.server.write(batch.request)
                self._next_heartbeat = time.monotonic() + HEARTBEAT_SECONDS
        return moved

    def _next_batch(self, lives: bool) -> Pending | None:
        if self._file_row:
            # It ended the batch before it: a file may take long, and a batch is one interval.
            file_row, self._file_row = self._file_row, None
            self._read = file_row.last
            upload = self._workers.submit(self._upload_file, file_row)
            return Pending(file_row.first, file_row.last, b"", upload=upload, row=file_row)
        self._stuck = False
        builder = BatchBuilder(self.header, self.epoch)
        while not builder.full:
            row = self._next_row(lives)
            if isinstance(row, ItemRow) and row.file:
                self._file_row = row
                break
            if row is None:
                break
            builder.add(row)
        if builder.empty:
            return self._next_batch(lives) if self._file_row else self._end_of_life(lives)
        self._read = builder.last
        batch = builder.build()
        for reason in builder.torn:
            self._reject("torn", {"reason": reason})
        self._ended = builder.ended or self._ended
        return Pending(builder.first, builder.last, request_of(batch))

    def _next_row(self, lives: bool) -> Row | None:
        while True:
            if self._rows is None:
                self._rows = self._reader.rows(_READ_BYTES, writer_lives=lives)
            try:
                row = next(self._rows, None)
            except OSError as error:
                # What was read so far is sent; this is tried again, and is no end.
                self._stuck = True
                self._say_once("error", f"the spool {self.folder} can't be read: {error}")
                row = None
            if row is None:
                self._rows = None
                return None
            if row.last > self.told.acknowledged:
                return row
            # Acknowledged in an earlier life of the shipper, in a segment kept for the rest.
            self._read = row.last
            if isinstance(row, ItemRow):
                status = pb.Item.FromString(row.item)
                if status.WhichOneof("kind") == "writer_status":
                    self._ended = status.writer_status.state != pb.WRITER_STATE_RUNNING

    def _upload_file(self, row: ItemRow) -> pb.FileReference:
        assert row.file
        item = pb.Item.FromString(row.item)
        path = item.set_attribute.path if item.HasField("set_attribute") else item.file_point.path
        while True:
            try:
                return self.server.upload(self.header.project, self.header.run_id, path, row.file)
            except grpc.RpcError as error:
                if error.code() not in RETRY | BLOCKED:
                    raise
                self.server.failed(error)
                # In a thread of the pool; the rest of the spools go on.
                time.sleep(max(0.1, self.server.try_again_at - time.monotonic()))

    def _take_upload(self, batch: Pending) -> None:
        """Makes the file's record, now that its content is there, or says why it isn't."""
        upload, row = batch.upload, batch.row
        assert upload
        assert row
        assert row.file
        batch.upload = None
        error = upload.exception()
        if error is not None:
            text = error.details() if isinstance(error, grpc.RpcError) else str(error)
            name = row.file["name"]
            self._reject(
                "rejected",
                {"record": row.first, "reason": f"file {name!r} could not be uploaded: {text}"},
            )
            batch.done = True
            return
        item = pb.Item.FromString(row.item)
        if item.HasField("set_attribute"):
            item.set_attribute.value.file_value.CopyFrom(upload.result())
        else:
            item.file_point.file.CopyFrom(upload.result())
        builder = BatchBuilder(self.header, self.epoch)
        builder.add(ItemRow(row.first, item.SerializeToString()))
        batch.request = request_of(builder.build())
        if row.file.get("own"):
            Path(str(row.file["source"])).unlink(missing_ok=True)

    def _end_of_life(self, lives: bool) -> Pending | None:
        """For a writer that died without a word: that it did."""
        if lives or self._silent or self._stuck:
            return None
        if self._ended or self._end_sent or not self._read:
            return None
        self._end_sent = True
        # A process that is killed can't remove its lock's file. Without it, it went on in
        # another spool, because somebody removed this one.
        let_go = writer_let_go(self.folder)
        killed = self.header.role == "process" and not let_go
        batch = end_of_life(
            self.header,
            self.epoch,
            self._read + 1,
            pb.WRITER_STATE_KILLED if killed else pb.WRITER_STATE_FINISHED,
            "the process ended without saying why" if killed else "",
            # A run that was resumed meanwhile must not seem to have been killed after that.
            time.time_ns() // 1_000_000 if self._met_alive else self._last_sign,
        )
        self._read += 1
        return Pending(self._read, self._read, request_of(batch))

    def _resend(self) -> bool:
        moved = False
        for batch in self._pending:
            if batch.call is None and not batch.done and batch.upload is None:
                batch.call = self.server.write(batch.request)
                moved = True
        return moved

    def _beat(self, lives: bool) -> None:
        now = time.monotonic()
        # Also while a long upload is under way; not beside batches, which say the same.
        if (
            lives
            and now >= self._next_heartbeat
            and all(batch.call is None for batch in self._pending)
            and (self._beating is None or self._beating.done())
        ):
            self._next_heartbeat = now + HEARTBEAT_SECONDS
            self._beating = self.server.write(request_of(heartbeat(self.header, self.epoch)))

    # --- hearing -------------------------------------------------------------------------

    def _hear(self) -> bool:
        moved = False
        for batch in self._pending:
            if batch.upload is not None and batch.upload.done():
                self._take_upload(batch)
                moved = True
            if batch.call is not None and batch.call.done():
                call, batch.call = batch.call, None
                moved = True
                self._take_answer(batch, call)
        while self._pending and self._pending[0].done:
            self.told.acknowledged = self._pending.popleft().last
        return moved

    def _take_answer(self, batch: Pending, call: Any) -> None:
        error = call.exception()
        if error is None:
            self.server.succeeded()
            self.told.trouble = ""
            batch.done = True
            for rejection in call.result().rejections:
                self._reject(
                    "rejected",
                    {
                        "record": rejection.record,
                        "path": rejection.path,
                        "reason": rejection.message,
                    },
                )
        elif error.code() in RETRY | BLOCKED:
            self._trouble(error)
        else:
            # Sending it again won't help: kept beside the spool, with the reason.
            folder = self.folder / REJECTED
            folder.mkdir(mode=0o700, exist_ok=True)
            (folder / f"{batch.first:012d}.batch").write_bytes(batch.request)
            self._reject(
                "rejected",
                {
                    "record": batch.first,
                    "reason": f"records {batch.first} to {batch.last}: {error.details()}",
                },
            )
            batch.done = True

    def _ask(self) -> None:
        """Asks what is readable by now, and what was said about it late."""
        if self._asking is not None:
            if not self._asking.done():
                return
            call, self._asking = self._asking, None
            error = call.exception()
            if error is not None:
                self.server.failed(error)
                return
            for progress in call.result().writers:
                stored = 0
                for interval in progress.stored:
                    if interval.first <= stored + 1:
                        stored = max(stored, interval.last)
                self.told.stored = max(self.told.stored, stored)
                for warning in progress.warnings:
                    self._say_once("warning", warning.message)
                for rejection in progress.late_rejections:
                    self._say_once("rejected", rejection.message)
            return
        now = time.monotonic()
        if self.told.stored >= self.told.acknowledged or not self.server.may_call:
            return
        waited_for = (self.folder / WAITING).exists()
        if now >= self._next_ask or (
            waited_for and now >= self._next_ask - ASK_SECONDS + ASK_WHILE_WAITING
        ):
            self._next_ask = now + ASK_SECONDS
            header = self.header
            self._asking = self.server.progress(header.project, header.run_id, header.writer_id)

    def _trouble(self, error: grpc.RpcError) -> None:
        self.server.failed(error)
        text = f"{self.server.url}: {error.code().name}: {error.details()}"
        if text != self.told.trouble:
            self.told.trouble = text
            kind = "auth" if error.code() in BLOCKED else "network"
            self._say_once(kind, text)

    def _reject(self, kind: str, what: dict[str, Any]) -> None:
        self.told.rejected += 1
        # On a full disk the message has to do: raised in the middle of a batch, this would
        # cost the batch.
        with (
            contextlib.suppress(OSError),
            (self.folder / "rejected.jsonl").open("a") as file,
        ):
            file.write(json.dumps({"run": self.header.run_id, **what}) + "\n")
        self.told.say(kind, str(what["reason"]))

    def _say_once(self, kind: str, text: str) -> None:
        if (kind, text) not in self._seen:
            self._seen.add((kind, text))
            self.told.say(kind, text)

    # --- freeing and telling ---------------------------------------------------------------

    def _free(self) -> None:
        """Removes segments whose every record is acknowledged."""
        kept = []
        for path, last in self._reader.finished:
            if last <= self.told.acknowledged:
                path.unlink(missing_ok=True)
            else:
                kept.append((path, last))
        self._reader.finished[:] = kept
        for reason in self._reader.damaged:
            self._reject("torn", {"reason": reason})
        self._reader.damaged.clear()

    def _finish(self, lives: bool) -> None:
        """The spool goes once its writer is gone and everything is acknowledged."""
        if lives or self._pending or not self._drained:
            return
        self._reader.close()
        kept = self.folder.parent.parent / REJECTED / self.folder.name
        if self.told.rejected:
            kept.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_json(kept / "spool.json", self.header.as_dict())
            for left in (self.folder / "rejected.jsonl", *(self.folder / REJECTED).glob("*")):
                if left.exists():
                    shutil.move(left, kept / left.name)
        (self.folder / TOKEN).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.finished = True

    def _tell(self) -> None:
        if self.finished:
            return
        self.server.ask_for_dashboard()
        self.told.dashboard = self.server.dashboard or self.told.dashboard
        self.told.read = self._read
        content = dict(vars(self.told))
        if content != self._written:
            try:
                write_json(self.folder / PROGRESS, content)
            except OSError as error:
                # Once and not at each round; a removed folder is for the round itself.
                if not self._untold:
                    log.warning("%s can't be written: %s", self.folder / PROGRESS, error)
                self._untold = True
                return
            self._untold = False
            self._written = {**content, "messages": list(self.told.messages)}


def _last_sign(folder: Path) -> int:
    """When a spool's writer, or its shipper beside it, last wrote; Unix milliseconds."""
    newest = 0.0
    for file in (folder, *folder.glob("*.spool"), folder / PROGRESS):
        with contextlib.suppress(OSError):
            newest = max(newest, file.stat().st_mtime)
    return min(int(newest * 1000), time.time_ns() // 1_000_000)


def read_header(folder: Path) -> Header | None:
    """What a spool says of itself; None when that can't be read."""
    try:
        return Header.from_dict(read_json(folder / "spool.json"))
    except ValueError:
        return None
