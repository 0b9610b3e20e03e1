"""Single records: creations, attributes, tags, histograms, files, writer states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from naiad_ingest.validation.values import (
    file_problem,
    histogram_problem,
    step_problem,
    string_value_problem,
    text_problem,
    timestamp_problem,
)
from naiad_proto.limits import (
    check_experiment_name,
    check_path,
    check_run_id,
    check_tag,
    shorten,
)
from naiad_proto.v1 import records_pb2
from naiad_proto.v1.records_pb2 import (
    CreateRun,
    DeleteRun,
    FilePoint,
    HistogramPoint,
    Item,
    PurgeRun,
    Rejection,
    RejectionReason,
    SetAttribute,
    SetRetention,
    UpdateStringSet,
    WriterStatus,
)

MAX_HOST_BYTES = 1024
MAX_END_REASON_BYTES = 64 * 1024
# A hundred years.
MAX_RETENTION_DAYS = 36_500

_INVALID_PATH = records_pb2.REJECTION_REASON_INVALID_PATH
_INVALID_STEP = records_pb2.REJECTION_REASON_INVALID_STEP
_INVALID_VALUE = records_pb2.REJECTION_REASON_INVALID_VALUE
_TOO_LARGE = records_pb2.REJECTION_REASON_TOO_LARGE
_MALFORMED = records_pb2.REJECTION_REASON_MALFORMED
_UNKNOWN_KIND = records_pb2.REJECTION_REASON_UNKNOWN_KIND

_ENDS = frozenset(
    (
        records_pb2.WRITER_STATE_RUNNING,
        records_pb2.WRITER_STATE_FINISHED,
        records_pb2.WRITER_STATE_STOPPED,
        records_pb2.WRITER_STATE_FAILED,
        records_pb2.WRITER_STATE_KILLED,
        records_pb2.WRITER_STATE_EDITING,
    )
)


class _Problem(NamedTuple):
    reason: RejectionReason.ValueType
    message: str


def check_item(index: int, item: Item, first: int, last: int) -> Rejection | None:
    """Why the item is not taken, None when it is; its record must lie in [first, last]."""
    kind = item.WhichOneof("kind")
    body = getattr(item, kind) if kind else None
    problem = _check(index, item, kind, body, first, last)
    if problem is None:
        return None
    return Rejection(
        item_index=index,
        reason=problem.reason,
        message=problem.message,
        path=shorten(getattr(body, "path", "")),
        record=item.record,
    )


def _check(
    index: int, item: Item, kind: str | None, body: Any, first: int, last: int
) -> _Problem | None:
    if kind is None:
        return _Problem(
            _UNKNOWN_KIND,
            f"item {index} (record {item.record}) is of no kind that this server knows; the"
            " client is newer: update the server",
        )
    what = f"item {index} ({kind})"
    if not first <= item.record <= last:
        return _Problem(
            _MALFORMED,
            f"record number {item.record} of {what} is not in the batch's records, {first} to"
            f" {last}",
        )
    if problem := timestamp_problem(f"of {what}", item.timestamp):
        return _Problem(_INVALID_VALUE, problem)
    return _CHECKS[kind](body)


def _create_run(body: CreateRun) -> _Problem | None:
    if problem := timestamp_problem("of the run's creation", body.created_at):
        return _Problem(_INVALID_VALUE, problem)
    if not body.fork_run_id:
        return None
    if problem := check_run_id(body.fork_run_id):
        return _Problem(_INVALID_VALUE, f"the fork's parent: {problem}")
    if problem := step_problem("the fork", body.fork_step):
        return _Problem(_INVALID_STEP, problem)
    return None


def _set_attribute(body: SetAttribute) -> _Problem | None:
    path, value = body.path, body.value
    if problem := check_path(path):
        return _Problem(_INVALID_PATH, problem)
    match value.WhichOneof("kind"):
        case None:
            return _Problem(
                _UNKNOWN_KIND,
                f"the value for {shorten(path)!r} is of no type that this server knows; set"
                " one, or update the server if the client is newer",
            )
        case "string_value":
            text = value.string_value
            if path == "sys/name" and (problem := check_experiment_name(text)):
                return _Problem(_INVALID_VALUE, problem)
            if problem := string_value_problem(path, text):
                return _Problem(_TOO_LARGE, problem)
        case "file_value":
            if problem := file_problem(path, value.file_value):
                return _Problem(_INVALID_VALUE, problem)
    return None


def _update_string_set(body: UpdateStringSet) -> _Problem | None:
    if problem := check_path(body.path):
        return _Problem(_INVALID_PATH, problem)
    for tag in (*body.add, *body.remove):
        if problem := check_tag(body.path, tag):
            return _Problem(_INVALID_VALUE, problem)
    if both := set(body.add) & set(body.remove):
        return _Problem(
            _INVALID_VALUE,
            f"{shorten(min(both))!r} is both added to and removed from {shorten(body.path)!r} by"
            " one record; send two",
        )
    return None


def _point(body: HistogramPoint | FilePoint) -> _Problem | None:
    if problem := check_path(body.path):
        return _Problem(_INVALID_PATH, problem)
    if problem := step_problem(body.path, body.step):
        return _Problem(_INVALID_STEP, problem)
    return None


def _histogram_point(body: HistogramPoint) -> _Problem | None:
    if problem := _point(body):
        return problem
    said = histogram_problem(body.path, body.histogram)
    return _Problem(_INVALID_VALUE, said) if said else None


def _file_point(body: FilePoint) -> _Problem | None:
    if problem := _point(body):
        return problem
    said = file_problem(body.path, body.file)
    return _Problem(_INVALID_VALUE, said) if said else None


def _writer_status(body: WriterStatus) -> _Problem | None:
    if body.state not in _ENDS:
        return _Problem(
            _INVALID_VALUE,
            f"writer state {body.state} is none that this server knows; update it if the client"
            " is newer",
        )
    if problem := timestamp_problem("of the writer's start", body.started_at):
        return _Problem(_INVALID_VALUE, problem)
    if problem := text_problem("the writer's host", body.host, MAX_HOST_BYTES):
        return _Problem(_INVALID_VALUE, problem)
    if (size := len(body.reason.encode())) > MAX_END_REASON_BYTES:
        return _Problem(
            _TOO_LARGE,
            f"the reason of the writer's end has {size} bytes; at most {MAX_END_REASON_BYTES}"
            " are allowed: cut it",
        )
    return None


def _delete_run(body: DeleteRun) -> _Problem | None:
    problem = timestamp_problem("unless_heard_since of the deletion", body.unless_heard_since)
    return _Problem(_INVALID_VALUE, problem) if problem else None


def _purge_run(body: PurgeRun) -> _Problem | None:
    problem = timestamp_problem("deleted_before of the purge", body.deleted_before)
    return _Problem(_INVALID_VALUE, problem) if problem else None


def _set_retention(body: SetRetention) -> _Problem | None:
    for name, days in (("days", body.days), ("trash_days", body.trash_days)):
        if days > MAX_RETENTION_DAYS:
            return _Problem(
                _INVALID_VALUE,
                f"{name} of the retention is {days:,}; at most {MAX_RETENTION_DAYS:,} days are"
                " allowed, and 0 is for ever",
            )
    return None


_CHECKS: Mapping[str, Callable[[Any], _Problem | None]] = {
    "create_run": _create_run,
    "set_attribute": _set_attribute,
    "update_string_set": _update_string_set,
    "histogram_point": _histogram_point,
    "file_point": _file_point,
    "writer_status": _writer_status,
    "delete_run": _delete_run,
    "restore_run": lambda body: None,
    "purge_run": _purge_run,
    "set_retention": _set_retention,
}
