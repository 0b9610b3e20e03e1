"""Knows when a service is away, so that nobody waits for it again and again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

# Calls in a row without an answer after which it counts as away. One may be a busy moment.
FAILURES = 3
# Seconds until one call may try again; twice as long after each try that failed.
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 5.0


class Breaker:
    """Closed: calls go through. Open: none does, but for a single try after each pause.

    For use within one event loop.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._failures = 0
        self._pause = 0.0
        self._try_at = 0.0
        self._trying = False

    @property
    def open(self) -> bool:
        return self._pause > 0

    def admits(self) -> bool:
        """Whether a call may be made now. Who was let through reports what came of it."""
        if not self.open:
            return True
        if self._trying or self._monotonic() < self._try_at:
            return False
        self._trying = True
        return True

    def succeeded(self) -> None:
        self._failures, self._pause, self._trying = 0, 0.0, False

    def failed(self, *, refused: bool = False) -> None:
        """`refused`: it did answer, or there is nobody to answer; that is no busy moment."""
        self._failures += FAILURES if refused else 1
        if self.open and not self._trying:
            # A call from before it opened.
            return
        if self._failures >= FAILURES:
            self._pause = min(max(self._pause * 2, FIRST_PAUSE), LONGEST_PAUSE)
            # Not all processes at once.
            self._try_at = self._monotonic() + self._pause * random.uniform(0.5, 1.0)
        self._trying = False

    def gave_up(self) -> None:
        """The call ended without telling anything: its caller was cancelled."""
        self._trying = False
