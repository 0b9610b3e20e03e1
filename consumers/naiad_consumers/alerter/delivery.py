"""All outboxes together, beside the consumer and never in its way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from naiad_consumers.alerter.config import AlertConfig
from naiad_consumers.alerter.engine import Notice
from naiad_consumers.alerter.marks import Marks
from naiad_consumers.alerter.outbox import Outbox
from naiad_consumers.alerter.sinks import open_sinks
from naiad_store import Store, StoreError
from naiad_store.selects import alerts as selects

log = logging.getLogger(__name__)

# Seconds that a stop waits for what can be sent at once. The rest is in the store.
_GRACE = 2.0


class Delivery:
    """`async with Delivery(store, config) as delivery`: sends what `offer` is given, and
    before that what an earlier process left in the store."""

    def __init__(self, store: Store, config: AlertConfig) -> None:
        self._store = store
        self._marks = Marks(store)
        self._outboxes = [Outbox(sink, store, self._marks) for sink in open_sinks(config)]
        self._tasks: list[asyncio.Task[None]] = []

    def offer(self, notices: Sequence[Notice]) -> None:
        """Hands over what is in the store. Raises what ended a task of this, if one has."""
        for task in self._tasks:
            if task.done():
                task.result()
        for outbox in self._outboxes:
            outbox.offer(notices)

    async def __aenter__(self) -> Self:
        names = [outbox.sink.name for outbox in self._outboxes]
        waiting = await asyncio.to_thread(selects.waiting_elsewhere, self._store, names)
        for sink, events in waiting.items():
            log.warning(
                "%d alert events wait for %s, which is not among the sinks any more; they are"
                " sent if it is configured again",
                events,
                sink,
            )
        self._tasks = [asyncio.create_task(self._marks.run(), name="alert marks")]
        self._tasks += [
            asyncio.create_task(outbox.run(), name=f"alerts to {outbox.sink.name}")
            for outbox in self._outboxes
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None and not any(task.done() for task in self._tasks):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_GRACE):
                        await asyncio.gather(*(o.idle() for o in self._outboxes if not o.down))
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for outbox in self._outboxes:
                await outbox.sink.close()
        try:
            await self._marks.flush()
        except StoreError:
            # On the way out with another error that one says more; the price is that some
            # events are sent again.
            if kind is None:
                raise
