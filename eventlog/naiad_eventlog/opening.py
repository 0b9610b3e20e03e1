"""From a URL to an open event log."""

from __future__ import annotations

from urllib.parse import urlsplit

from naiad_eventlog.interface import EventLog, EventLogError


async def open_event_log(url: str) -> EventLog:
    """Opens the log that `url` names, making it if it is missing.

    `sqlite:////absolute/path/log.db`, with `?max_bytes=N` for another bound than the
    default; `kafka://host:port[,host:port]`, with the options of
    `naiad_eventlog.kafka.address`. Raises EventLogError for an unknown scheme or option, for
    a file that is not a log and for a cluster that doesn't answer.
    """
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        from naiad_eventlog.sqlite.log import SqliteEventLog

        return await SqliteEventLog.open(url)
    if scheme == "kafka":
        from naiad_eventlog.kafka.log import KafkaEventLog

        return await KafkaEventLog.open(url)
    raise EventLogError(
        f"event log {url!r} has the unknown scheme {scheme!r}; use sqlite:////path/to/log.db or"
        " kafka://host:port"
    )
