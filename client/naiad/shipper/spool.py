"""Ships one spool: reads, sends, hears, frees, tells."""

from __future__ import annotations

import contextlib
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

from naiad.ledger import dropped_in, keep_ledger
from naiad.shipper.batches import (
    BatchBuilder,
    after,
    end_of_life,
    heartbeat,
    request_of,
    tally_of,
    tally_of_rejected,
)
from naiad.shipper.parking import Parking
from naiad.shipper.server import Server, Verdict, explain, pause_after, verdict
from naiad.shipper.told import Told
from naiad.spool.folder import (
    Life,
    read_json,
    read_progress,
    write_json,
    writer_let_go,
    writer_life,
)
from naiad.spool.layout import PROGRESS, TOKEN, WAITING, Header
from naiad.spool.reader import ItemRow, Row, SpoolReader
from naiad.tally import Tally
from naiad_proto.limits import MAX_MESSAGE_BYTES
from naiad_proto.v1 import records_pb2 as pb

log = logging.getLogger("naiad.shipper")

# Batches of one spool under way at once: hides the way there and back.
IN_FLIGHT = 4
# A slow trickle of records is sent this often, and the progress file written that often, unless
# somebody waits: each batch costs a sync of the server's log, each telling a file.
LINGER_SECONDS = 0.05
TELL_SECONDS = 0.1
HEARTBEAT_SECONDS = 10.0
# How often a server is asked what is readable: while someone waits for it, and else.
ASK_WHILE_WAITING = 0.03
ASK_SECONDS = 2.0
# How long a call may go unanswered before it is said; it is waited for much longer.
SILENT_SECONDS = 5.0
# A server that stumbles over one batch, so often and for so long, while it takes others,
# won't take that one: it is set aside, or it would be sent for ever.
SUSPECT_TRIES = 8
SUSPECT_SECONDS = 300.0
# A spool is gone and the store a little behind: how long to ask on what became of it.
AFTER_SECONDS = 5.0
_READ_BYTES = 4 * 1024 * 1024


