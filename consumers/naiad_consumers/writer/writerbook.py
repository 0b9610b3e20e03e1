"""What is known of each spool: its state, and which of its records are stored."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from naiad_consumers.writer import columns
from naiad_consumers.writer.intervals import Intervals, covers, merge
from naiad_proto.v1 import log_pb2, records_pb2
from naiad_proto.v1.records_pb2 import Rejection
from naiad_store import Store
from naiad_store.lookups import rows_of_writers

STATES = {
    records_pb2.WRITER_STATE_RUNNING: "running",
    records_pb2.WRITER_STATE_FINISHED: "finished",
    records_pb2.WRITER_STATE_STOPPED: "stopped",
    records_pb2.WRITER_STATE_FAILED: "failed",
    records_pb2.WRITER_STATE_KILLED: "killed",
}
# A writer's progress names the newest of what was said about its records, not all.
KEPT_MESSAGES = 100

_WORD = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [("project", _WORD), ("run", pa.uint64()), ("writer_id", pa.string()), ("epoch", pa.uint64()),
     ("host", _WORD), ("pid", pa.uint32()), ("state", _WORD),
     ("state_version", columns.VERSION), ("reason", pa.string()), ("started_at", columns.TIME),
     ("ended_at", columns.TIME), ("last_seen_at", columns.TIME),
     ("stored", pa.list_(pa.struct([("1", pa.uint64()), ("2", pa.uint64())]))),
     ("points", pa.uint64()), ("rejected", pa.uint64()), ("row_version", pa.uint64())]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class WriterRow:
    """One row of `writers`. Times are milliseconds since the Unix epoch."""

    project: str
    run_id: str
    run: int
    writer_id: str
    epoch: int = 0
    host: str = ""
    pid: int = 0
    state: str = "running"
    state_version: int = 0
    reason: str = ""
    started_at: int = 0
    ended_at: int = 0
    last_seen_at: int = 0
    stored: Intervals = ()
    points: int = 0
    rejected: int = 0
    row_version: int = 0

    def seen(self, at: int, epoch: int) -> WriterRow:
        return replace(
            self,
            epoch=max(self.epoch, epoch),
            last_seen_at=max(self.last_seen_at, at),
            started_at=self.started_at or at,
        )

    def with_status(
        self, status: records_pb2.WriterStatus, timestamp: int, version: int
    ) -> WriterRow:
        """The state as its record says, unless a later record said another."""
        row = self
        if status.state == records_pb2.WRITER_STATE_RUNNING:
            row = replace(
                row, host=status.host, pid=status.pid, started_at=status.started_at or timestamp
            )
        if version < row.state_version or status.state not in STATES:
            return row
        running = status.state == records_pb2.WRITER_STATE_RUNNING
        return replace(
            row,
            state=STATES[status.state],
            state_version=version,
            reason=status.reason,
            ended_at=0 if running else timestamp,
        )

    def with_records(self, first: int, last: int, points: int, rejected: int) -> WriterRow:
        return replace(
            self,
            stored=merge([*self.stored, (first, last)]),
            points=self.points + points,
            rejected=self.rejected + rejected,
        )


@dataclass(frozen=True, slots=True)
class Said:
    """What was said about a spool's records after ingest had taken them."""

    warnings: tuple[records_pb2.Warning, ...] = ()
    rejections: tuple[records_pb2.Rejection, ...] = ()
    rejection_count: int = 0


