"""One batch: from messages to rows of every table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from naiad_consumers.writer import columns
from naiad_consumers.writer.intervals import covers, inside
from naiad_consumers.writer.itemrows import NO_FILE, file_row, value_row
from naiad_consumers.writer.marks import Touch
from naiad_consumers.writer.names import NameGroup
from naiad_consumers.writer.parsing import Parsed
from naiad_consumers.writer.writerbook import Spool
from naiad_proto.limits import shorten
from naiad_proto.rejections import Rejected
from naiad_proto.series import GroupArrays, StringArrays, group_arrays, string_arrays
from naiad_proto.v1.records_pb2 import Item, SeriesGroup, StringSeries, Warning
from naiad_proto.versions import version, writer_hash

if TYPE_CHECKING:
    from naiad_consumers.writer.block import Block

_ALL_BITS = (1 << 128) - 1


class BatchRows:
    """Adds one batch to a block. Raises ValueError for one that can't be read; rows that it
    had added by then stay, which is harmless: its dead letter, replayed, gives them again."""

    def __init__(self, block: Block, parsed: Parsed, spool: Spool, incarnation: int) -> None:
        self.block = block
        self.envelope = envelope = parsed.envelope
        self.batch = batch = parsed.batch
        self.run = spool.run
        self.incarnation = incarnation
        self.hash = writer_hash(batch.writer_id)
        self.rejected = Rejected.of(envelope.rejections)
        self.row = block.writer(spool).seen(envelope.received_at, batch.epoch)
        # Records that were stored before: their points have been counted.
        self.known = self.row.known
        self.points = 0
        self.warnings: list[Warning] = []

    def add(self) -> None:
        batch = self.batch
        groups = [
            (index, group, group_arrays(group))
            for index, group in enumerate(batch.groups)
            if not self.rejected.whole_group(index)
        ]
        strings = [
            (index, series, string_arrays(series))
            for index, series in enumerate(batch.string_series)
            if not self.rejected.whole_string_series(index)
        ]
        for index, group, arrays in groups:
            self._add_group(index, group, arrays)
        for index, series, columns_ in strings:
            self._add_strings(index, series, columns_)
        created = False
        for index, item in enumerate(batch.items):
            if not self.rejected.item(index):
                self._add_item(item)
                created = created or item.WhichOneof("kind") == "create_run"
        if created:
            self.block.met[self.run] = (batch.project, batch.run_id)
        elif self.run not in self.block.met and not self.block.runs.is_known(self.run):
            self._add_placeholder()
        self._count()
        if self.warnings:
            self.row = self.row.warned(self.warnings)
        self.block.changed[self.row.spool] = self.row

    def _add_group(self, index: int, group: SeriesGroup, arrays: GroupArrays) -> None:
        batch = self.batch
        m, n = arrays.values.shape
        if not n or not m:
            return
        left_out = self.rejected.group_mask(index, m, n)
        paths = tuple(group.paths)
        names = self.block.paths.group(paths)
        self.block.points.add_group(
            batch.project, self.run, names, arrays, writer=self.hash, epoch=batch.epoch,
            preview=group.preview, left_out=left_out,
        )  # fmt: skip
        self._touch(group, paths, names, arrays)
        new = ~inside(self.known, arrays.records)
        if left_out is None:
            self._add_last_of_group(names.numbers, group.preview, arrays, slice(None))
            self._meet("float_series", paths, group.first_record, names)
            self.points += m * int(np.count_nonzero(new))
            return
        # Rejections are rare; paths with the same rows left out could share, but needn't.
        kept = np.flatnonzero(~left_out.all(axis=1)).tolist()
        for number in kept:
            self._add_last_of_group(
                names.numbers, group.preview, arrays, slice(number, number + 1),
                np.flatnonzero(~left_out[number]),
            )  # fmt: skip
        self._meet("float_series", [paths[number] for number in kept], group.first_record)
        self.points += int(np.count_nonzero(~left_out & new))

    def _touch(
        self, group: SeriesGroup, paths: tuple[str, ...], names: NameGroup, arrays: GroupArrays
    ) -> None:
        if not group.preview:
            steps = arrays.steps
            self.block.touches.append(
                Touch(
                    self.batch.project, self.batch.run_id, self.run, self.row.log_partition, names,
                    paths, int(steps.min()), int(steps.max()), len(steps),
                )
            )  # fmt: skip

    def _add_last_of_group(
        self,
        numbers: npt.NDArray[np.int32],
        preview: bool,
        arrays: GroupArrays,
        paths: slice,
        rows: npt.NDArray[np.intp] | None = None,
    ) -> None:
        steps, records = arrays.steps, arrays.records
        if rows is None:
            at = _last_of(steps, records)
        else:
            at = int(rows[_last_of(steps[rows], records[rows])])
        self.block.series.add(
            self.batch.project, self.run, "float_series", numbers[paths], step=int(steps[at]),
            timestamp=int(arrays.timestamps[at]), record=int(records[at]), writer=self.hash,
            epoch=self.batch.epoch, preview=preview, numbers=arrays.values[paths, at],
        )  # fmt: skip

    def _add_strings(self, index: int, series: StringSeries, arrays: StringArrays) -> None:
        left_out = self.rejected.string_rows(index, len(series.values))
        rows = np.arange(len(series.values))
        if left_out is not None:
            rows = np.flatnonzero(~left_out)
        if not len(rows):
            return
        for at in rows.tolist():
            self.block.items.add(
                "string_points",
                project=self.batch.project,
                path=series.path,
                run=self.run,
                step=int(arrays.steps[at]),
                ts=int(arrays.timestamps[at]),
                value=series.values[at],
                version=self._version(int(arrays.records[at])),
            )
        self._meet("string_series", [series.path], series.first_record)
        at = int(rows[_last_of(arrays.steps[rows], arrays.records[rows])])
        self._add_last(
            "string_series", series.path, int(arrays.steps[at]), int(arrays.timestamps[at]),
            int(arrays.records[at]), series.values[at],
        )  # fmt: skip
        self.points += int(np.count_nonzero(~inside(self.known, arrays.records[rows])))

    def _add_item(self, item: Item) -> None:
        batch, items, record = self.batch, self.block.items, item.record
        stored = self._version(record)
        match item.WhichOneof("kind"):
            case "create_run":
                create = item.create_run
                number = version(batch.epoch, batch.writer_id, record)
                items.add(
                    "runs",
                    **self._run_row(),
                    created_at=create.created_at,
                    version=stored,
                    owner=self.envelope.principal,
                    fork_run_id=create.fork_run_id,
                    fork_step=create.fork_step,
                    inherit_configs=int(create.inherit_configs),
                    # The lowest version wins: what matters is when it was first.
                    priority=columns.version_bytes(_ALL_BITS - number),
                )
            case "set_attribute":
                change = item.set_attribute
                value = value_row(change.value)
                if value is None:
                    raise ValueError(
                        f"attribute {shorten(change.path)!r} has a value of an unknown kind"
                    )
                items.add(
                    "attributes",
                    project=batch.project,
                    path=change.path,
                    run=self.run,
                    ts=item.timestamp,
                    version=stored,
                    **value,
                )
                self._meet(str(value["type"]), [change.path], record)
            case "update_string_set":
                update = item.update_string_set
                elements = dict.fromkeys(update.remove, 0) | dict.fromkeys(update.add, 1)
                for element, present in elements.items():
                    items.add(
                        "string_sets",
                        project=batch.project,
                        path=update.path,
                        run=self.run,
                        element=element,
                        present=present,
                        ts=item.timestamp,
                        version=stored,
                    )
                self._meet("string_set", [update.path], record)
            case "histogram_point":
                point = item.histogram_point
                counts = point.histogram.WhichOneof("bins") == "counts"
                bins = point.histogram.counts if counts else point.histogram.densities
                items.add(
                    "histogram_points",
                    project=batch.project,
                    path=point.path,
                    run=self.run,
                    step=point.step,
                    ts=item.timestamp,
                    kind="COUNTING" if counts else "DENSITY",
                    edges=list(point.histogram.edges),
                    bins=list(bins.values),
                    version=stored,
                )
                self._meet("histogram_series", [point.path], record)
                self._add_last("histogram_series", point.path, point.step, item.timestamp, record)
                self.points += not inside(self.known, np.array([record], np.uint64))[0]
            case "file_point":
                file = item.file_point
                items.add(
                    "file_points",
                    project=batch.project,
                    path=file.path,
                    run=self.run,
                    step=file.step,
                    ts=item.timestamp,
                    file=file_row(file.file) if file.HasField("file") else NO_FILE,
                    version=stored,
                )
                self._meet("file_series", [file.path], record)
                self._add_last(
                    "file_series", file.path, file.step, item.timestamp, record, file.file.name
                )
                self.points += not inside(self.known, np.array([record], np.uint64))[0]
            case "writer_status":
                self.row = self.row.with_status(
                    item.writer_status,
                    item.timestamp,
                    version(batch.epoch, batch.writer_id, record),
                )
            case _:
                # Ingest rejects these; one that is in the log all the same must not vanish.
                raise ValueError(f"record {record} is of an unknown kind")

    def _add_placeholder(self) -> None:
        """A row for a run whose creation has not come yet; any creation beats it."""
        self.block.items.add(
            "runs",
            **self._run_row(),
            created_at=self.envelope.received_at,
            version=bytes(16),
            owner=self.envelope.principal,
            fork_run_id="",
            fork_step=0,
            inherit_configs=0,
            priority=bytes(16),
        )
        self.block.met[self.run] = (self.batch.project, self.batch.run_id)

    def _run_row(self) -> dict[str, object]:
        return {
            "project": self.batch.project,
            "run_id": self.batch.run_id,
            "incarnation": self.incarnation,
            "run": self.run,
        }

    def _add_last(
        self, kind: str, path: str, step: int, timestamp: int, record: int, text: str = ""
    ) -> None:
        self.block.series.add(
            self.batch.project, self.run, kind,
            np.array([self.block.paths.number(path)], np.int32), step=step, timestamp=timestamp,
            record=record, writer=self.hash, epoch=self.batch.epoch, text=text,
        )  # fmt: skip

    def _meet(
        self, kind: str, paths: Iterable[str], record: int, group: NameGroup | None = None
    ) -> None:
        """Warns where a path of this run gets a second type."""
        self.warnings += self.block.runs.meet(
            self.batch.project, self.run, kind, paths, record, group
        )

    def _version(self, record: int) -> bytes:
        return columns.version_bytes(version(self.batch.epoch, self.batch.writer_id, record))

    def _count(self) -> None:
        if not self.batch.HasField("records"):
            return
        first, last = self.batch.records.first, self.batch.records.last
        rejected = 0 if covers(self.known, first, last) else len(self.envelope.rejections)
        self.row = self.row.with_records(first, last, self.points, rejected)


def _last_of(steps: npt.NDArray[np.int64], records: npt.NDArray[np.uint64]) -> int:
    """Where the point stands that is last: of the highest step the newest record."""
    highest = np.flatnonzero(steps == steps.max())
    return int(highest[np.argmax(records[highest])])
