"""What came since the last write to Redis, run by run: only the newest of everything."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from google.protobuf.message import DecodeError

from naiad_consumers.live.layout import MAX_PATHS, STATES, LatestValue, WriterSeen
from naiad_consumers.live.past import RunChange
from naiad_eventlog import Record
from naiad_proto.changes import OF_RUNS, is_change
from naiad_proto.rejections import Rejected
from naiad_proto.series import group_arrays
from naiad_proto.v1 import log_pb2, records_pb2
from naiad_proto.versions import version
from naiad_store.lives import Change

log = logging.getLogger(__name__)

READER_VERSION = 2

# Of which something waits for a Redis that is away.
MAX_RUNS = 10_000

RunName = tuple[str, str]


class UnknownVersion(Exception):
    """The log holds what only a newer Naiad understands."""


@dataclass(slots=True)
class Part:
    """Of the writers of one epoch."""

    values: dict[str, LatestValue] = field(default_factory=dict)
    writers: dict[str, WriterSeen] = field(default_factory=dict)


@dataclass(slots=True)
class News:
    """Of one run: by epoch, since that says of which of its lives it is; and what was done to it,
    in order."""

    parts: dict[int, Part] = field(default_factory=dict)
    changes: list[RunChange] = field(default_factory=list)

    def put_under(self, older: News) -> None:
        """`older` came before. Of so many metrics as are kept at all the newer ones stay."""
        room = MAX_PATHS - sum(len(part.values) for part in self.parts.values())
        for epoch, under in sorted(older.parts.items(), reverse=True):
            part = self.parts.setdefault(epoch, Part())
            for path, value in under.values.items():
                came = part.values.get(path)
                if came is None:
                    room -= 1
                if room >= 0 if came is None else not newer_value(value, came):
                    part.values[path] = value
            for writer_id, seen in under.writers.items():
                heard = part.writers.get(writer_id)
                part.writers[writer_id] = newest_writer(seen, heard) if heard else seen
        self.changes = [
            *older.changes,
            *(replace(one, before=one.before | older.parts.keys()) for one in self.changes),
        ]


def newer_value(old: LatestValue | None, new: LatestValue) -> bool:
    """A point logged again at the same step replaces the earlier one."""
    return old is None or new.step >= old.step


def newest_writer(old: WriterSeen | None, new: WriterSeen) -> WriterSeen:
    """Last heard and state are settled apart: batches may come out of order."""
    if old is None:
        return new
    state = new if new.state and (new.record >= old.record or not old.state) else old
    epoch = max(old.epoch, new.epoch)
    return WriterSeen(max(old.seen_at, new.seen_at), state.state, state.record, epoch)


class Gathering:
    """Takes log records in and gives News out."""

    def __init__(self) -> None:
        self._runs: dict[RunName, News] = {}

    def __bool__(self) -> bool:
        return bool(self._runs)

    def take(self) -> dict[RunName, News]:
        """What was gathered; from here on it gathers anew."""
        runs, self._runs = self._runs, {}
        return runs

    def put_back(self, older: Mapping[RunName, News]) -> None:
        """What was taken and could not be written, under what came since. Of too many runs those
        stay that came last, and of one run as many metrics as are kept at all."""
        newer, self._runs = self._runs, {**older}
        for run, news in newer.items():
            # To the end, also of one that is there.
            under = self._runs.pop(run, News())
            self._runs[run] = news
            news.put_under(under)
        # What was done to a run is said by nobody else.
        unchanged = [run for run, news in self._runs.items() if not news.changes]
        for run in unchanged[: max(0, len(self._runs) - MAX_RUNS)]:
            del self._runs[run]

    def add(self, record: Record) -> None:
        """Leaves out what can't be read: the writer keeps that as a dead letter. Raises
        UnknownVersion."""
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
            log.debug("offset %d can't be read: %s", record.offset, error)
            return
        if is_change(batch):
            self._add_changes(envelope, batch, rejected)
            return
        news = self._runs.setdefault((batch.project, batch.run_id), News())
        part = news.parts.setdefault(batch.epoch, Part())
        seen = WriterSeen(envelope.received_at, "", 0, batch.epoch)
        for index, item in enumerate(batch.items):
            if item.HasField("writer_status") and not rejected.item(index):
                state = STATES.get(item.writer_status.state, "")
                if state:
                    seen = newest_writer(seen, seen._replace(state=state, record=item.record))
        part.writers[batch.writer_id] = newest_writer(part.writers.get(batch.writer_id), seen)
        for path, value in _last_points(batch, rejected):
            if newer_value(part.values.get(path), value):
                part.values[path] = value

    def _add_changes(
        self, envelope: log_pb2.Envelope, batch: records_pb2.Batch, rejected: Rejected
    ) -> None:
        for index, item in enumerate(batch.items):
            if item.WhichOneof("kind") not in OF_RUNS or rejected.item(index):
                continue
            news = self._runs.setdefault((batch.project, batch.run_id), News())
            change = Change(
                batch.epoch, version(batch.epoch, batch.writer_id, item.record),
                envelope.received_at, envelope.principal,
            )  # fmt: skip
            news.changes.append(RunChange(item, change, frozenset(news.parts)))


def _last_points(batch: records_pb2.Batch, rejected: Rejected) -> Iterator[tuple[str, LatestValue]]:
    """Of each group, the point with the highest step of each path; previews are left out."""
    for index, group in enumerate(batch.groups):
        if group.preview or rejected.whole_group(index):
            continue
        try:
            arrays = group_arrays(group)
        except ValueError as error:
            log.debug("a group can't be read: %s", error)
            continue
        paths, rows = arrays.values.shape
        if not rows:
            continue
        mask = rejected.group_mask(index, paths, rows)
        # The last of the rows with the highest step.
        newest = rows - 1 - int(np.argmax(arrays.steps[::-1]))
        step, timestamp = int(arrays.steps[newest]), int(arrays.timestamps[newest])
        column = arrays.values[:, newest].tolist()
        for row, path in enumerate(group.paths):
            if mask is None or not mask[row].any():
                yield path, LatestValue(step, timestamp, column[row])
                continue
            kept = np.flatnonzero(~mask[row])
            if len(kept):
                at = kept[len(kept) - 1 - int(np.argmax(arrays.steps[kept][::-1]))]
                yield (
                    path,
                    LatestValue(
                        int(arrays.steps[at]),
                        int(arrays.timestamps[at]),
                        float(arrays.values[row, at]),
                    ),
                )
