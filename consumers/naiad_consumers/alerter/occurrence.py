"""One occurrence of an alert: raised once, resolved at most once, under one id for ever."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from naiad_proto.steps import from_micro
from naiad_store.keys import run_key


class Severity(enum.StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Event(enum.StrEnum):
    """What a sink is told of an occurrence, in this order."""

    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule keeps a state for: a metric of a run, or (`path` empty) a writer of it."""

    rule: str
    project: str
    run_id: str
    path: str = ""
    writer_id: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in the log, and in whose spool, the data stood that changed an alert's state.

    `received_at`: milliseconds since the Unix epoch, when ingest took it.
    """

    partition: int
    offset: int
    writer_id: str
    received_at: int


@dataclass(frozen=True, slots=True)
class Occurrence:
    """`step` in micro-steps; times in milliseconds since the Unix epoch, UTC; `changed` and
    `record` say what raised it or, once resolved, what resolved it."""

    id: str
    subject: Subject
    severity: Severity
    experiment: str
    step: int | None
    value: float | None
    message: str
    raised_at: int
    sinks: tuple[str, ...]
    changed: Origin
    record: int
    resolved_at: int | None = None

    @property
    def is_open(self) -> bool:
        return self.resolved_at is None

    @property
    def events(self) -> tuple[Event, ...]:
        """What has happened to it so far."""
        return (Event.FIRING,) if self.is_open else (Event.FIRING, Event.RESOLVED)

    def resolved(self, changed: Origin, record: int) -> Occurrence:
        return dataclasses.replace(
            self, resolved_at=changed.received_at, changed=changed, record=record
        )


def occurrence_id(subject: Subject, began: str) -> str:
    """32 hexadecimal digits, the same for the same beginning whenever it is seen again.

    `began` names the beginning in terms of the data itself (a writer and its record), never
    of the log, where a resend stands at another place.
    """
    parts = (*dataclasses.astuple(subject), began)
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).hexdigest()


def payload(occurrence: Occurrence, event: Event, dashboard_url: str = "") -> dict[str, Any]:
    """What a webhook receives. JSON knows no NaN or infinity: they go as strings."""
    subject = occurrence.subject
    body: dict[str, Any] = {
        "id": occurrence.id,
        "state": str(event),
        "rule": subject.rule,
        "severity": str(occurrence.severity),
        "project": subject.project,
        "run_id": subject.run_id,
        "experiment": occurrence.experiment or None,
        "path": subject.path or None,
        "writer_id": subject.writer_id or None,
        "step": None if occurrence.step is None else from_micro(occurrence.step),
        "value": _json_number(occurrence.value),
        "message": occurrence.message,
        "raised_at": _iso(occurrence.raised_at),
        "resolved_at": None,
    }
    if event is Event.RESOLVED and occurrence.resolved_at is not None:
        body["resolved_at"] = _iso(occurrence.resolved_at)
    if dashboard_url:
        body["url"] = run_url(dashboard_url, subject.project, subject.run_id)
    return body


def run_url(dashboard_url: str, project: str, run_id: str) -> str:
    """The run's page."""
    query = f"project={quote(project, safe='')}&run_id={quote(run_id, safe='')}"
    return f"{dashboard_url.rstrip('/')}/run?{query}"


def line(occurrence: Occurrence, event: Event) -> str:
    """One readable line for a log."""
    subject = occurrence.subject
    what = "resolved" if event is Event.RESOLVED else str(occurrence.severity)
    return (
        f"alert [{what}] {subject.rule}: {occurrence.message}"
        f" (project {subject.project}, run {subject.run_id}, id {occurrence.id})"
    )


def _json_number(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _iso(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_TIME = pa.timestamp("ms", tz="UTC")
_SCHEMA = pa.schema(
    [
        ("occurrence", pa.string()),
        ("rule", pa.string()),
        ("severity", pa.string()),
        ("project", pa.string()),
        ("run", pa.uint64()),
        ("run_id", pa.string()),
        ("experiment", pa.string()),
        ("path", pa.string()),
        ("writer_id", pa.string()),
        ("step", pa.decimal128(18, 6)),
        ("value", pa.float64()),
        ("message", pa.string()),
        ("raised_at", _TIME),
        ("resolved_at", _TIME),
        ("sinks", pa.list_(pa.string())),
        ("open", pa.uint8()),
        ("log_partition", pa.int32()),
        ("log_offset", pa.int64()),
        ("source", pa.string()),
        ("record", pa.uint64()),
        ("row_version", pa.uint64()),
    ]
)


def to_rows(occurrences: Sequence[Occurrence]) -> pa.Table:
    """Rows of the table `alerts`.

    An occurrence only ever goes from open to resolved, so its version is 1, then 2: writing
    a state again changes nothing.
    """
    rows = [
        {
            "occurrence": o.id,
            "rule": o.subject.rule,
            "severity": str(o.severity),
            "project": o.subject.project,
            "run": run_key(o.subject.project, o.subject.run_id),
            "run_id": o.subject.run_id,
            "experiment": o.experiment,
            "path": o.subject.path,
            "writer_id": o.subject.writer_id,
            "step": None if o.step is None else Decimal(o.step).scaleb(-6),
            "value": o.value,
            "message": o.message,
            "raised_at": o.raised_at,
            "resolved_at": o.resolved_at or 0,
            "sinks": list(o.sinks),
            "open": int(o.is_open),
            "log_partition": o.changed.partition,
            "log_offset": o.changed.offset,
            "source": o.changed.writer_id,
            "record": o.record,
            "row_version": 1 if o.is_open else 2,
        }
        for o in occurrences
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def from_row(row: dict[str, Any]) -> Occurrence:
    """An occurrence of a row as `naiad_store.selects.alerts` gives it."""
    changed_at = row["raised_at_ms"] if row["open"] else row["resolved_at_ms"]
    return Occurrence(
        id=row["occurrence"],
        subject=Subject(row["rule"], row["project"], row["run_id"], row["path"], row["writer_id"]),
        severity=Severity(row["severity"]),
        experiment=row["experiment"],
        step=None if row["step"] is None else int(row["step"].scaleb(6)),
        value=row["value"],
        message=row["message"],
        raised_at=row["raised_at_ms"],
        sinks=tuple(row["sinks"]),
        changed=Origin(row["log_partition"], row["log_offset"], row["source"], changed_at),
        record=row["record"],
        resolved_at=None if row["open"] else row["resolved_at_ms"],
    )
