"""Python's logging, as a string series of a run."""

from __future__ import annotations

import itertools
import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from naiad.run import Run


class NaiadLoggingHandler(logging.Handler):
    """Sends log records to a string series, formatted by this handler's formatter.

        logging.getLogger().addHandler(naiad.NaiadLoggingHandler(run))

    The step counts this handler's records. Records of the client's own loggers are left out,
    since they may be about logging this very record.
    """

    def __init__(
        self, run: Run, *, level: int = logging.NOTSET, attribute_path: str = "logs"
    ) -> None:
        """`attribute_path`: where the series goes. Raises TypeError without a run."""
        if not hasattr(run, "log_string_series"):
            raise TypeError(f"the first argument is a naiad.Run, not {type(run).__name__}")
        super().__init__(level)
        self._run = run
        self._path = attribute_path
        self._steps = itertools.count()
        self._within = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] == "naiad" or getattr(self._within, "emitting", False):
            return
        self._within.emitting = True
        try:
            text = self.format(record)
            self._run.log_string_series(
                {self._path: text}, step=next(self._steps), timestamp=record.created
            )
        except Exception:
            self.handleError(record)
        finally:
            self._within.emitting = False
