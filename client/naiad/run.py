"""`naiad.Run`: what training code calls."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from time import time_ns
from types import TracebackType
from typing import Any, Literal

from naiad import _ending
from naiad._arguments import (
    checked_project,
    chosen_mode,
    chosen_namespace,
    chosen_token,
    completion_of,
    config_item,
    create_item,
    fork_micro_step,
    moment,
    names_in,
    sampling_interval,
    time_argument,
    writable_host_folder,
)
from naiad._callbacks import Callbacks, ErrorCallback
from naiad._children import Origin, attached, mute, pickled
from naiad._configs import plan_configs
from naiad._files import spool_file, spool_files
from naiad._links import experiment_page, run_page
from naiad._ranks import ranks_of
from naiad._recording import Recording
from naiad._session import Session, now_ms, say
from naiad._validation import (
    check_files,
    check_histograms,
    check_metrics,
    check_step,
    check_strings,
    check_tags,
)
from naiad.address import check_url
from naiad.exceptions import (
    NaiadClosedError,
    NaiadError,
    NaiadSpoolError,
    NaiadValueError,
)
from naiad.ids import generate_run_id
from naiad.ledger import Ledger, ledger_of
from naiad.settings import (
    DEFAULT_DASHBOARD,
    host_name,
    raise_on_failure,
    server_url,
    spool_bounds,
    tls_files,
)
from naiad.spool.folder import RunMemory, new_writer_id
from naiad.spool.layout import Header
from naiad.types import File, Histogram, SourceTrackingConfig
from naiad_proto.limits import (
    MAX_STRING_BYTES,
)
from naiad_proto.steps import MAX_MICRO_STEP, MICRO
from naiad_proto.v1 import records_pb2 as pb

CLOSE_SECONDS = 30.0

_SOURCE = SourceTrackingConfig()
_LAST_WHOLE_STEP = MAX_MICRO_STEP // MICRO


class Run:
    """One training, followed.

    The methods write to a file of this machine and return; a process beside this one sends
    it. They never raise because of what is logged or of the server's state: a bad item is
    left out, told to `on_error_callback` and the `naiad` logger, and everything else of the
    call is kept. With NAIAD_LOG_FAILURE_ACTION=raise they raise `NaiadValueError` instead.

    Threads may share a run. A forked child that logs becomes a writer of its own.
    """

    callbacks: Callbacks
    _mode: str
    _session: Session | None
    _recording: Recording | None
    # In another process than the one that began the run: from what to make a session.
    _forked_from: Origin | None

    def __init__(
        self,
        *,
        run_id: str | None = None,
        project: str | None = None,
        api_token: str | None = None,
        mode: Literal["async", "offline", "disabled"] | None = None,
        experiment_name: str | None = None,
        creation_time: datetime | None = None,
        fork_run_id: str | None = None,
        fork_step: float | int | None = None,
        log_directory: str | os.PathLike[str] | None = None,
        url: str | None = None,
        tls_ca: str | os.PathLike[str] | None = None,
        tls_cert: str | os.PathLike[str] | None = None,
        tls_key: str | os.PathLike[str] | None = None,
        enable_console_log_capture: bool = True,
        console: Literal["python", "fd"] = "python",
        hardware_interval: float | None = 10.0,
        runtime_namespace: str | None = None,
        source_tracking_config: SourceTrackingConfig | None = _SOURCE,
        inherit_configs: bool = True,
        rank: int | None = None,
        local_rank: int | None = None,
        world_size: int | None = None,
        rank_zero_only: bool = False,
        spool_max_bytes: int | str | None = None,
        block_when_full: float | None = None,
        async_lag_threshold: float | None = None,
        on_async_lag_callback: Callable[[], None] | None = None,
        on_queue_full_callback: ErrorCallback | None = None,
        on_network_error_callback: ErrorCallback | None = None,
        on_error_callback: ErrorCallback | None = None,
        on_warning_callback: ErrorCallback | None = None,
    ) -> None:
        """Begins a run, or goes on with it if the server knows `run_id`.

        run_id: without a slash; made up when left out.
        project: "workspace/name", made on first use; default NAIAD_PROJECT.
        api_token: default NAIAD_API_TOKEN; a server on this machine needs none.
        mode: "async" sends at once, "offline" keeps the data for `naiad sync`, "disabled"
            does nothing at all; default NAIAD_MODE, then "async".
        experiment_name: what the run is called; runs of one name are its versions.
        fork_run_id, fork_step: the run continues that one's series after that step.
        log_directory: folder of the spools; default NAIAD_LOG_DIRECTORY, then .naiad/spool.
        url: of the server; default NAIAD_URL, then grpc://127.0.0.1:7420.
        tls_ca: file with the CA certificates for grpcs:// URLs; default NAIAD_TLS_CA.
        tls_cert, tls_key: PEM files that show the server who this client is, where it asks for
            that; default NAIAD_TLS_CERT and NAIAD_TLS_KEY.
        enable_console_log_capture: keep what the process prints as string series.
        console: "python" keeps what sys.stdout and sys.stderr print; "fd" also what subprocesses
            and C code write, and the last words before a SIGKILL.
        hardware_interval: seconds between hardware samples; None for none.
        runtime_namespace: where those two go; default runtime/<host>.
        source_tracking_config: what to keep of the source code; None for nothing.
        rank, local_rank, world_size: of this process among those that train together; default
            as torchrun, Open MPI, Slurm or Ray say.
        rank_zero_only: on other ranks the logging methods do nothing; what a run records by
            itself (console, hardware, how the process ends) is recorded on every one.
        spool_max_bytes: what all spools of this host there may take together, as bytes or
            "10GB"; default NAIAD_SPOOL_MAX_BYTES, then all but a tenth of the disk.
        block_when_full: seconds that logging may wait for room at that limit or on a full
            disk; default NAIAD_BLOCK_WHEN_FULL, then 0: the newest is dropped and counted.
        async_lag_threshold: seconds; `on_async_lag_callback` is called when the oldest
            record not yet taken by the server is older than that.

        Raises NaiadValueError or NaiadTypeError for a wrong argument, and nothing else.
        """
        self.run_id = generate_run_id() if run_id is None else run_id
        self.experiment_name = experiment_name
        self.project = checked_project(project, self.run_id, experiment_name)
        fork_micro = fork_micro_step(fork_run_id, fork_step)
        born = now_ms() if creation_time is None else time_argument("creation_time", creation_time)
        self._namespace = chosen_namespace(runtime_namespace)
        interval = sampling_interval(hardware_interval)
        bounds = spool_bounds(spool_max_bytes, block_when_full)
        try:
            address = check_url(server_url(url))
            ca_file, cert_file, key_file = tls_files(tls_ca, tls_cert, tls_key)
        except ValueError as error:
            raise NaiadValueError(str(error)) from None

        if console not in ("python", "fd"):
            raise NaiadValueError(f"console {console!r} is none of 'python', 'fd'")
        ranks = ranks_of(rank, local_rank, world_size)
        callbacks = Callbacks(
            on_error=on_error_callback,
            on_warning=on_warning_callback,
            on_network_error=on_network_error_callback,
            on_queue_full=on_queue_full_callback,
            on_async_lag=on_async_lag_callback,
        )
        self._bare(chosen_mode(mode), self.run_id, self.project, callbacks)
        if rank_zero_only and not ranks.leads:
            mute(self)
        if self._mode == "disabled":
            return

        token = None if self._mode == "offline" else chosen_token(api_token)
        host, note = writable_host_folder(log_directory)
        header = Header(
            project=self.project,
            run_id=self.run_id,
            writer_id=new_writer_id(),
            epoch=0,
            url=address,
            host=host_name(),
            pid=os.getpid(),
            mode=self._mode,
            hardware=self._namespace if interval else "",
            hardware_interval=interval or 10.0,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
        )
        try:
            memory = RunMemory(host, self.project, self.run_id)
            header = replace(header, epoch=memory.next_epoch())
            self._session = Session(
                host, header, token, self.callbacks,
                lag_seconds=async_lag_threshold, announce=self._announce, bounds=bounds,
            )  # fmt: skip
        except OSError as error:
            self._mode = "disabled"
            self.callbacks.queue_full(
                NaiadSpoolError(
                    f"no spool can be written in {host} ({error}): NOTHING of run {self.run_id!r}"
                    " is kept. Free some space, or set NAIAD_LOG_DIRECTORY to another folder"
                )
            )
            return
        if note:
            self.callbacks.warning(NaiadSpoolError(note))
        self._session.opening(create_item(born, fork_run_id, fork_micro, inherit_configs))
        if experiment_name is not None:
            self._session.opening(config_item("sys/name", experiment_name))
        try:
            self._recording = Recording(
                self, memory, self._namespace, ranks,
                console=console if enable_console_log_capture else None,
                source=source_tracking_config,
            )  # fmt: skip
        except OSError as error:
            self.callbacks.warning(
                NaiadError(f"neither console nor source of the run are recorded: {error}")
            )
        _ending.watch(self)

    def _bare(self, mode: str, run_id: str, project: str, callbacks: Callbacks) -> None:
        """A run without a spool."""
        self._mode = mode
        self.run_id, self.project = run_id, project
        self.callbacks = callbacks
        self._guard = threading.RLock()
        self._closed = False
        self._session = None
        self._forked_from = None
        self._ended = False
        self._muted = False
        self._recording = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Into a spawned child, where it is a writer of its own as soon as it logs.
        return attached, (type(self), pickled(self))

    # --- logging -------------------------------------------------------------------------

    def log_metrics(
        self,
        data: Mapping[str, float | int],
        step: float | int,
        *,
        timestamp: datetime | float | None = None,
        preview: bool = False,
        preview_completion: float | None = None,
    ) -> None:
        """One point for each path of `data` at `step`, from 0 to below 1e12 with up to six
        fractional digits. NaN and infinities are kept.

        timestamp: a datetime, or Unix seconds; default now.
        preview: a provisional value, which any later point of the same step replaces;
            `preview_completion`, 0 to 1, says how far it is.
        """
        session = self._session or self._reopened()
        if session is None:
            return
        if (
            type(step) is int
            and 0 <= step <= _LAST_WHOLE_STEP
            and timestamp is None
            and not preview
            and preview_completion is None
            and type(data) is dict
            and data
        ):
            try:
                session.spool.metrics(data, step * MICRO, time_ns() // 1_000_000)
                return
            except OSError as error:
                self._lose(session, error)
                return
            except Exception:
                # Something in `data`; the slow way below says what.
                pass
        self._log_metrics_slowly(session, data, step, timestamp, preview, preview_completion)

    def _log_metrics_slowly(
        self,
        session: Session,
        data: Mapping[str, float | int],
        step: float | int,
        timestamp: datetime | float | None,
        preview: bool,
        completion: float | None,
    ) -> None:
        try:
            micro, at = check_step(step), moment(timestamp)
            if completion is not None and not preview:
                raise ValueError("preview_completion is given without preview=True")
            far = completion_of(completion)
        except (ValueError, TypeError) as error:
            self._refuse([f"metrics {names_in(data)}: {error}"])
            return
        good, problems = check_metrics(data)
        if good:
            try:
                if preview:
                    session.spool.preview(good, micro, at, far)
                else:
                    session.spool.metrics(good, micro, at)
            except OSError as error:
                self._lose(session, error)
        self._refuse(problems)

    def log_configs(
        self,
        data: Mapping[str, Any],
        flatten: bool = False,
        cast_unsupported: bool = False,
    ) -> None:
        """Sets single values: int, float, str, bool, datetime, or a set, list or tuple of
        strings.

        flatten: nested mappings, sequences and dataclasses become paths, {"a": {"b": 1}} is
            "a/b".
        cast_unsupported: values of other types become strings instead of being refused.
        """
        session = self._session or self._reopened()
        if session is None:
            return
        good, problems = plan_configs(data, flatten=flatten, cast_unsupported=cast_unsupported)
        for path, value in good.items():
            session.item(config_item(path, value))
        self._refuse(problems)

    def log_string_series(
        self,
        data: Mapping[str, str],
        step: float | int,
        *,
        timestamp: datetime | float | None = None,
    ) -> None:
        """One string for each path of `data` at `step`."""
        session = self._session or self._reopened()
        if session is None:
            return
        placed = self._place("strings", data, step, timestamp)
        if placed is None:
            return
        good, problems = check_strings(data)
        for path, value in good.items():
            try:
                session.spool.string(path, value, *placed)
            except OSError as error:
                self._lose(session, error)
        self._refuse(problems)

    def log_histograms(
        self,
        histograms: Mapping[str, Histogram],
        step: float | int,
        *,
        timestamp: datetime | float | None = None,
    ) -> None:
        """One `naiad.Histogram` for each path at `step`."""
        session = self._session or self._reopened()
        if session is None:
            return
        placed = self._place("histograms", histograms, step, timestamp)
        if placed is None:
            return
        good, problems = check_histograms(histograms)
        for path, histogram in good.items():
            point = pb.HistogramPoint(path=path, step=placed[0], histogram=histogram.message())
            session.item(pb.Item(timestamp=placed[1], histogram_point=point))
        self._refuse(problems)

    def add_tags(self, tags: Iterable[str], group_tags: bool = False) -> None:
        """Adds to sys/tags, or to sys/group_tags."""
        self._change_tags(tags, group_tags, remove=False)

    def remove_tags(self, tags: Iterable[str], group_tags: bool = False) -> None:
        """Removes from sys/tags, or from sys/group_tags."""
        self._change_tags(tags, group_tags, remove=True)

    def _change_tags(self, tags: Iterable[str], group_tags: bool, *, remove: bool) -> None:
        session = self._session or self._reopened()
        if session is None:
            return
        good, problems = check_tags(tags)
        if good:
            path = "sys/group_tags" if group_tags else "sys/tags"
            change = pb.UpdateStringSet(path=path, **{"remove" if remove else "add": good})
            session.item(pb.Item(update_string_set=change))
        self._refuse(problems)

    def assign_files(self, files: Mapping[str, str | Path | bytes | File]) -> None:
        """Stores one file for each path: a file's name, its content as bytes, or a
        `naiad.File`. Files above 16 MiB are read when they are sent: leave them in place."""
        session = self._session or self._reopened()
        if session is None:
            return
        good, problems = check_files(files)
        self._refuse(problems + spool_files(session, good))

    def log_files(
        self,
        files: Mapping[str, str | Path | bytes | File],
        step: float | int,
        *,
        timestamp: datetime | float | None = None,
    ) -> None:
        """As `assign_files`, as a point of a file series at `step`."""
        session = self._session or self._reopened()
        if session is None:
            return
        placed = self._place("files", files, step, timestamp)
        if placed is None:
            return
        good, problems = check_files(files)
        for path, file in good.items():
            point = pb.FilePoint(path=path, step=placed[0])
            item = pb.Item(timestamp=placed[1], file_point=point)
            problems += spool_file(session, path, file, item)
        self._refuse(problems)

    # --- waiting and ending --------------------------------------------------------------

    def wait_for_submission(self, timeout: float | None = None, verbose: bool = True) -> bool:
        """Waits until the server has taken everything logged so far, in its durable log.
        Returns False if that took longer than `timeout` seconds, or the run is offline."""
        return self._wait("acknowledged", timeout, verbose)

    def wait_for_processing(self, timeout: float | None = None, verbose: bool = True) -> bool:
        """Waits until everything logged so far can be read back. Returns False if that took
        longer than `timeout` seconds, or the run is offline."""
        return self._wait("stored", timeout, verbose)

    def _wait(self, what: str, timeout: float | None, verbose: bool) -> bool:
        session = self._session
        if session is None:
            return True
        if session.offline:
            if verbose:
                say("the run is offline: nothing is sent until `naiad sync`")
            return False
        if self._recording:
            self._recording.flush()
        return self._reached(session, what, timeout, verbose=verbose)

    def _reached(
        self, session: Session, what: str, timeout: float | None, *, verbose: bool
    ) -> bool:
        begin = time.monotonic()
        if not session.wait(what, timeout, verbose=verbose):
            return False
        left = None if timeout is None else max(0.0, timeout - (time.monotonic() - begin))
        return self._recording is None or self._recording.wait(what, left)

    def ledger(self) -> Ledger:
        """What became of everything that this process has logged to the run: how much is in
        the server's log, readable, refused, dropped. Can be printed. Counts what waits in the
        spool by reading it, so it is nothing for every step."""
        session = self._session
        if session is None:
            return Ledger(self.project, self.run_id)
        return ledger_of(
            session.spool.folder,
            session.header,
            last_record=session.spool.last_record,
            dropped=session.lost,
        )

    def close(self, timeout: float | None = None) -> None:
        """Ends the run as finished. Waits until the server has taken everything, for at most
        `timeout` seconds (30); what is left then stays in the spool and is sent on, or at
        the next run, or by `naiad sync`. Ctrl-C ends the wait at once."""
        self._end(None)
        self._finish(CLOSE_SECONDS if timeout is None else timeout)

    def terminate(self) -> None:
        """Ends the run as stopped, without waiting. Nothing is lost: the rest is sent by the
        process beside this one."""
        self._write_end(pb.WRITER_STATE_STOPPED, "terminated", None)
        self._finish(0, quiet=True)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end(error)
        self._finish(CLOSE_SECONDS)

    # --- addresses -----------------------------------------------------------------------

    def get_run_url(self) -> str:
        """The run's page in the dashboard."""
        return run_page(self._dashboard(), self.project, self.run_id)

    def get_experiment_url(self) -> str:
        """The dashboard's page with all runs of this experiment."""
        return experiment_page(self._dashboard(), self.project, self.experiment_name)

    def _dashboard(self) -> str:
        if self._session and not self._session.offline:
            return self._session.dashboard(wait=3.0)
        return DEFAULT_DASHBOARD

    def _announce(self, dashboard: str) -> None:
        if not os.environ.get("NAIAD_QUIET"):
            say(f"run {self.run_id} at {run_page(dashboard, self.project, self.run_id)}")

    # --- the end -------------------------------------------------------------------------

    def _end(self, error: BaseException | None) -> None:
        state, reason = _ending.state_of(error)
        self._write_end(state, reason, error if state == pb.WRITER_STATE_FAILED else None)

    def _write_end(
        self, state: pb.WriterState.ValueType, reason: str, error: BaseException | None
    ) -> None:
        with self._guard:
            session = self._session
            if session is None or self._ended:
                return
            self._ended = True
        try:
            if self._recording:
                self._recording.stop(patient=state != pb.WRITER_STATE_STOPPED)
        except KeyboardInterrupt:
            # The second one: what is left to do is a few writes, and no waiting.
            _ending.hurry()
        if error is not None:
            text = "".join(traceback.format_exception(error))
            # Its end says most.
            text = text.encode("utf-8", "replace")[-MAX_STRING_BYTES:].decode("utf-8", "ignore")
            session.item(config_item(f"{self._namespace}/traceback", text))
        session.end(state, reason)

    def _stopped_by(self, signal_name: str) -> None:
        """The process is about to end; what it logs until then is still taken."""
        with self._guard:
            session = self._session
            if session is None or self._ended:
                return
            self._ended = True
        if self._recording:
            self._recording.flush_console()
        session.end(pb.WRITER_STATE_STOPPED, signal_name)

    def _wait_at_end(self, seconds: float, *, quiet: bool = False) -> None:
        session = self._session
        if session is None or session.offline:
            return
        done = False
        if seconds > 0 and not _ending.hurried():
            try:
                done = self._reached(session, "acknowledged", seconds, verbose=True)
            except KeyboardInterrupt:
                _ending.hurry()
        if not done and not quiet and session.spool.folder.exists():
            left = session.spool.last_record - int(session.progress().get("acknowledged", 0))
            if left > 0:
                say(
                    f"run {self.run_id}: {left:,} records are not sent yet. They are safe in"
                    f" {session.spool.folder} and go out as soon as the server can be reached, at"
                    " the latest with `naiad sync`"
                )

    def _finish(self, timeout: float, *, quiet: bool = False) -> None:
        with self._guard:
            if self._closed:
                return
            self._closed = True
            session = self._session
        _ending.forget(self)
        if session is None:
            return
        self._wait_at_end(timeout, quiet=quiet)
        session.close()
        if self._recording:
            self._recording.release()
        if session.offline and not os.environ.get("NAIAD_QUIET"):
            say(f"run {self.run_id} is kept in {session.spool.folder}; send it with `naiad sync`")

    # --- fork ----------------------------------------------------------------------------

    def _after_fork_in_child(self) -> None:
        self._guard = threading.RLock()
        self.callbacks._guard = threading.RLock()
        if self._recording:
            self._recording.leave()
            self._recording = None
        if self._session:
            self._session.after_fork_in_child()
            self._forked_from, self._session = self._session, None

    def _reopened(self) -> Session | None:
        """In a forked child, its own session; else None: there is nowhere to log to."""
        with self._guard:
            if self._session is not None:
                return self._session
            if self._forked_from is None or self._ended:
                return None
            try:
                self._session = self._forked_from.reopened(os.getpid())
            except OSError as error:
                self.callbacks.queue_full(NaiadSpoolError(f"no spool for a child: {error}"))
            self._forked_from = None
            if self._session:
                _ending.watch(self)
            return self._session

    # --- what can't be taken -------------------------------------------------------------

    def _place(self, what: str, data: Any, step: Any, timestamp: Any) -> tuple[int, int] | None:
        """(micro-steps, milliseconds), or None when they can't be told."""
        try:
            return check_step(step), moment(timestamp)
        except (ValueError, TypeError) as error:
            self._refuse([f"{what} {names_in(data)}: {error}"])
            return None

    def _refuse(self, problems: list[str]) -> None:
        for problem in problems:
            self.callbacks.error(NaiadValueError(problem))
        if problems and raise_on_failure():
            raise NaiadValueError("; ".join(problems))

    def _lose(self, session: Session, error: OSError) -> None:
        if self._closed:
            closed = NaiadClosedError(
                f"run {self.run_id!r} is closed; what is logged after that is not kept"
            )
            self.callbacks.error(closed)
            if raise_on_failure():
                raise closed
            return
        session.lose(error)
        if raise_on_failure():
            raise NaiadSpoolError(str(error)) from error
