"""The topics of the river, by name, and how a record is keyed."""

from __future__ import annotations

from naiad_eventlog.interface import Record, Topic

# Envelopes: everything that ingest took. Key: run_key().
RECORDS = Topic("naiad.records", partitions=8)
# WriterProgress: how far each spool is stored. Key: writer id.
PROGRESS = Topic("naiad.progress", partitions=1, compacted=True)

# DeadLetters: records that a consumer could not read. Key: as on their own topic.
DEAD = Topic("naiad.dead")

# Holds nothing. Who has its only partition is the alerter that works; the others stand by.
ALERTER_LEAD = Topic("naiad.alerter.lead")

# The same for the janitor.
JANITOR_LEAD = Topic("naiad.janitor.lead")

# Epochs of every run's writers, which ingest gives out: WriterProgress with nothing but project,
# run_id, writer_id, epoch and log_partitions; or, of a project, with its change. Key: run_key(),
# "/" and the writer id.
EPOCHS = Topic("naiad.epochs", partitions=1, compacted=True)

ALL_TOPICS = (RECORDS, PROGRESS, DEAD, ALERTER_LEAD, JANITOR_LEAD, EPOCHS)


def run_key(project: str, run_id: str) -> bytes:
    """Key of a run's records. Unambiguous, because a run id has no slash."""
    return f"{project}/{run_id}".encode()


def about(record: Record) -> dict[str, object]:
    """Where a record of runs stands and whose it is, for structured logs (`extra=`)."""
    project, _, run = record.key.decode("utf-8", "replace").rpartition("/")
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "project": project,
        "run": run,
    }
