"""What a run records by itself from within the process: its place, its source, its console.

The hardware is the shipper's to sample, once per host (naiad.shipper.hardware).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from naiad import _ending
from naiad._arguments import config_item
from naiad._console import STREAMS
from naiad._console_series import ConsoleSeries
from naiad._files import spool_files
from naiad._git import GIT_SECONDS
from naiad._ranks import Ranks
from naiad._source import Source
from naiad._validation import check_files
from naiad.exceptions import NaiadError
from naiad.settings import default_namespace
from naiad.spool.folder import RunMemory
from naiad.types import SourceTrackingConfig

if TYPE_CHECKING:
    from naiad._console_fd import FdConsole
    from naiad.run import Run

# How long the end of a run waits for what is looked at: git's time and a little more, in seconds.
SOURCE_SECONDS = GIT_SECONDS + 3.0

ConsoleMode = Literal["python", "fd"]


class Recording:
    """One process's part. Nothing here raises into the training."""

    def __init__(
        self,
        run: Run,
        memory: RunMemory,
        namespace: str,
        ranks: Ranks,
        *,
        console: ConsoleMode | None,
        source: SourceTrackingConfig | None,
    ) -> None:
        self._run = run
        self._source_thread: threading.Thread | None = None
        self._console: ConsoleSeries | FdConsole | None = None
        for name, value in ranks.facts().items():
            self._set(f"{namespace}/process/{os.getpid()}/{name}", value)
        if console:
            self._take_over()
        # Held by one process of this host at a time.
        self._primary = memory.console_lock()
        is_primary = self._primary.take()
        if console:
            suffix = _console_suffix(ranks, namespace, is_primary=is_primary)
            paths = {name: f"{namespace}/{name}{suffix}" for name in STREAMS}
            self._console = self._start_console(console, memory, paths)
        if source and (ranks.rank == 0 or is_primary):
            if not ranks.leads:
                source = _of_this_host(source, namespace)
            self._source_thread = threading.Thread(
                target=self._record_source, args=(source,), name="naiad source", daemon=True
            )
            self._source_thread.start()

    def _start_console(
        self, mode: ConsoleMode, memory: RunMemory, paths: Mapping[str, str]
    ) -> ConsoleSeries | FdConsole:
        if mode == "fd":
            # Only here: few runs need it.
            from naiad._console_fd import ConsoleUnavailable, FdConsole

            try:
                below = FdConsole(self._run, paths)
                below.start()
                return below
            except ConsoleUnavailable as error:
                self._run.callbacks.warning(
                    NaiadError(f"{error}; only what Python prints is recorded")
                )
        within = ConsoleSeries(self._run, memory, paths)
        within.start()
        return within

    def _take_over(self) -> None:
        """From a run of the same name that this process began before and has not closed, as a
        notebook does when a cell runs again: else each line would be recorded twice."""
        for run in list(_ending._open):
            before = run._recording
            if (
                before is not None
                and (run.project, run.run_id) == (self._run.project, self._run.run_id)
                and before._console is not None
            ):
                before._console.stop()
                before._console = None
                before.release()

    def flush(self) -> None:
        """Hands over what is there, lines that are not ended yet among it."""
        if self._console:
            self._console.flush()
        self._join_source()

    def flush_console(self) -> None:
        if self._console:
            self._console.flush()

    def stop(self, *, patient: bool = True) -> None:
        """Before the end is written: all that there will be is spooled. Not `patient`: of the
        source, what is known by now."""
        if self._console:
            self._console.stop()
        self._join_source(SOURCE_SECONDS if patient else 1.0)

    def wait(self, what: str, seconds: float | None) -> bool:
        """Until a console that has a spool of its own is "acknowledged" or "stored"."""
        return self._console is None or self._console.wait(what, seconds)

    def release(self) -> None:
        """After the run's end: another process may have the console's plain name."""
        self._primary.release()

    def leave(self) -> None:
        """In a forked child: all of this is the parent's."""
        self._source_thread = None
        if self._console:
            self._console.leave()
            self._console = None

    def _set(self, path: str, value: int) -> None:
        if self._run._session:
            self._run._session.item(config_item(path, value))

    # --- source ----------------------------------------------------------------------------

    def _record_source(self, config: SourceTrackingConfig) -> None:
        """In a thread: git may take its time on a large repository."""
        try:
            session = self._run._session
            if session is None:
                return
            source = Source(config)
            for path, value in source.attributes().items():
                session.item(config_item(path, value))
            spool_files(session, check_files(source.files())[0])
        except Exception as error:
            self._run.callbacks.warning(NaiadError(f"the source could not be looked at: {error}"))

    def _join_source(self, seconds: float = SOURCE_SECONDS) -> None:
        thread = self._source_thread
        if thread and thread is not threading.current_thread():
            thread.join(seconds)


def _console_suffix(ranks: Ranks, namespace: str, *, is_primary: bool) -> str:
    """Behind `stdout`: nothing for the first process of a host. By rank where there is one, so
    that a training that is resumed goes on in the same series."""
    if ranks.rank is None:
        return "" if is_primary else f"_{os.getpid()}"
    # A namespace that was given may be the same on all hosts.
    first_here = ranks.local_rank == 0 and namespace == default_namespace()
    return "" if ranks.leads or first_here else f"_rank{ranks.rank}"


def _of_this_host(config: SourceTrackingConfig, namespace: str) -> SourceTrackingConfig:
    """What differs from host to host, at a place of its own: rank 0 tells the rest."""
    return replace(
        config, namespace=f"{namespace}/{config.namespace}", upload_entry_point=False,
        upload_diff_head=False, upload_diff_upstream=False, upload_run_command=False,
        track_git=False, track_packages=False,
    )  # fmt: skip
