"""The event log: what ingest has said OK to, in order, for as many readers as like.

Enters: a key and a value for a topic. Leaves: the same, as `Record`s in the order of
their offsets within a partition, to every consumer group on its own.

Promised:
- `append` returns after the record is durable (fsync, or acks=all), never before.
- Records of one key stand in one partition, in the order of their appends.
- An offset is never given twice, also not after old records were deleted.
- A group gets each record at least once: from its committed position, or from any
  position that it asks for. What it has not committed comes again after a restart.
- Within a group a partition has one owner at a time.
- Old records are dropped by age and size (`Retainer`), never one that a group still needs.

A URL picks the engine: `sqlite:///path/to/log.db` on one machine, `kafka://host:port` in a
cluster.
"""

from naiad_eventlog.interface import (
    EventLog,
    EventLogError,
    EventLogFull,
    OnRevoke,
    Position,
    Record,
    StartFrom,
    Subscription,
    Topic,
    TopicPartition,
)
from naiad_eventlog.opening import open_event_log
from naiad_eventlog.retention import Retainer, Retention

__all__ = [
    "EventLog",
    "EventLogError",
    "EventLogFull",
    "OnRevoke",
    "Position",
    "Record",
    "Retainer",
    "Retention",
    "StartFrom",
    "Subscription",
    "Topic",
    "TopicPartition",
    "open_event_log",
]
