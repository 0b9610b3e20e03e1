"""The batch as a whole: whose it is, and which records it carries."""

from __future__ import annotations

import re

from naiad_ingest.validation.columns import check_group, check_string_series
from naiad_ingest.validation.items import check_item
from naiad_proto.changes import CHANGES, OF_PROJECTS, OF_RUNS
from naiad_proto.limits import check_project, check_run_id, shorten
from naiad_proto.v1.records_pb2 import Batch, Rejection
from naiad_proto.versions import MAX_EPOCH, MAX_RECORD

_WRITER_ID = re.compile(r"[0-9a-f]{32}")

# Past these the answer couldn't be carried by a message of gRPC's default size (4 MiB),
# and a sender with so many faults has one that no list of them would tell.
MAX_REJECTIONS = 2_000


class BatchRefused(ValueError):
    """The batch can't be taken at all; the message names the field and what to do."""


def check_identity(project: str, run_id: str) -> None:
    """Raises BatchRefused unless both name a run."""
    if problem := check_project(project) or check_run_id(run_id):
        raise BatchRefused(problem)


def check_writer_id(writer_id: str) -> None:
    """Raises BatchRefused unless it has the form that versions and progress stand on."""
    if not _WRITER_ID.fullmatch(writer_id):
        raise BatchRefused(
            f"writer_id {shorten(writer_id)!r} is not 32 lower-case hexadecimal digits; make"
            " one per spool, at random"
        )


def check_batch(batch: Batch) -> list[Rejection]:
    """What of the batch is not taken; everything else of it is good.

    Raises BatchRefused when its head is wrong, when it has content but no record interval,
    or when more than MAX_REJECTIONS things in it are bad.
    """
    _check_kinds(batch)
    check_writer_id(batch.writer_id)
    if not 1 <= batch.epoch <= MAX_EPOCH:
        raise BatchRefused(
            f"epoch {batch.epoch} is out of range; it is the writer's start in microseconds"
            f" since the Unix epoch, 1 to {MAX_EPOCH}"
        )
    first, last = _interval(batch)
    rejections: list[Rejection] = []
    for index, group in enumerate(batch.groups):
        rejections += check_group(index, group, first, last)
        _bound(rejections)
    for index, series in enumerate(batch.string_series):
        rejections += check_string_series(index, series, first, last)
        _bound(rejections)
    for index, item in enumerate(batch.items):
        if rejection := check_item(index, item, first, last):
            rejections.append(rejection)
            _bound(rejections)
    return rejections


def _check_kinds(batch: Batch) -> None:
    """Changes of a run or a project come alone, and only those of a project have no run."""
    kinds = {str(item.WhichOneof("kind")) for item in batch.items}
    changes = kinds & CHANGES
    if changes and (kinds - changes or batch.groups or batch.string_series):
        raise BatchRefused(
            f"{min(changes)} stands in a batch with other content; send changes of a run in batches"
            " of their own"
        )
    if not changes & OF_PROJECTS:
        check_identity(batch.project, batch.run_id)
    elif changes & OF_RUNS or batch.run_id:
        raise BatchRefused(
            f"{min(changes & OF_PROJECTS)} is about a project; send it alone and without a run_id"
        )
    elif problem := check_project(batch.project):
        raise BatchRefused(problem)


def _interval(batch: Batch) -> tuple[int, int]:
    """First and last record number of the batch; an empty range for a heartbeat."""
    if not batch.HasField("records"):
        if batch.groups or batch.string_series or batch.items:
            raise BatchRefused(
                "the batch has content but no `records` interval; only a heartbeat goes"
                " without: say which record numbers it carries"
            )
        return 1, 0
    first, last = batch.records.first, batch.records.last
    if not 1 <= first <= last <= MAX_RECORD:
        raise BatchRefused(
            f"records {first} to {last} are no interval of record numbers; they begin at 1,"
            f" ascend and end at {MAX_RECORD}"
        )
    return first, last


def _bound(rejections: list[Rejection]) -> None:
    if len(rejections) > MAX_REJECTIONS:
        raise BatchRefused(
            f"more than {MAX_REJECTIONS} things in this batch are bad; send fewer at once to"
            f" be told of each. The first: {rejections[0].message}"
        )