class WriterBook:
    """The rows of all writers met, loaded from the store when first asked for.

    Keyed by run and writer id. A row that changed is `dirty` until it is stored itself.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: dict[tuple[int, str], WriterRow] = {}
        self._said: dict[str, Said] = {}
        self.dirty: dict[tuple[int, str], WriterRow] = {}

    def load_progress(self, progress: log_pb2.WriterProgress) -> None:
        """What an earlier life of this consumer had said, from the progress topic."""
        self._said[progress.writer_id] = Said(
            tuple(progress.warnings), tuple(progress.late_rejections),
            progress.late_rejection_count,
        )  # fmt: skip

    def load(self, wanted: Iterable[tuple[str, str, int, str]]) -> None:
        """Takes rows of (project, run id, run, writer id) from the store, where unknown."""
        new = {(run, writer): (project, run_id) for project, run_id, run, writer in wanted}
        new = {key: names for key, names in new.items() if key not in self._rows}
        if not new:
            return
        projects = {project for project, _ in new.values()}
        for row in rows_of_writers(self._store, projects, {run for run, _ in new}):
            key = (row["run"], row["writer_id"])
            if key in new:
                self._rows[key] = _from_store(row, new[key][1])
        for (run, writer), (project, run_id) in new.items():
            self._rows.setdefault((run, writer), WriterRow(project, run_id, run, writer))

    def get(self, run: int, writer_id: str) -> WriterRow:
        return self._rows[run, writer_id]

    def found(self, project: str, run_id: str, run: int, writer_id: str) -> WriterRow:
        """The row, also of a writer that was never loaded."""
        return self._rows.get((run, writer_id), WriterRow(project, run_id, run, writer_id))

    def settle(
        self,
        rows: Iterable[WriterRow],
        warnings: Mapping[str, Sequence[records_pb2.Warning]],
    ) -> None:
        """The records that led to these rows are stored."""
        for row in rows:
            self._rows[row.run, row.writer_id] = self.dirty[row.run, row.writer_id] = row
        for writer, new in warnings.items():
            said = self._said.get(writer, Said())
            self._said[writer] = replace(said, warnings=(*said.warnings, *new)[-KEPT_MESSAGES:])

    def refuse(self, row: WriterRow, first: int, last: int, rejection: Rejection) -> None:
        """Records first to last of a writer have been put aside, which is said once."""
        if not covers(row.stored, first, last):
            said = self._said.get(row.writer_id, Said())
            self._said[row.writer_id] = replace(
                said,
                rejections=(*said.rejections, rejection)[-KEPT_MESSAGES:],
                rejection_count=said.rejection_count + 1,
            )
            row = row.with_records(first, last, 0, 1)
        self.settle([row], {})

    def progress(self) -> list[log_pb2.WriterProgress]:
        """What there is to say about dirty rows, once they are stored."""
        return [self._progress_of(row) for row in self.dirty.values()]

    def _progress_of(self, row: WriterRow) -> log_pb2.WriterProgress:
        said = self._said.get(row.writer_id, Said())
        return log_pb2.WriterProgress(
            project=row.project,
            run_id=row.run_id,
            writer_id=row.writer_id,
            epoch=row.epoch,
            stored=[records_pb2.RecordInterval(first=f, last=last) for f, last in row.stored],
            warnings=said.warnings,
            late_rejections=said.rejections,
            late_rejection_count=said.rejection_count,
        )


def table(rows: Iterable[WriterRow]) -> pa.Table:
    """Rows for the store. `row_version` rises with every one of a writer."""
    now = time.time_ns()
    plain = []
    for row in rows:
        plain.append(
            {
                **{name: getattr(row, name) for name in SCHEMA.names},
                "state_version": columns.version_bytes(row.state_version),
                "stored": [{"1": first, "2": last} for first, last in row.stored],
                # Above the last one also when the clock went back.
                "row_version": max(now, row.row_version + 1),
            }
        )
    return pa.Table.from_pylist(plain, schema=SCHEMA)


def _from_store(row: dict[str, object], run_id: str) -> WriterRow:
    values = {name: row[name] for name in SCHEMA.names}
    for name in ("started_at", "ended_at", "last_seen_at"):
        values[name] = round(values[name].timestamp() * 1000)  # type: ignore[attr-defined]
    version = values["state_version"]
    assert isinstance(version, bytes)
    values["state_version"] = int.from_bytes(version, "little")
    values["stored"] = tuple(
        tuple(pair.values())
        for pair in values["stored"]  # type: ignore[attr-defined]
    )
    return WriterRow(run_id=run_id, **values)  # type: ignore[arg-type]
