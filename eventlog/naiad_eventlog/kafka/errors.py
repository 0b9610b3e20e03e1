"""aiokafka's errors in the words of the interface."""

from __future__ import annotations

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InvalidSessionTimeoutError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
)

from naiad_eventlog.interface import EventLogError

# The largest record: a message of 16 MiB (naiad_proto.limits) and what surrounds it on the
# way, be it an envelope that names many rejected items or a dead letter with its reason.
MAX_RECORD_BYTES = 20 * 1024 * 1024


def as_log_error(error: KafkaError, doing: str) -> EventLogError:
    """Says what could not be done, and what helps where that is known."""
    if isinstance(error, MessageSizeTooLargeError):
        return EventLogError(
            f"{doing}: the record is larger than the topic takes; set its max.message.bytes to"
            f" {MAX_RECORD_BYTES}"
        )
    if isinstance(error, TopicAuthorizationFailedError | GroupAuthorizationFailedError):
        return EventLogError(f"{doing}: the cluster's access rules forbid it ({error})")
    if isinstance(error, InvalidSessionTimeoutError):
        return EventLogError(
            f"{doing}: the brokers don't allow so short or long a session; set session_seconds in"
            " the log's URL between their group.min.session.timeout.ms and"
            " group.max.session.timeout.ms"
        )
    return EventLogError(f"{doing}: {error or type(error).__name__}")
