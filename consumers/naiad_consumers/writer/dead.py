"""Records that can't be read: put aside with their reason, up to a limit."""

from __future__ import annotations

import logging
import time

from naiad_consumers.metrics import DEAD_LETTERS
from naiad_consumers.writer.parsing import Poison
from naiad_eventlog import EventLog
from naiad_eventlog.topics import DEAD, about
from naiad_proto.v1.log_pb2 import DeadLetter

log = logging.getLogger(__name__)

# More than this waiting to be looked at is no accident of single records, but a fault that
# would drain the log into the dead-letter topic. Writers that ask at the same moment may go past
# it together, each by what it has just read.
MAX_DEAD_LETTERS = 1000
# Who has looked at dead letters commits in this group.
REVIEW_GROUP = "naiad.dead.review"


class TooManyDeadLetters(Exception):
    """The consumer stops rather than put aside more."""


class DeadLetters:
    def __init__(self, log: EventLog, consumer: str, most: int = MAX_DEAD_LETTERS) -> None:
        self._log = log
        self._consumer = consumer
        self._most = most

    async def put(self, poison: list[Poison]) -> None:
        """Returns when all are durable. Raises TooManyDeadLetters, having put none."""
        if not poison:
            return
        # Asked anew each time: other writers put theirs there too, and people take them away.
        waiting = sum((await self._log.lag(DEAD.name, REVIEW_GROUP)).values())
        if waiting + len(poison) > self._most:
            raise TooManyDeadLetters(
                f"{waiting} records that could not be read are waiting on {DEAD.name} and"
                f" {len(poison)} more came; {self._consumer} stops rather than put aside more."
                f" The newest: {poison[-1].reason}"
            )
        for one in poison:
            record = one.record
            log.error(
                "record at %s can't be stored: %s",
                tuple(record.position),
                one.reason,
                extra=about(record),
            )
            letter = DeadLetter(
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                consumer=self._consumer,
                reason=one.reason,
                at=time.time_ns() // 1_000_000,
                value=record.value,
            )
            await self._log.append(DEAD.name, record.key, letter.SerializeToString())
            DEAD_LETTERS.labels(self._consumer).inc()
