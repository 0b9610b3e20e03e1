"""A broker that is away doesn't fill the log."""

from __future__ import annotations

import logging

from naiad_eventlog.kafka.quiet import Sparingly


def test_the_same_words_come_once_in_a_while_with_their_number() -> None:
    now = 0.0
    said: list[str] = []
    logger = logging.getLogger("test.quiet")
    logger.propagate = False
    logger.addFilter(Sparingly(lambda: now))
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    for node in range(100):
        logger.error("can't reach %d", node)
        logger.warning("other words")
        now += 0.1
    assert said == ["can't reach 0", "other words"]
    now = 31.0
    logger.error("can't reach %d", 7)
    assert said[2:] == ["can't reach 7 (and 99 times more before)"]


def test_what_is_no_warning_or_has_a_traceback_is_let_through() -> None:
    sparingly = Sparingly(lambda: 0.0)
    for level, trace in ((logging.INFO, None), (logging.ERROR, (ValueError, ValueError(), None))):
        for _ in range(3):
            assert sparingly.filter(logging.LogRecord("x", level, "", 0, "words", (), trace))
