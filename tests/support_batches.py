"""Good batches, to be spoiled by tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from naiad_proto.series import build_group, build_string_series
from naiad_proto.v1.records_pb2 import Batch, Item, RecordInterval, SeriesGroup, StringSeries

PROJECT = "team/digits"
RUN = "run-1"
WRITER = "0123456789abcdef" * 2
EPOCH = 1_790_000_000_000_000
NOW = EPOCH // 1000


def group(
    paths: Sequence[str] = ("loss",),
    rows: int = 1,
    *,
    first_record: int = 1,
    preview: bool = False,
    completions: Sequence[float] | None = None,
) -> SeriesGroup:
    steps = np.arange(rows, dtype=np.int64)
    return build_group(
        paths,
        steps=steps * 1_000_000,
        timestamps=NOW + steps,
        values=np.arange(len(paths) * rows, dtype=np.float64).reshape(len(paths), rows),
        first_record=first_record,
        preview=preview,
        completions=completions,
    )


def text(*values: str, path: str = "log", first_record: int = 1) -> StringSeries:
    steps = np.arange(len(values), dtype=np.int64)
    return build_string_series(
        path,
        values,
        steps=steps * 1_000_000,
        timestamps=NOW + steps,
        first_record=first_record,
    )


def batch(
    *content: SeriesGroup | StringSeries | Item,
    project: str = PROJECT,
    run_id: str = RUN,
    writer_id: str = WRITER,
    epoch: int = EPOCH,
    records: tuple[int, int] | None = (1, 0),
) -> Batch:
    """A batch of `content`; `records` is made to fit unless it is given."""
    made = Batch(project=project, run_id=run_id, writer_id=writer_id, epoch=epoch)
    last = 1
    for part in content:
        if isinstance(part, SeriesGroup):
            made.groups.append(part)
            last = max(last, part.first_record + len(part.steps) // 8 - 1)
        elif isinstance(part, StringSeries):
            made.string_series.append(part)
            last = max(last, part.first_record + len(part.values) - 1)
        else:
            made.items.append(part)
            last = max(last, part.record)
    if records == (1, 0):
        records = (1, last)
    if records is not None:
        made.records.CopyFrom(RecordInterval(first=records[0], last=records[1]))
    return made


def heartbeat(**head: object) -> Batch:
    return batch(records=None, **head)  # type: ignore[arg-type]
