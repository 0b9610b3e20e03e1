"""One process's part in one run: its spool, and a thread that keeps an eye on the shipper."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from naiad._callbacks import Callbacks
from naiad.exceptions import (
    NaiadAuthError,
    NaiadConnectionError,
    NaiadError,
    NaiadRejected,
    NaiadSpoolError,
)
from naiad.ledger import note_dropped, progress_of
from naiad.settings import DEFAULT_DASHBOARD
from naiad.shipper.starting import shipper_runs, start_shipper
from naiad.spool.bounds import Bounds
from naiad.spool.folder import RunMemory, new_writer_id
from naiad.spool.layout import WAITING, Header
from naiad.spool.writer import SpoolWriter
from naiad_proto.v1 import records_pb2 as pb

log = logging.getLogger("naiad")

WATCH_SECONDS = 1.0
POLL_SECONDS = 0.01
# One that ends as soon as it was started is not started again and again.
_START_SECONDS = 5.0
# Silence until a line on stderr says what a wait is about.
QUIET_SECONDS = 2.0
# So long nothing must have been lost until a full spool counts as recovered: a shipper that
# frees a segment now and then must not make a message each time.
CALM_SECONDS = 3.0


class Session:
    """Writes `spool` and watches what becomes of it.

    `spool` is another one after a fork: the parent's is the parent's, and a child that logs
    becomes a writer of its own.
    """

    def __init__(
        self,
        host: Path,
        header: Header,
        token: str | None,
        callbacks: Callbacks,
        *,
        lag_seconds: float | None = None,
        announce: Callable[[str], None] | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """Makes the spool and starts a shipper. Where none can be made, that is told as a
        loss, and tried again each second."""
        self.host = host
        self._token = token
        self.callbacks = callbacks
        self._lag_seconds = lag_seconds
        self._announce = announce
        self.spool = SpoolWriter(host, header, token, bounds=bounds, patient=True)
        # Records that could not be spooled, and those that went with a removed folder.
        self.lost = 0
        self.removed = 0
        self._lost_error: OSError | None = None
        self._lost_at = 0.0
        self._lost_told = 0
        self._full = False
        self._acknowledged = 0
        self._heard = 0
        self._waypoints: deque[tuple[float, int]] = deque()
        self._lagging = False
        self._shipper_started = -_START_SECONDS
        self._shipper_seen = 0.0
        self._dashboard = ""
        self.closed = False
        self._stop = threading.Event()
        self._hearing = threading.RLock()
        self._watching: threading.Thread | None = None
        self._begin()

    @property
    def header(self) -> Header:
        return self.spool.header

    @property
    def offline(self) -> bool:
        return self.header.mode == "offline"

    def _begin(self) -> None:
        states = [pb.WRITER_STATE_RUNNING]
        if self.header.role != "process":
            # A child does not keep the run running: its parent does, and a child that is swept
            # away with its container has nobody to tell its end.
            states.append(pb.WRITER_STATE_FINISHED)
        for state in states:
            status = pb.WriterStatus(
                state=state, started_at=now_ms(), host=self.header.host, pid=self.header.pid
            )
            self.opening(pb.Item(writer_status=status))
        self._ensure_shipper()
        self._watching = threading.Thread(target=self._watch, name="naiad watch", daemon=True)
        self._watching.start()

    def item(self, item: pb.Item) -> None:
        """Spools an item; one that can't be is counted and told."""
        item.timestamp = item.timestamp or now_ms()
        try:
            self.spool.item(item)
        except OSError as error:
            self.lose(error)

    def opening(self, item: pb.Item) -> None:
        """Spools an item that says what this run and writer are; a spool that has to be made
        anew says it again."""
        item.timestamp = item.timestamp or now_ms()
        try:
            self.spool.opening(item)
        except OSError as error:
            self.lose(error)

    def lose(self, error: OSError) -> None:
        """A record could not be spooled. The thread tells it, once and not per call."""
        self.lost += 1
        self._lost_error = error
        self._lost_at = time.monotonic()

    # --- what became of it -----------------------------------------------------------------

    def progress(self) -> dict[str, Any]:
        return progress_of(self.spool.folder)

    def dashboard(self, wait: float = 0.0) -> str:
        """Where the dashboard is; asked of the server by the shipper, so it may take a moment
        at the beginning. Without an answer: where `naiad up` has it by default."""
        deadline = time.monotonic() + wait
        while not self._dashboard:
            self._dashboard = str(self.progress().get("dashboard") or "")
            if self._dashboard or time.monotonic() >= deadline:
                break
            time.sleep(POLL_SECONDS)
        return self._dashboard or DEFAULT_DASHBOARD

    def wait(self, what: str, timeout: float | None, *, verbose: bool) -> bool:
        """Until everything spooled so far is `what`, "acknowledged" or "stored"; False when
        that was not so within `timeout` seconds. Raises KeyboardInterrupt."""
        folder, target = self.spool.folder, self.spool.last_record
        start = time.monotonic()
        said = 0.0
        next_check = start
        try:
            with contextlib.suppress(OSError):
                (folder / WAITING).touch()
            while True:
                if folder != self.spool.folder:
                    # It was removed, and a new one made; its records are numbered from 1.
                    folder, target = self.spool.folder, self.spool.last_record
                    with contextlib.suppress(OSError):
                        (folder / WAITING).touch()
                progress = self.progress()
                done = int(progress.get(what, 0))
                if done >= target:
                    self.hear(progress)
                    return True
                now = time.monotonic()
                if timeout is not None and now - start >= timeout:
                    self.hear(progress)
                    return False
                if now >= next_check:
                    next_check = now + WATCH_SECONDS
                    self._tend()
                    self._ensure_shipper()
                    gone = not self.spool.folder.exists() and progress.get("final", True)
                    if self.spool.homeless or gone:
                        # No folder to wait for: sent and forgotten, or somebody removed it and
                        # no other can be made.
                        return False
                if verbose and now - start >= QUIET_SECONDS and now - said >= 10:
                    said = now
                    self._say_waiting(what, target - done, progress)
                time.sleep(POLL_SECONDS)
        finally:
            with contextlib.suppress(OSError):
                (folder / WAITING).unlink()

    def _say_waiting(self, what: str, left: int, progress: dict[str, Any]) -> None:
        doing = "sent" if what == "acknowledged" else "readable"
        trouble = progress.get("trouble")
        why = f" ({trouble})" if trouble else ""
        say(f"run {self.header.run_id}: waiting for {left:,} records to be {doing}{why}")

    def _ensure_shipper(self) -> None:
        now = time.monotonic()
        if shipper_runs(self.host):
            self._shipper_seen = now
        elif self._shipper_seen > self._shipper_started + WATCH_SECONDS / 2 or (
            now - self._shipper_started > _START_SECONDS
        ):
            self._shipper_started = now
            start_shipper(self.host)

    # --- the thread ------------------------------------------------------------------------

    def _watch(self) -> None:
        due = 0.0
        while not self._stop.is_set():
            try:
                self._tend()
                now = time.monotonic()
                if now >= due:
                    due = now + (WATCH_SECONDS if self._dashboard or self.offline else 0.1)
                    self._look()
            except Exception:
                # Whatever it is: the training goes on, and so does the next look.
                log.exception("a look at the spool failed")
                due = time.monotonic() + WATCH_SECONDS
            # Awake at once when a segment is used up, to make the next.
            self.spool.turned.wait(max(0.0, due - time.monotonic()))
            self.spool.turned.clear()

    def _look(self) -> None:
        self._ensure_shipper()
        progress = self.progress()
        self._acknowledged = int(progress.get("acknowledged", self._acknowledged))
        self.hear(progress)
        self._tell_lost()
        self._measure_lag(progress)
        if not self._dashboard and progress.get("dashboard"):
            self._dashboard = str(progress["dashboard"])
            if self._announce:
                self._announce(self._dashboard)

    def _tend(self) -> None:
        """Looks after the spool, and says what a removed folder took with it."""
        move = self.spool.tend()
        if move is None:
            return
        acknowledged, self._acknowledged = self._acknowledged, 0
        self._heard = 0
        self._waypoints.clear()
        lost = 0 if move.kept else max(0, move.records - move.rescued - acknowledged)
        self.removed += lost
        fate = f"{lost:,} records that were not sent yet are lost"
        if move.kept:
            # Perhaps somebody is still removing it.
            fate = "what it still holds is sent from there"
        elif not lost:
            fate = "nothing is lost"
        self.callbacks.warning(
            NaiadSpoolError(
                f"the spool {move.left} was removed while run {self.header.run_id!r} writes to"
                f" it: {fate}. Logging goes on in {self.spool.folder}"
            )
        )

    def hear(self, progress: dict[str, Any]) -> None:
        """Passes on what the shipper said since the last time."""
        with self._hearing:
            fresh = [m for m in progress.get("messages", ()) if m["n"] > self._heard]
            if fresh:
                self._heard = max(m["n"] for m in fresh)
        for message in fresh:
            text = str(message["text"])
            match message["kind"]:
                case "network":
                    self.callbacks.network_error(
                        NaiadConnectionError(f"{text}; the data waits in the spool")
                    )
                case "auth":
                    self.callbacks.error(NaiadAuthError(text))
                case "warning":
                    self.callbacks.warning(NaiadError(text))
                case _:
                    self.callbacks.error(NaiadRejected(text))

    def _tell_lost(self) -> None:
        """Once when records begin to be lost, and once, with their number, when that ends."""
        if self.lost == self._lost_told:
            return
        note_dropped(self.spool.folder, self.lost)
        if not self._full:
            self._full = True
            self.callbacks.queue_full(
                NaiadSpoolError(
                    f"the spool {self.spool.folder} can't be written ({self._lost_error}):"
                    " what is logged now is lost, until it can. Free some space, raise"
                    " NAIAD_SPOOL_MAX_BYTES, or set NAIAD_LOG_DIRECTORY"
                )
            )
        calm = time.monotonic() - self._lost_at >= CALM_SECONDS
        if self._stop.is_set() or (calm and not self.spool.trouble):
            self._full = False
            lost, self._lost_told = self.lost - self._lost_told, self.lost
            state = "" if self.spool.trouble else " is written again:"
            log.warning(
                "the spool %s%s %s records were lost", self.spool.folder, state, f"{lost:,}"
            )

    def _measure_lag(self, progress: dict[str, Any]) -> None:
        if self._lag_seconds is None:
            return
        acknowledged = int(progress.get("acknowledged", 0))
        now = time.monotonic()
        self._waypoints.append((now, self.spool.last_record))
        while self._waypoints and self._waypoints[0][1] <= acknowledged:
            self._waypoints.popleft()
        lag = now - self._waypoints[0][0] if self._waypoints else 0.0
        if lag > self._lag_seconds and not self._lagging:
            self.callbacks.async_lag()
        self._lagging = lag > self._lag_seconds

    # --- end -------------------------------------------------------------------------------

    def end(self, state: pb.WriterState.ValueType, reason: str) -> None:
        """Writes how this process's part ended."""
        self.item(
            pb.Item(
                writer_status=pb.WriterStatus(
                    state=state, reason=reason, host=self.header.host, pid=self.header.pid
                )
            )
        )

    def close(self) -> None:
        """Lets go of the spool; the shipper sends what is left."""
        if not self.closed:
            self.closed = True
            self._stop.set()
            self.spool.turned.set()
            self._tell_lost()
            if self._watching and self._watching is not threading.current_thread():
                self._watching.join(WATCH_SECONDS)
            self.spool.close()

    def after_fork_in_child(self) -> None:
        """The spool is the parent's; a child that logs gets one of its own, on demand."""
        self.spool.forget()
        self._stop.set()

    def reopened(self, pid: int) -> Session:
        """This session again, for the forked child `pid`. Raises OSError."""
        memory = RunMemory(self.host, self.header.project, self.header.run_id)
        header = replace(
            self.header, writer_id=new_writer_id(), epoch=memory.next_epoch(), pid=pid, role="child"
        )
        return Session(
            self.host,
            header,
            self._token,
            self.callbacks,
            lag_seconds=self._lag_seconds,
            bounds=self.spool.bounds,
        )


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def say(text: str) -> None:
    """A line for the user, beside whatever the training prints."""
    with contextlib.suppress(Exception):
        print(f"naiad: {text}", file=sys.__stderr__ or sys.stderr, flush=True)
