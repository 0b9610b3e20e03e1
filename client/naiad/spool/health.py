"""Whether the disk takes what the spool is given, and how often it did not."""

from __future__ import annotations

import errno
import os
import time

# After a failure, how long until the disk is tried again: writing megabytes of zeros in vain
# at every call, or waiting for a dead file server, would stall the training.
RETRY_SECONDS = 1.0


class SpoolFull(OSError):
    """There is no room: the spool's own limit, or the disk's."""


class Health:
    """Shared by a writer and its segments; changed only under the writer's lock."""

    def __init__(self) -> None:
        self.dropped = 0
        self._error: OSError | None = None
        self.try_again_at = 0.0

    @property
    def trouble(self) -> str:
        """Why nothing can be written; empty while it can."""
        error = self._error
        return (error.strerror or str(error)) if error else ""

    def failed(self, error: OSError) -> None:
        self._error, self.try_again_at = error, time.monotonic() + RETRY_SECONDS

    def well(self) -> None:
        self._error = None

    @property
    def resting(self) -> bool:
        """Did it fail so lately that another attempt is not worth its time?"""
        return self._error is not None and time.monotonic() < self.try_again_at

    def drop(self) -> OSError:
        """Counts a record that is lost; what to raise for it. A new exception each time: one
        that is raised again and again grows by a traceback each time."""
        self.dropped += 1
        error = self._error
        if error is None:
            return OSError(errno.EIO, os.strerror(errno.EIO))
        kind = SpoolFull if isinstance(error, SpoolFull) else OSError
        return kind(error.errno or errno.EIO, error.strerror or str(error))
