"""`python -m naiad.shipper HOST_FOLDER`: the process that a run starts beside itself."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from naiad.shipper.shipper import Shipper

NICE = 5


def main() -> None:
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING, stream=sys.stderr
    )
    # On a busy machine the training comes first; what is late here is late by milliseconds.
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICE)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Shipper(Path(sys.argv[1])).run(stop)


if __name__ == "__main__":
    main()
