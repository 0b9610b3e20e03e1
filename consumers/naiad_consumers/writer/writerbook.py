"""What is known of each spool: its state, and which of its records are stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

import pyarrow as pa
from google.protobuf import json_format

from naiad_consumers.writer import columns
from naiad_consumers.writer.intervals import Intervals, covers, merge
from naiad_consumers.writer.tenure import FIRST_EPOCH, row_versions
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
    records_pb2.WRITER_STATE_EDITING: "editing",
}
# A writer's progress names the newest of what was said about its records, not all.
KEPT_MESSAGES = 100

_WORD = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [("project", _WORD), ("run", pa.uint64()), ("writer_id", pa.string()),
     ("log_partition", pa.uint32()), ("epoch", pa.uint64()), ("host", _WORD),
     ("pid", pa.uint32()), ("state", _WORD), ("state_version", columns.VERSION),
     ("reason", pa.string()), ("started_at", columns.TIME), ("ended_at", columns.TIME),
     ("last_seen_at", columns.TIME),
     ("stored", pa.list_(pa.struct([("1", pa.uint64()), ("2", pa.uint64())]))),
     ("points", pa.uint64()), ("rejected", pa.uint64()), ("warnings", pa.list_(pa.string())),
     ("late_rejections", pa.list_(pa.string())), ("late_rejection_count", pa.uint64()),
     ("freed_bytes", pa.uint64()), ("row_version", pa.uint64())]
)  # fmt: skip


class Spool(NamedTuple):
    """What a row of `writers` is about: a spool, as far as its records stand in one partition."""

    run: int
    writer_id: str
    partition: int


@dataclass(frozen=True, slots=True)
class WriterRow:
    """One row of `writers`. Times are milliseconds since the Unix epoch."""

    project: str
    run_id: str
    run: int
    writer_id: str
    log_partition: int
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
    # The newest of what was said about its records after ingest had taken them.
    warnings: tuple[records_pb2.Warning, ...] = ()
    late_rejections: tuple[Rejection, ...] = ()
    late_rejection_count: int = 0
    # Of a change that purges.
    freed_bytes: int = 0
    row_version: int = 0
    # Not in the table: which records other partitions' rows of the spool hold.
    elsewhere: Intervals = ()

    @property
    def spool(self) -> Spool:
        return Spool(self.run, self.writer_id, self.log_partition)

    @property
    def known(self) -> Intervals:
        """All records of the spool that are stored."""
        return merge([*self.stored, *self.elsewhere]) if self.elsewhere else self.stored

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

    def warned(self, new: Sequence[records_pb2.Warning]) -> WriterRow:
        said = {(warning.path, warning.record) for warning in self.warnings}
        new = [warning for warning in new if (warning.path, warning.record) not in said]
        return replace(self, warnings=(*self.warnings, *new)[-KEPT_MESSAGES:])

    def refused(self, first: int, last: int, rejection: Rejection) -> WriterRow:
        """With records first to last put aside, which is said once."""
        if covers(self.known, first, last):
            return self
        return replace(
            self.with_records(first, last, 0, 1),
            late_rejections=(*self.late_rejections, rejection)[-KEPT_MESSAGES:],
            late_rejection_count=self.late_rejection_count + 1,
        )

    def left_out(self, first: int, last: int, rejection: Rejection) -> WriterRow:
        """With records first to last dropped, for a reason that is told once of a spool."""
        if covers(self.known, first, last):
            return self
        said = any(one.message == rejection.message for one in self.late_rejections)
        return replace(
            self.with_records(first, last, 0, 0),
            late_rejections=(*self.late_rejections, *(() if said else (rejection,)))[
                -KEPT_MESSAGES:
            ],
            late_rejection_count=self.late_rejection_count + 1,
        )

    def changing(self, first: int, last: int, rejected: int) -> WriterRow:
        """Of a change, whose writer only did that."""
        row = self if covers(self.known, first, last) else (
            self.with_records(first, last, 0, rejected)
        )  # fmt: skip
        return replace(row, state="editing")

    def told(self, rejection: Rejection) -> WriterRow:
        return replace(
            self,
            late_rejections=(*self.late_rejections, rejection)[-KEPT_MESSAGES:],
            late_rejection_count=self.late_rejection_count + 1,
        )

    def freed(self, count: int) -> WriterRow:
        """When it is done again there is less to free."""
        return replace(self, freed_bytes=max(self.freed_bytes, count))

    def is_alive(self, since: int) -> bool:
        """Whether it was heard of, or ended, at `since` or later."""
        return max(self.last_seen_at, self.ended_at) >= since

    def emptied(self) -> WriterRow:
        """Of a purged run: only when it was heard, and which records were dealt with."""
        return WriterRow(
            self.project, self.run_id, self.run, self.writer_id, self.log_partition,
            epoch=self.epoch, state="purged", state_version=self.state_version,
            started_at=self.started_at, last_seen_at=self.last_seen_at,
            stored=self.stored, elsewhere=self.elsewhere,
        )  # fmt: skip

    def progress(self) -> log_pb2.WriterProgress:
        return log_pb2.WriterProgress(
            project=self.project,
            run_id=self.run_id,
            writer_id=self.writer_id,
            epoch=self.epoch,
            stored=[records_pb2.RecordInterval(first=f, last=last) for f, last in self.stored],
            warnings=self.warnings,
            late_rejections=self.late_rejections,
            late_rejection_count=self.late_rejection_count,
            freed_bytes=self.freed_bytes,
        )


@dataclass
class WriterBook:
    """The rows of all spools met, loaded from the store when first asked for.

    Good for one tenure: rows are those of the store only while nobody else writes them. A
    row that changed is `dirty` until it is stored itself.
    """

    store: Store
    epoch: int = FIRST_EPOCH
    dirty: dict[Spool, WriterRow] = field(default_factory=dict)
    _rows: dict[Spool, WriterRow] = field(default_factory=dict)
    # Epochs of earlier owners whose progress stands in the log, until ours does.
    _before: dict[Spool, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._versions = row_versions(self.epoch)

    def load(self, wanted: Iterable[tuple[str, str, Spool]]) -> None:
        """Takes rows of (project, run id, spool) from the store, where unknown."""
        new = {spool: names for *names, spool in wanted if spool not in self._rows}
        if not new:
            return
        projects = {project for project, _ in new.values()}
        found = rows_of_writers(self.store, projects, {spool.run for spool in new})
        rows = [_from_store(row) for row in found]
        of_writer: dict[tuple[int, str], list[WriterRow]] = {}
        for row in rows:
            of_writer.setdefault((row.run, row.writer_id), []).append(row)
        for spool, (project, run_id) in new.items():
            row = WriterRow(project, run_id, *spool)
            others: list[tuple[int, int]] = []
            for one in of_writer.get((spool.run, spool.writer_id), []):
                if one.log_partition == spool.partition:
                    row = replace(one, run_id=run_id)
                else:
                    others += one.stored
            self._rows[spool] = replace(row, elsewhere=merge(others))
            before = row.row_version >> 40
            if FIRST_EPOCH <= before != self.epoch:
                self._before[spool] = before

    def of_runs(self, runs: Mapping[int, tuple[str, str]]) -> dict[int, list[WriterRow]]:
        """All rows of runs, given by key with project and run id, as they are in the store: for
        when nothing of them waits to be stored."""
        if not runs:
            return {}
        found = rows_of_writers(self.store, {project for project, _ in runs.values()}, runs)
        spools = [Spool(row["run"], row["writer_id"], row["log_partition"]) for row in found]
        self.load((*runs[spool.run], spool) for spool in spools)
        rows: dict[int, list[WriterRow]] = {}
        for spool in spools:
            rows.setdefault(spool.run, []).append(self.get(spool))
        return rows

    def get(self, spool: Spool) -> WriterRow:
        """It has been loaded."""
        return self._rows[spool]

    def settle(self, rows: Iterable[WriterRow]) -> None:
        """The records that led to these rows are stored."""
        for row in rows:
            self._rows[row.spool] = self.dirty[row.spool] = row

    def table(self) -> pa.Table:
        """The dirty rows for the store: each beats all that were made before it."""
        version = next(self._versions)
        return pa.Table.from_pylist(
            [_to_store(row) | {"row_version": version} for row in self.dirty.values()],
            schema=SCHEMA,
        )

    def progress(self) -> dict[bytes, bytes]:
        """Records of the progress topic: what there is to say of dirty rows, once they are
        stored.

        An owner's word has a key of its own, or one that comes late, from an owner that was
        taken for dead, would be the only one that compaction leaves."""
        return {
            progress_key(spool, self.epoch): row.progress().SerializeToString()
            for spool, row in self.dirty.items()
        }

    def outdated(self) -> list[bytes]:
        """Keys under which earlier owners told what `progress` has told better, once."""
        told = [spool for spool in self.dirty if spool in self._before]
        return [progress_key(spool, self._before.pop(spool)) for spool in told]


def progress_key(spool: Spool, epoch: int) -> bytes:
    return f"{spool.writer_id}/{spool.partition}/{epoch}".encode()


def _to_store(row: WriterRow) -> dict[str, object]:
    return {
        **{name: getattr(row, name) for name in SCHEMA.names},
        "state_version": columns.version_bytes(row.state_version),
        "stored": [{"1": first, "2": last} for first, last in row.stored],
        "warnings": list(map(_as_json, row.warnings)),
        "late_rejections": list(map(_as_json, row.late_rejections)),
    }


def _from_store(row: Mapping[str, object]) -> WriterRow:
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
    values["warnings"] = _from_json(values["warnings"], records_pb2.Warning)
    values["late_rejections"] = _from_json(values["late_rejections"], Rejection)
    return WriterRow(run_id="", **values)  # type: ignore[arg-type]


_Message = TypeVar("_Message", records_pb2.Warning, Rejection)


def _as_json(message: records_pb2.Warning | Rejection) -> str:
    return json_format.MessageToJson(message, preserving_proto_field_name=True, indent=None)


def _from_json(texts: object, kind: type[_Message]) -> tuple[_Message, ...]:
    # Fields that a newer release wrote are none of ours.
    return tuple(
        json_format.Parse(text, kind(), ignore_unknown_fields=True)
        for text in texts  # type: ignore[attr-defined]
    )