@dataclass
class Pending:
    """A batch that is not acknowledged yet."""

    first: int
    last: int
    request: bytes
    tally: Tally = field(default_factory=Tally)
    call: Any = None
    called_at: float = 0.0
    done: bool = False
    # It ended because of its size, not for want of more.
    full: bool = False
    # Its content has to be there first; the request is made then.
    upload: Future[pb.FileReference] | None = None
    row: ItemRow | None = None
    # The server stumbled over it so often, since then; and what it had taken by then.
    failures: int = 0
    failing_since: float = 0.0
    taken_then: int = 0
    try_again_at: float = 0.0

    @property
    def at_rest(self) -> bool:
        return self.call is None and self.upload is None and not self.done


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
        self._next_send = 0.0
        self._next_tell = 0.0
        # Does the writer wait for an answer? Then nothing is put off.
        self._waited_for = False
        self._next_heartbeat = 0.0
        self._beating: Any = None
        self._probing: Any = None
        self._open_failures = 0
        self._open_again_at = 0.0
        # Copies of files that the server has, and whose records it may not have yet.
        self._spent: list[tuple[int, Path]] = []
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
        self.told = Told.of(read_progress(folder))
        # Of all that was read, so that the server can compare it with what arrived.
        self._counted = Tally(*self.told.acknowledged_tally)
        self._reader = SpoolReader(folder, self.told.acknowledged)
        self._parking = Parking(folder, header)
        self._late = 0
        self._written: dict[str, Any] | None = None
        # Could the progress file not be written the last time?
        self._untold = False
        # When the spool went; it is asked a little longer what became of it.
        self._gone_at = 0.0

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
        self._waited_for = (self.folder / WAITING).exists()
        moved = self._hear()
        if self.server.may_call:
            if not self.told.opened:
                moved |= self._open(lives)
            else:
                moved |= self._resend()
                moved |= self._send(lives)
                self._beat(lives)
        self._notice_silence()
        self._ask()
        now = time.monotonic()
        if now >= self._next_tell or self._waited_for or not lives:
            self._next_tell = now + TELL_SECONDS
            # In this order: a shipper that is killed in between leaves a segment too many, and
            # never a count that is behind what is gone.
            self._tell()
            self._free()
        self._finish(lives)
        return moved

    def tick_afterwards(self) -> bool:
        """For a spool that is sent and gone: hears what is stored and what is said of it late.
        Returns whether there is still something to hear."""
        self._ask()
        over = self.told.stored >= self.told.acknowledged
        if over or time.monotonic() - self._gone_at > AFTER_SECONDS:
            keep_ledger(self.folder, self.header, self.told.content(), final=True)
            return False
        return True

    def close(self) -> None:
        self._reader.close()
        if self.finished:
            keep_ledger(self.folder, self.header, self.told.content(), final=True)
        else:
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
            if time.monotonic() < self._open_again_at:
                return False
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
        elif (why := verdict(error)) in (Verdict.RETRY, Verdict.BLOCKED):
            self._trouble(error)
            return False
        elif why is Verdict.SUSPECT and self._open_failures < SUSPECT_TRIES:
            # Not the server's pause: other spools have no part in it.
            self._open_again_at = time.monotonic() + pause_after(self._open_failures)
            self._open_failures += 1
            self._say_trouble(error)
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
        if lives and not self._waited_for and time.monotonic() < self._next_send:
            return False
        while sum(not p.done and p.upload is None for p in self._pending) < IN_FLIGHT:
            batch = self._next_batch(lives)
            self._drained = batch is None and not lives and not self._stuck
            if batch is None:
                break
            moved = True
            self._pending.append(batch)
            if batch.at_rest:
                self._write(batch)
            if not batch.full:
                # There was no more; what comes now may gather a little.
                self._next_send = time.monotonic() + LINGER_SECONDS
                if not self._file_row and lives:
                    break
        return moved

    def _next_batch(self, lives: bool) -> Pending | None:
        if self._file_row:
            # It ended the batch before it: a file may take long, and a batch is one interval.
            file_row, self._file_row = self._file_row, None
            self._read = file_row.last
            self._counted += tally_of(file_row)
            pending = Pending(file_row.first, file_row.last, b"", row=file_row)
            self._upload(pending)
            return pending
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
        self._counted += builder.tally
        batch = builder.build()
        self._add_counts(batch)
        for reason in builder.torn:
            self._torn(reason)
        self._ended = builder.ended or self._ended
        pending = Pending(
            builder.first, builder.last, request_of(batch), builder.tally, full=builder.full
        )
        if len(pending.request) > MAX_MESSAGE_BYTES:
            # One row of very many long paths. gRPC would say RESOURCE_EXHAUSTED for ever.
            size = len(pending.request)
            why = f"{size} bytes; a message has at most {MAX_MESSAGE_BYTES}"
            try:
                self._set_aside(pending, why)
            except OSError as error:
                # It is read and won't be read again, so this is the end of it.
                why = f"records {pending.first} to {pending.last}: {why}; not kept: {error}"
                self._reject("rejected", {"record": pending.first, "reason": why})
                self.told.put_aside(pending.first, pending.last)
                pending.done, pending.request = True, b""
        return pending

    def _next_row(self, lives: bool) -> Row | None:
        """The next row that is not acknowledged, or None when there is none as of now."""
        while True:
            fresh = self._rows is None
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
                if fresh:
                    return None
                # The end of a portion, or of what was there when the iterator was made, which
                # may have been before the writer's last words. Only a new look tells.
                continue
            self._read = row.last
            if row.last <= self.told.acknowledged:
                # In an earlier life of the shipper, in a segment kept for the rest.
                self._notice_end(row)
            elif left := after(row, self.told.acknowledged):
                return left

    def _notice_end(self, row: Row) -> None:
        if isinstance(row, ItemRow):
            item = pb.Item.FromString(row.item)
            if item.WhichOneof("kind") == "writer_status":
                self._ended = item.writer_status.state != pb.WRITER_STATE_RUNNING

    def _upload(self, batch: Pending) -> None:
        row = batch.row
        assert row
        assert row.file
        item = pb.Item.FromString(row.item)
        path = item.set_attribute.path if item.HasField("set_attribute") else item.file_point.path
        batch.upload = self._workers.submit(
            self.server.upload, self.header.project, self.header.run_id, path, row.file
        )

    def _take_upload(self, batch: Pending) -> None:
        """Makes the file's record, now that its content is there, or says why it isn't."""
        upload, row = batch.upload, batch.row
        assert upload
        assert row
        assert row.file
        batch.upload = None
        error = upload.exception()
        if isinstance(error, grpc.RpcError):
            match verdict(error):
                case Verdict.RETRY | Verdict.BLOCKED:
                    self._trouble(error)
                    return
                case Verdict.SUSPECT if not self._hopeless(batch):
                    self._say_trouble(error)
                    return
        if error is not None:
            text = error.details() if isinstance(error, grpc.RpcError) else str(error)
            name = row.file["name"]
            self._reject(
                "rejected",
                {"record": row.first, "reason": f"file {name!r} could not be uploaded: {text}"},
            )
            builder = BatchBuilder(self.header, self.epoch)
            builder.add(row)
            batch.tally = builder.tally
            self.told.reject(builder.tally)
            self.told.put_aside(row.first, row.last)
            if row.file.get("own"):
                self._parking.keep_file(row.first, Path(str(row.file["source"])))
            batch.done = True
            return
        item = pb.Item.FromString(row.item)
        if item.HasField("set_attribute"):
            item.set_attribute.value.file_value.CopyFrom(upload.result())
        else:
            item.file_point.file.CopyFrom(upload.result())
        builder = BatchBuilder(self.header, self.epoch)
        builder.add(ItemRow(row.first, item.SerializeToString()))
        batch.request, batch.tally = request_of(builder.build()), builder.tally
        batch.failures = 0
        if row.file.get("own"):
            # Not before the record is there too: a shipper that follows uploads it again.
            self._spent.append((row.first, Path(str(row.file["source"]))))

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
        self._add_counts(batch)
        return Pending(self._read, self._read, request_of(batch))

    def _add_counts(self, batch: pb.Batch) -> None:
        """What was counted of everything read until now, this batch included."""
        batch.counts.through = self._read
        batch.counts.points = self._counted.points
        batch.counts.attributes = self._counted.attributes
        batch.counts.acknowledged = self.told.acknowledged
        batch.counts.dropped = dropped_in(self.folder)
        for first, last in self.told.set_aside:
            batch.counts.set_aside.add(first=first, last=last)

    def _write(self, batch: Pending) -> None:
        batch.called_at = time.monotonic()
        batch.call = self.server.write(batch.request)

    def _resend(self) -> bool:
        moved = False
        now = time.monotonic()
        for batch in self._pending:
            if batch.at_rest and now >= batch.try_again_at:
                if batch.request:
                    self._write(batch)
                else:
                    self._upload(batch)
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
            batch = heartbeat(self.header, self.epoch)
            self._add_counts(batch)
            self._beating = self.server.write(request_of(batch))

    def _notice_silence(self) -> None:
        """A server that is stopped, or a network that swallows what it is given, says nothing
        for a minute. Who waits should know what for."""
        called = [batch.called_at for batch in self._pending if batch.call is not None]
        if called and time.monotonic() - min(called) > SILENT_SECONDS and not self.told.trouble:
            text = f"{self.server.url} has not answered for {SILENT_SECONDS:.0f} s"
            self.told.trouble = text
            self._say_once("network", text)

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
            batch = self._pending.popleft()
            self.told.acknowledge(batch.last, batch.tally)
        return moved

    def _take_answer(self, batch: Pending, call: Any) -> None:
        error = call.exception()
        if error is None:
            self.server.succeeded()
            self.told.trouble = ""
            self._next_heartbeat = time.monotonic() + HEARTBEAT_SECONDS
            rejections = call.result().rejections
            for rejection in rejections:
                self._reject(
                    "rejected",
                    {
                        "record": rejection.record,
                        "path": rejection.path,
                        "reason": rejection.message,
                    },
                )
            if rejections:
                self.told.reject(tally_of_rejected(batch.request, rejections))
            batch.done, batch.request = True, b""
            return
        match verdict(error):
            case Verdict.RETRY | Verdict.BLOCKED:
                self._trouble(error)
            case Verdict.SUSPECT if not self._hopeless(batch):
                self._say_trouble(error)
            case _:
                self._set_aside(batch, f"{error.code().name}: {error.details()}")

    def _hopeless(self, batch: Pending) -> bool:
        """Counts one more failure of the batch itself; True once it is to be set aside."""
        now = time.monotonic()
        if not batch.failures:
            batch.failing_since, batch.taken_then = now, self.server.taken
        batch.failures += 1
        batch.try_again_at = now + pause_after(batch.failures)
        if batch.failures < SUSPECT_TRIES or now - batch.failing_since < SUSPECT_SECONDS:
            return False
        # A server that takes nothing at all is sick, and says nothing of this batch.
        self._probe()
        return self.server.taken > batch.taken_then

    def _probe(self) -> None:
        """Asks something harmless, where nothing else is under way that would tell."""
        if self._probing is None:
            header = self.header
            self._probing = self.server.open_writer(header.project, header.run_id, header.writer_id)
        elif self._probing.done():
            if self._probing.exception() is None:
                self.server.succeeded()
            self._probing = None

    def _set_aside(self, batch: Pending, why: str) -> None:
        """Keeps a batch beside the spool, with the reason, and goes on without it."""
        self._parking.keep_batch(batch.first, batch.request)
        self._reject(
            "rejected",
            {"record": batch.first, "reason": f"records {batch.first} to {batch.last}: {why}"},
        )
        self.told.reject(batch.tally)
        self.told.put_aside(batch.first, batch.last)
        batch.done, batch.request = True, b""

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
                self.told.store(min(stored, self.told.acknowledged))
                for warning in progress.warnings:
                    self._say_once("warning", warning.message)
                for rejection in progress.late_rejections:
                    self._reject(
                        "rejected",
                        {
                            "record": rejection.record,
                            "path": rejection.path,
                            "reason": rejection.message,
                        },
                    )
            return
        now = time.monotonic()
        if self.told.stored >= self.told.acknowledged or not self.server.may_call:
            return
        waited_for = self._gone_at or self._waited_for
        if now >= self._next_ask or (
            waited_for and now >= self._next_ask - ASK_SECONDS + ASK_WHILE_WAITING
        ):
            self._next_ask = now + ASK_SECONDS
            header = self.header
            self._asking = self.server.progress(header.project, header.run_id, header.writer_id)

    def _trouble(self, error: grpc.RpcError) -> None:
        self.server.failed(error)
        self._say_trouble(error)

    def _say_trouble(self, error: grpc.RpcError) -> None:
        text = explain(self.server.url, error)
        if text != self.told.trouble:
            self.told.trouble = text
            kind = "auth" if verdict(error) is Verdict.BLOCKED else "network"
            self._say_once(kind, text)

    def _reject(self, kind: str, what: dict[str, Any]) -> None:
        try:
            fresh = self._parking.add(what)
        except OSError:
            # On a full disk the message has to do: raised in the middle of a batch, this would
            # cost the batch.
            fresh = True
        if fresh:
            self.told.rejected += 1
            self.told.say(kind, str(what["reason"]))

    def _torn(self, reason: str) -> None:
        self.told.torn += 1
        self._reject("torn", {"reason": reason})

    def _say_once(self, kind: str, text: str) -> None:
        if (kind, text) not in self._seen:
            self._seen.add((kind, text))
            self.told.say(kind, text)

    # --- freeing and telling ---------------------------------------------------------------

    def _free(self) -> None:
        """Removes segments whose every record is acknowledged, and files that went with them."""
        kept = []
        for path, last in self._reader.finished:
            if last <= self.told.acknowledged:
                path.unlink(missing_ok=True)
            else:
                kept.append((path, last))
        self._reader.finished[:] = kept
        for record, file in self._spent:
            if record <= self.told.acknowledged:
                file.unlink(missing_ok=True)
        self._spent = [(r, file) for r, file in self._spent if r > self.told.acknowledged]
        for reason in self._reader.damaged:
            self._torn(reason)
        self._reader.damaged.clear()

    def _finish(self, lives: bool) -> None:
        """The spool goes once its writer is gone and everything is acknowledged."""
        if lives or self._pending or not self._drained:
            return
        self._reader.close()
        (self.folder / TOKEN).unlink(missing_ok=True)
        self._parking.leave()
        keep_ledger(self.folder, self.header, self.told.content())
        shutil.rmtree(self.folder, ignore_errors=True)
        self.finished, self._gone_at = True, time.monotonic()

    def _tell(self) -> None:
        self.server.ask_for_dashboard()
        self.told.dashboard = self.server.dashboard or self.told.dashboard
        self.told.read = self._read
        content = self.told.content()
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
            self._written = content


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
