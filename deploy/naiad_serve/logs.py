"""What a process logs: to stderr, as text for people or JSON for machines."""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# They tell of every request, or of every step of a group.
_NOISY = ("aiokafka", "clickhouse_connect", "httpcore", "httpx", "uvicorn")


def log_to_stderr(level: str, form: str = "text", *, stage: str = "") -> None:
    """`form`: "text" or "json". A JSON line has time, level, logger, message, stage, the
    traceback where there is one (exc_info), and what the message is about (`extra`): run,
    project, partition."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(
            JsonFormatter(
                ["asctime", "levelname", "name", "message"],
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
                static_fields={"stage": stage} if stage else None,
                datefmt="%Y-%m-%dT%H:%M:%S%z",
            )
        )
    else:
        handler.setFormatter(logging.Formatter(_TEXT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # They tell of each attempt what its caller tells once.
    for noisy in ("clickhouse_connect.driver", "urllib3.connectionpool"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
