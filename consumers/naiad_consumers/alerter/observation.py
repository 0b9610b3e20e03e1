"""What rules look at: batches of the log, decoded once for all rules, as numpy arrays.

Rules get whole groups of metrics and name the few paths that they want to look at closer,
so that nothing in Python runs per point.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from naiad_consumers.alerter.occurrence import Origin
from naiad_eventlog import Record
from naiad_eventlog.topics import about
from naiad_proto.changes import CHANGES, is_change
from naiad_proto.rejections import Rejected
from naiad_proto.series import group_arrays
from naiad_proto.v1 import log_pb2, records_pb2

log = logging.getLogger(__name__)

# The newest envelopes that this reader understands.
READER_VERSION = 2
EXPERIMENT_PATH = "sys/name"
# Different sets of paths remembered with what rules found out about them.
_MAX_PATH_SETS = 1024


class UnknownVersion(Exception):
    """The log holds what only a newer Naiad understands; skipping it would lose alerts."""


class PathSet:
    """The paths of a group. The same object for the same paths, so that rules can keep with
    it which of them they match."""

    __slots__ = ("_index", "_matches", "names")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._index: dict[str, int] | None = None
        self._matches: dict[str, NDArray[np.intp]] = {}

    def row(self, path: str) -> int | None:
        if self._index is None:
            self._index = {name: row for row, name in enumerate(self.names)}
        return self._index.get(path)

    def matching(self, rule: str, takes: Callable[[str], bool]) -> NDArray[np.intp]:
        """Rows of the paths that `takes` says yes to, found once per rule."""
        rows = self._matches.get(rule)
        if rows is None:
            rows = np.array([i for i, name in enumerate(self.names) if takes(name)], np.intp)
            self._matches[rule] = rows
        return rows


@dataclass(frozen=True, slots=True)
class Group:
    """m metrics of n points each: steps int64[n], records uint64[n], values float64[m, n];
    `valid` bool[m, n] is absent when all are."""

    paths: PathSet
    steps: NDArray[np.int64]
    records: NDArray[np.uint64]
    values: NDArray[np.float64]
    valid: NDArray[np.bool_] | None


@dataclass(frozen=True, slots=True)
class Points:
    """k points of one metric in the order of its writer's spool: int64[k], float64[k]."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    records: NDArray[np.int64]

    def where(self, keep: NDArray[np.bool_]) -> Points:
        return Points(self.steps[keep], self.values[keep], self.records[keep])


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch, less what ingest rejected and less previews, which a later point may take
    back."""

    project: str
    run_id: str
    origin: Origin
    groups: Sequence[Group]
    # (record, status) as said in it.
    states: Sequence[tuple[int, records_pb2.WriterStatus]]
    experiment: str | None
    attributes: Sequence[records_pb2.SetAttribute] = ()
    string_sets: Sequence[records_pb2.UpdateStringSet] = ()
    epoch: int = 0
    # What it does to the run as a whole: names of `naiad_proto.changes`.
    changes: Sequence[str] = ()

    def points(self, path: str) -> Points:
        """All points of a metric, from whichever groups it stands in."""
        steps, values, records = [], [], []
        for group in self.groups:
            row = group.paths.row(path)
            if row is None:
                continue
            keep = slice(None) if group.valid is None else group.valid[row]
            steps.append(group.steps[keep])
            values.append(group.values[row][keep])
            records.append(group.records[keep].astype(np.int64))
        if not steps:
            nothing = np.empty(0, np.int64)
            return Points(nothing, np.empty(0), nothing)
        points = Points(np.concatenate(steps), np.concatenate(values), np.concatenate(records))
        order = np.argsort(points.records, kind="stable")
        return Points(points.steps[order], points.values[order], points.records[order])


@dataclass(slots=True)
class Decoder:
    """Envelopes to batches."""

    _path_sets: OrderedDict[tuple[str, ...], PathSet] = field(default_factory=OrderedDict)

    def decode(self, record: Record) -> Batch | None:
        """None for what can't be read: the writer keeps that as a dead letter, so here a
        line in the log is enough. Raises UnknownVersion."""
        envelope, batch = log_pb2.Envelope(), records_pb2.Batch()
        try:
            envelope.ParseFromString(record.value)
            if envelope.min_reader_version > READER_VERSION:
                raise UnknownVersion(
                    f"{record.topic}/{record.partition} holds at offset {record.offset} a record"
                    f" of version {envelope.min_reader_version}, this Naiad reads up to version"
                    f" {READER_VERSION}: run the newer Naiad that wrote it"
                )
            batch.ParseFromString(envelope.batch)
            rejected = Rejected.of(envelope.rejections)
        except (DecodeError, ValueError) as error:
            log.error(
                "%s/%d offset %d can't be read and raises no alert: %s",
                record.topic,
                record.partition,
                record.offset,
                error,
                extra=about(record),
            )
            return None
        states, experiment = [], None
        attributes, string_sets = [], []
        for index, item in enumerate(batch.items):
            if rejected.item(index):
                continue
            if item.HasField("writer_status"):
                states.append((item.record, item.writer_status))
            elif item.HasField("set_attribute"):
                attributes.append(item.set_attribute)
                if item.set_attribute.path == EXPERIMENT_PATH:
                    experiment = item.set_attribute.value.string_value
            elif item.HasField("update_string_set"):
                string_sets.append(item.update_string_set)
        origin = Origin(record.partition, record.offset, batch.writer_id, envelope.received_at)
        groups = list(self._groups(batch, rejected, record))
        kinds = [str(item.WhichOneof("kind")) for item in batch.items]
        changes = [kind for kind in kinds if kind in CHANGES] if is_change(batch) else []
        return Batch(
            batch.project,
            batch.run_id,
            origin,
            groups,
            states,
            experiment,
            attributes,
            string_sets,
            batch.epoch,
            changes,
        )

    def _groups(
        self, batch: records_pb2.Batch, rejected: Rejected, record: Record
    ) -> Sequence[Group]:
        groups = []
        for index, message in enumerate(batch.groups):
            if message.preview or rejected.whole_group(index):
                continue
            try:
                arrays = group_arrays(message)
            except ValueError as error:
                log.debug("group %d of offset %d left out: %s", index, record.offset, error)
                continue
            left_out = rejected.group_mask(index, *arrays.values.shape)
            groups.append(
                Group(
                    self._path_set(tuple(message.paths)),
                    arrays.steps,
                    arrays.records,
                    arrays.values,
                    None if left_out is None else ~left_out,
                )
            )
        return groups

    def _path_set(self, names: tuple[str, ...]) -> PathSet:
        known = self._path_sets.get(names)
        if known is None:
            known = self._path_sets[names] = PathSet(names)
            if len(self._path_sets) > _MAX_PATH_SETS:
                self._path_sets.popitem(last=False)
        else:
            self._path_sets.move_to_end(names)
        return known
