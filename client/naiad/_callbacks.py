"""What a run says to its user: through callbacks if there are any, and the `naiad` logger."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from naiad.exceptions import NaiadError

log = logging.getLogger("naiad")

ErrorCallback = Callable[[BaseException, float | None], None]

# So many messages of bad items are logged one by one; a loop that logs something wrong at
# every step must not bury its user's console.
LOGGED_IN_FULL = 20


@dataclass
class Callbacks:
    """A run's callbacks. Each gets the error and when (Unix seconds) the same callback was
    called last, None the first time. What a callback raises is logged and goes no further."""

    on_error: ErrorCallback | None = None
    on_warning: ErrorCallback | None = None
    on_network_error: ErrorCallback | None = None
    on_queue_full: ErrorCallback | None = None
    on_async_lag: Callable[[], None] | None = None
    _last: dict[str, float] = field(default_factory=dict)
    _logged: int = 0
    # A signal's handler may come while its own thread holds it.
    _guard: Any = field(default_factory=threading.RLock)

    def error(self, error: NaiadError) -> None:
        self._log(logging.ERROR, str(error))
        self._call("error", self.on_error, error)

    def warning(self, error: NaiadError) -> None:
        self._log(logging.WARNING, str(error))
        self._call("warning", self.on_warning, error)

    def network_error(self, error: NaiadError) -> None:
        log.warning("%s", error)
        self._call("network", self.on_network_error, error)

    def queue_full(self, error: NaiadError) -> None:
        log.error("%s", error)
        self._call("queue", self.on_queue_full, error)

    def async_lag(self) -> None:
        if self.on_async_lag:
            try:
                self.on_async_lag()
            except Exception:
                log.exception("on_async_lag_callback raised")

    def _log(self, level: int, text: str) -> None:
        with self._guard:
            self._logged += 1
            count = self._logged
        if count <= LOGGED_IN_FULL:
            log.log(level, "%s", text)
            if count == LOGGED_IN_FULL:
                log.warning("further messages of this kind are logged ever more rarely")
        elif count & (count - 1) == 0:
            log.log(level, "%s (message %d of its kind)", text, count)

    def _call(self, kind: str, callback: ErrorCallback | None, error: NaiadError) -> None:
        if callback is None:
            return
        last = self._last.get(kind)
        self._last[kind] = time.time()
        try:
            callback(error, last)
        except Exception:
            log.exception("the callback for %r raised", str(error))
