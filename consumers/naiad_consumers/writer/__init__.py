"""The writer: records of the log become rows of the store.

Enters: envelopes from the consumer group "naiad.writer". Leaves: rows in the store, then a
WriterProgress for each spool that got further, then offsets in the log.

Promised:
- In that order: what WriterProgress calls stored is readable, and a crash anywhere means
  that some records are done again.
- At least once, and rows commute, so each point is visible exactly once.
- Any number of writers share the partitions, and may come, go, die and wake. Before partitions
  go to another, what was polled is stored, said and committed, within seconds; who gets them
  trusts nothing that it knew. Rows that only a partition's owner may write carry the epoch of
  its tenure, so that no earlier owner can overwrite them (`tenure`).
- A record that can't be read goes to the dead-letter topic with its reason and stops
  nobody; too many of them stop the writer rather than drain the log.
"""

from naiad_consumers.writer.dead import TooManyDeadLetters
from naiad_consumers.writer.marks import Marks
from naiad_consumers.writer.parsing import ReaderTooOld
from naiad_consumers.writer.writer import GROUP, Writer

__all__ = ["GROUP", "Marks", "ReaderTooOld", "TooManyDeadLetters", "Writer"]
