"""Ships one spool: reads, sends, hears, frees, tells."""

from __future__ import annotations

import shutil
import time
from collections import deque
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from naiad.shipper import judge
from naiad.shipper.batches import request_of, tally_of_rejected
from naiad.shipper.intake import Intake
from naiad.shipper.pending import Pending
from naiad.shipper.report import Report
from naiad.shipper.server import Server, Verdict, pause_after, verdict
from naiad.shipper.stored import StoredWatch
from naiad.shipper.told import Told
from naiad.shipper.uploads import Uploads
from naiad.spool.folder import writer_life
from naiad.spool.layout import TOKEN, WAITING, Header

# Batches of one spool under way at once: hides the way there and back.
IN_FLIGHT = 4
# A slow trickle of records is sent this often, and the progress file written that often, unless
# somebody waits: each batch costs a sync of the server's log, each telling a file.
LINGER_SECONDS = 0.05
TELL_SECONDS = 0.1
HEARTBEAT_SECONDS = 10.0
# How long a call may go unanswered before it is said; it is waited for much longer.
SILENT_SECONDS = 5.0
# A spool is gone and the store a little behind: how long to ask on what became of it. Longer gaps
# between two looks count as so much: a process that stood still has not asked meanwhile.
AFTER_SECONDS = 5.0
_LONGEST_GAP = 0.5


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
        self.folder = folder
        self.header = header
        self.server = server
        self.finished = False
        self._report = Report(folder, header)
        self._intake = Intake(folder, header, self._report, silence_ends=silence_ends)
        self._judge = judge.Judge(header, server, self._report)
        self._uploads = Uploads(header, server, workers, self._report, self._judge)
        self._stored = StoredWatch(header, server, self._report)
        self._pending: deque[Pending] = deque()
        self._opening: Any = None
        self._opening_since = 0.0
        self._open_failures = 0
        self._open_again_at = 0.0
        self._beating: Any = None
        self._next_heartbeat = 0.0
        self._next_send = 0.0
        self._next_tell = 0.0
        # Does the writer wait for an answer? Then nothing is put off.
        self._waited_for = False
        # Since the spool went: for how long it was asked what became of it, and the last look.
        self._asked_after = 0.0
        self._looked_after = 0.0

    @property
    def told(self) -> Told:
        return self._report.told

    @property
    def waits(self) -> bool:
        """Is something under way?"""
        return bool(self._pending)

    def tick(self) -> bool:
        """Returns whether anything moved."""
        # Asked first: what a writer that is dead now had published can be read below.
        self._intake.meet(writer_life(self.folder))
        lives = self._intake.lives
        self._waited_for = (self.folder / WAITING).exists()
        moved = self._hear()
        if self.server.may_call:
            if not self.told.opened:
                moved |= self._open()
            else:
                moved |= self._resend()
                moved |= self._send()
                self._beat()
        self._notice_silence()
        self._stored.tick(waited_for=self._waited_for)
        now = time.monotonic()
        if now >= self._next_tell or self._waited_for or not lives:
            self._next_tell = now + TELL_SECONDS
            # In this order: a shipper that is killed in between leaves a segment too many, and
            # never a count that is behind what is gone.
            self._tell()
            self._free()
        self._finish()
        return moved

    def tick_afterwards(self) -> bool:
        """For a spool that is sent and gone: hears what is stored and what is said of it late.
        Returns whether there is still something to hear."""
        self._stored.tick(waited_for=True)
        now = time.monotonic()
        self._asked_after += min(now - self._looked_after, _LONGEST_GAP)
        self._looked_after = now
        over = self.told.stored >= self.told.acknowledged
        if over or self._asked_after > AFTER_SECONDS:
            self._report.keep_ledger(final=True)
            return False
        return True

    def close(self) -> None:
        self._intake.close()
        if self.finished:
            self._report.keep_ledger(final=True)
        else:
            self._tell()

    # --- sending -------------------------------------------------------------------------

    def _open(self) -> bool:
        """Raises the epoch above every other writer's of the run, once, before the first
        batch: a clock that is behind must not make this writer the older one. A dead one's
        stays: others may have come after it."""
        if not self._intake.lives or self.told.acknowledged:
            self.told.opened = True
            self.told.epoch = self._report.epoch
            return True
        if self._opening is None:
            if time.monotonic() < self._open_again_at:
                return False
            header = self.header
            self._opening_since = time.monotonic()
            self._opening = self.server.open_writer(header.project, header.run_id, header.writer_id)
            return False
        if not self._opening.done():
            return False
        call, self._opening = self._opening, None
        error = call.exception()
        if error is None:
            self.server.succeeded()
            self.told.trouble = ""
            self.told.epoch = max(self.header.epoch, call.result().highest_epoch + 1)
        elif (why := verdict(error)) in (Verdict.RETRY, Verdict.BLOCKED):
            self._judge.blame_server(error)
            return False
        elif why is Verdict.SUSPECT and self._open_failures < judge.SUSPECT_TRIES:
            # Not the server's pause: other spools have no part in it.
            self._open_again_at = time.monotonic() + pause_after(self._open_failures)
            self._open_failures += 1
            self._report.trouble(self.server.url, error)
            return False
        else:
            # Its batches are going to hear the same, and are kept with the reason.
            self.told.epoch = self.header.epoch
        self.told.opened = True
        # Before anything is sent under it: a restarted shipper has to use the same.
        self._tell()
        return True

    def _send(self) -> bool:
        moved = False
        lives = self._intake.lives
        if lives and not self._waited_for and time.monotonic() < self._next_send:
            return False
        while sum(not p.done and p.upload is None for p in self._pending) < IN_FLIGHT:
            batch = self._intake.next()
            if batch is None:
                break
            moved = True
            self._pending.append(batch)
            if batch.at_rest:
                self._begin(batch)
            if not batch.full:
                # There was no more; what comes now may gather a little.
                self._next_send = time.monotonic() + LINGER_SECONDS
                if lives and not self._intake.file_waits:
                    break
        return moved

    def _begin(self, batch: Pending) -> None:
        if batch.request:
            batch.called_at = time.monotonic()
            batch.call = self.server.write(batch.request)
        else:
            self._uploads.begin(batch)

    def _resend(self) -> bool:
        moved = False
        now = time.monotonic()
        for batch in self._pending:
            if batch.at_rest and now >= batch.try_again_at:
                self._begin(batch)
                moved = True
        return moved

    def _beat(self) -> None:
        now = time.monotonic()
        # Also while a long upload is under way; not beside batches, which say the same.
        if (
            self._intake.lives
            and now >= self._next_heartbeat
            and all(batch.call is None for batch in self._pending)
            and (self._beating is None or self._beating.done())
        ):
            self._next_heartbeat = now + HEARTBEAT_SECONDS
            self._beating = self.server.write(request_of(self._intake.heartbeat()))

    # --- hearing -------------------------------------------------------------------------

    def _hear(self) -> bool:
        moved = False
        for batch in self._pending:
            if batch.upload is not None and batch.upload.done():
                self._uploads.take(batch)
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
        if error is not None:
            if self._judge.gives_up(batch, error):
                self._report.set_aside(batch, f"{error.code().name}: {error.details()}")
            return
        self.server.succeeded()
        self.told.trouble = ""
        self._next_heartbeat = time.monotonic() + HEARTBEAT_SECONDS
        rejections = call.result().rejections
        for rejection in rejections:
            self._report.rejected(rejection)
        if rejections:
            self.told.reject(tally_of_rejected(batch.request, rejections))
        batch.settle()

    def _notice_silence(self) -> None:
        """A server that is stopped, or a network that swallows what it is given, says nothing
        for a minute. Who waits should know what for, and not what was in the way before."""
        called = [batch.called_at for batch in self._pending if batch.call is not None]
        if self._opening is not None:
            called.append(self._opening_since)
        if called and time.monotonic() - min(called) > SILENT_SECONDS:
            text = f"{self.server.url} has not answered for {SILENT_SECONDS:.0f} s"
            self.told.trouble = text
            self._report.say_once("network", text)

    # --- freeing and telling ---------------------------------------------------------------

    def _free(self) -> None:
        self._intake.free()
        self._uploads.free()

    def _finish(self) -> None:
        """The spool goes once its writer is gone and everything is acknowledged."""
        if self._intake.lives or self._pending or not self._intake.drained:
            return
        self._intake.close()
        (self.folder / TOKEN).unlink(missing_ok=True)
        self._report.leave()
        self._report.keep_ledger()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.finished, self._looked_after = True, time.monotonic()

    def _tell(self) -> None:
        self.server.ask_for_dashboard()
        self.told.dashboard = self.server.dashboard or self.told.dashboard
        self.told.read = self._intake.read
        self._report.write()
