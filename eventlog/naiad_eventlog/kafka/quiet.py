"""What aiokafka says, sparingly: while a broker is away it says the same up to twenty times a
second, for every client."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

# The same words of the same logger are let through once in so many seconds.
_SECONDS = 30.0
# Filters hold for a logger, not for those below it.
_LOGGERS = (
    "aiokafka",
    "aiokafka.admin.client",
    "aiokafka.conn",
    "aiokafka.consumer.consumer",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.producer.producer",
    "aiokafka.producer.sender",
)


class Sparingly(logging.Filter):
    """Drops repetitions of warnings and errors, whatever is filled in, and says how many."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        # When words were last let through, and how often they were dropped since.
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or record.exc_info:
            return True
        words, now = (record.name, str(record.msg)), self._clock()
        at, dropped = self._said.get(words, (-_SECONDS, 0))
        if now - at < _SECONDS:
            self._said[words] = (at, dropped + 1)
            return False
        self._said[words] = (now, 0)
        if dropped:
            record.msg = f"{record.msg} (and {dropped} times more before)"
        return True


_SPARINGLY = Sparingly()


def quieten() -> None:
    """Idempotent."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_SPARINGLY)
