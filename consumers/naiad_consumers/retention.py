"""Which topics the log may drop old records of, and who has to have read them."""

from __future__ import annotations

from naiad_consumers.writer.dead import REVIEW_GROUP
from naiad_consumers.writer.writer import GROUP
from naiad_eventlog import EventLog, Retainer
from naiad_eventlog.topics import DEAD, RECORDS


def retainer(event_log: EventLog) -> Retainer:
    """For each process with a writer. Nothing goes that the writer hasn't stored, nor a dead
    letter that nobody has looked at; other groups count from their first commit on."""
    return Retainer(event_log, {RECORDS.name: [GROUP], DEAD.name: [REVIEW_GROUP]})
