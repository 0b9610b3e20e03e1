"""From the log's bytes to messages: what can be said of a record without its columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from naiad_eventlog import Record
from naiad_proto.changes import is_change
from naiad_proto.v1.log_pb2 import Envelope
from naiad_proto.v1.records_pb2 import Batch

# Envelopes of this version and below are understood in full.
READER_VERSION = 2


class ReaderTooOld(Exception):
    """A record needs a newer release. Skipping it would lose it, so the reader stops."""


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that can't be stored, and why."""

    record: Record
    reason: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """A record of the log, opened. `rows` is about how many rows it makes."""

    record: Record
    envelope: Envelope
    batch: Batch
    rows: int


@dataclass(slots=True)
class Parcel:
    """Records in the order of the log, up to the first that needs a newer release."""

    records: list[Record] = field(default_factory=list)
    parsed: list[Parsed] = field(default_factory=list)
    poison: list[Poison] = field(default_factory=list)
    rows: int = 0

    def add(self, records: Iterable[Record]) -> None:
        """Raises ReaderTooOld; what stood before it is in the parcel."""
        for record in records:
            try:
                one = _parse(record)
            except (DecodeError, ValueError) as error:
                self.poison.append(Poison(record, str(error) or type(error).__name__))
            else:
                self.parsed.append(one)
                self.rows += one.rows
            self.records.append(record)

    def received_until(self) -> dict[int, float]:
        """Of each partition met, in Unix seconds, up to when all that ingest took is here or
        was before."""
        newest: dict[int, float] = {}
        for one in self.parsed:
            newest[one.record.partition] = one.envelope.received_at / 1000
        return newest


def _parse(record: Record) -> Parsed:
    envelope = Envelope.FromString(record.value)
    if envelope.min_reader_version > READER_VERSION:
        raise ReaderTooOld(
            f"the record at {tuple(record.position)} was written for readers of version"
            f" {envelope.min_reader_version}; this one has {READER_VERSION}: upgrade"
        )
    batch = Batch.FromString(envelope.batch)
    if not (batch.project and batch.writer_id and (batch.run_id or is_change(batch))):
        raise ValueError("the batch lacks a project, a run id or a writer id")
    rows = len(batch.items) + sum(len(series.values) for series in batch.string_series)
    rows += sum(len(group.values) // 8 for group in batch.groups)
    return Parsed(record, envelope, batch, rows)
