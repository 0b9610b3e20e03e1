"""Those who are told: the log of this process, and webhooks."""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Protocol

import httpx

from naiad_consumers.alerter.config import LOG_SINK, AlertConfig, Webhook
from naiad_consumers.alerter.engine import Notice
from naiad_consumers.alerter.occurrence import Event, Severity, line, payload
from naiad_proto.limits import shorten

log = logging.getLogger("naiad.alerts")

_LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.CRITICAL: logging.ERROR,
}
# Answers that say "later", not "not this one".
_LATER = {408, 425, 429}
_LONGEST_RETRY_AFTER = 300.0


class SinkError(Exception):
    """It wasn't taken.

    SinkError
    ├── Refused       the receiver doesn't want this one; sending it again rarely helps
    └── Unreachable   the receiver is away or overloaded; send it again later
    """


class Refused(SinkError):
    pass


class Unreachable(SinkError):
    """`retry_after`: seconds that the receiver asked to wait, if it did."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Sink(Protocol):
    name: str
    # Refusals after which a notice is given up.
    attempts: int

    async def send(self, notice: Notice) -> None:
        """Returns when the receiver has taken it. Raises SinkError."""

    async def close(self) -> None: ...


def open_sinks(config: AlertConfig) -> list[Sink]:
    sinks: list[Sink] = [LogSink()] if config.log else []
    sinks += [WebhookSink(webhook, config.dashboard_url) for webhook in config.webhooks]
    return sinks


class LogSink:
    """One line in this process's log, under the logger `naiad.alerts`."""

    name = LOG_SINK
    attempts = 1

    async def send(self, notice: Notice) -> None:
        occurrence, event = notice
        level = _LEVELS[occurrence.severity]
        if event is Event.RESOLVED:
            level = min(level, logging.WARNING)
        log.log(level, "%s", line(occurrence, event))

    async def close(self) -> None:
        return


class WebhookSink:
    """A JSON POST per notice; any answer of 200 to 299 means taken."""

    def __init__(self, config: Webhook, dashboard_url: str) -> None:
        self.name = config.name
        self.attempts = config.attempts
        self._config = config
        self._dashboard_url = dashboard_url
        self._client = httpx.AsyncClient(
            timeout=config.timeout,
            headers={"User-Agent": f"naiad/{version('naiad')}", **config.headers},
        )

    async def send(self, notice: Notice) -> None:
        occurrence, event = notice
        try:
            answer = await self._client.post(
                self._config.url,
                json=payload(occurrence, event, self._dashboard_url),
                # The same for every attempt, so that a receiver can tell a repetition.
                headers={"Idempotency-Key": f"{occurrence.id}-{event}"},
            )
        except httpx.HTTPError as error:
            raise Unreachable(f"{type(error).__name__}: {error}".rstrip(": ")) from error
        status = answer.status_code
        if 200 <= status < 300:
            return
        said = f"it answered {status} {answer.reason_phrase}: {shorten(answer.text, 200)}"
        if status >= 500 or status in _LATER:
            raise Unreachable(said, _retry_after(answer))
        if 300 <= status < 400:
            said += f" (it points to {answer.headers.get('location', 'nowhere')}; name that URL)"
        raise Refused(said)

    async def close(self) -> None:
        await self._client.aclose()


def _retry_after(answer: httpx.Response) -> float | None:
    try:
        seconds = float(answer.headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)
