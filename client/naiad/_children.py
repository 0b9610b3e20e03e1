"""A run in another process than that which began it: pickled, and attached there.

A spawned child gets what it works with as pickles. A run's pickle says where the run is, and
nothing secret; the child that logs becomes a writer of its own, as a forked one does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from naiad import _ending
from naiad._arguments import writable_host_folder
from naiad._callbacks import Callbacks
from naiad._session import Session
from naiad.settings import api_token, default_namespace, host_name
from naiad.spool.folder import RunMemory, new_writer_id, read_token
from naiad.spool.layout import Header

if TYPE_CHECKING:
    from naiad.run import Run


class Origin(Protocol):
    """From which a child makes the session that it logs to."""

    def reopened(self, pid: int) -> Session: ...


@dataclass(frozen=True)
class Attachment:
    """Where the process that pickled the run had its spool."""

    host: Path
    spool: Path
    header: Header
    callbacks: Callbacks

    def reopened(self, pid: int) -> Session:
        """A session of this process's own. Raises OSError."""
        host, role, hardware = self.host, "child", self.header.hardware
        if self.header.host != host_name():
            # Sent to another machine, where nobody else looks at the hardware.
            host, _ = writable_host_folder(self.host.parent)
            role, hardware = "process", hardware and default_namespace()
        memory = RunMemory(host, self.header.project, self.header.run_id)
        header = replace(
            self.header, writer_id=new_writer_id(), epoch=memory.next_epoch(), pid=pid,
            host=host_name(), role=role, hardware=hardware,
        )  # fmt: skip
        # Beside the spool it stands in a file that only this user can read; a pickle may end
        # up anywhere.
        token = None if header.mode == "offline" else read_token(self.spool) or api_token()
        return Session(host, header, token, self.callbacks)


def pickled(run: Run) -> dict[str, Any]:
    """What another process needs to know of the run."""
    known: dict[str, Any] = {
        "mode": run._mode, "run_id": run.run_id, "project": run.project,
        "experiment_name": run.experiment_name, "namespace": run._namespace,
        "muted": run._muted, "closed": run._closed or run._ended,
    }  # fmt: skip
    # Of a child that has not logged yet: its parent's.
    origin = run._session or run._forked_from
    if isinstance(origin, Session):
        origin = Attachment(origin.host, origin.spool.folder, origin.header, run.callbacks)
    if isinstance(origin, Attachment):
        known["origin"] = (str(origin.host), str(origin.spool), origin.header.as_dict())
    return known


def attached(kind: type[Run], known: dict[str, Any]) -> Run:
    """The run, in this process; the same object where it is open here already."""
    if "origin" in known:
        host, spool, header_fields = known["origin"]
        header = Header.from_dict(header_fields)
        for run in list(_ending._open):
            if run._session is not None and run._session.header.writer_id == header.writer_id:
                return run
    run = kind.__new__(kind)
    run._bare(known["mode"], known["run_id"], known["project"], Callbacks())
    run.experiment_name, run._namespace = known["experiment_name"], known["namespace"]
    run._closed = run._ended = known["closed"]
    if known["muted"]:
        mute(run)
    if "origin" in known and not known["closed"]:
        run._forked_from = Attachment(Path(host), Path(spool), header, run.callbacks)
    return run


_LOGGING = (
    "log_metrics", "log_configs", "log_string_series", "log_histograms", "add_tags",
    "remove_tags", "assign_files", "log_files",
)  # fmt: skip


def mute(run: Run) -> None:
    """Logging methods do nothing from now on. Set on the object, so that a run that does log
    pays nothing for the question."""
    run._muted = True
    for name in _LOGGING:
        setattr(run, name, _nothing)


def _nothing(*_: Any, **__: Any) -> None:
    return None
