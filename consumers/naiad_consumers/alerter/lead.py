"""Which of several alerters works: the one that has the only partition of a topic of its own.

Silence can be judged by an alerter alone that reads every partition of the log, and an alert is
to be sent by one alone. So the others stand by; the group of that topic sees to it that there is
one, and that another one follows when it leaves, dies or is no longer heard.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from naiad_eventlog import EventLog, Subscription, Topic, TopicPartition
from naiad_eventlog.topics import ALERTER_LEAD

log = logging.getLogger(__name__)

GROUP = "naiad.alerter.lead"

# The group is asked so often, in seconds, whether it still says so: who was stopped and wakes
# must not go on for longer.
_ASK_EVERY = 1.0
# How often one that stands by looks, in seconds.
_LOOK = 0.2
# How long the others wait for one to finish what it does, in seconds.
_GIVE_WAY_SECONDS = 8.0


class Lead:
    """`async with Lead(log) as lead`: one member. Not for several tasks. With `topic` and `group`
    of its own, the lead of others than alerters, which `who` names."""

    def __init__(
        self,
        event_log: EventLog,
        topic: Topic = ALERTER_LEAD,
        group: str = GROUP,
        who: str = "alerter",
    ) -> None:
        self._log = event_log
        self._topic, self._group, self._who = topic, group, who
        self._member: Subscription | None = None
        # The sharing out in which it leads.
        self._generation = 0
        self._asked_at = 0.0
        # Set while nothing is done on the strength of leading.
        self._rests = asyncio.Event()
        self._rests.set()
        self._wanted = False

    async def __aenter__(self) -> Self:
        self._member = await self._log.subscribe(
            self._topic.name, self._group, on_revoke=self._give_way
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._rests.set()
        if self._member:
            await self._member.close()

    async def wait(self, stop: asyncio.Event) -> bool:
        """Returns True when this one is to work, until `stands` says otherwise, and then to
        `rest`; False at `stop`, if another one is at work then."""
        member = self._member
        assert member
        told = False
        while True:
            generation = member.generation
            if member.owned and await member.confirm(generation):
                self._wanted, self._generation = False, generation
                self._asked_at = time.monotonic()
                self._rests.clear()
                return True
            if stop.is_set():
                return False
            if not told and not member.owned:
                log.info("another %s is at work; this one stands by", self._who)
                told = True
            await member.poll(wait=_LOOK)

    async def stands(self) -> bool:
        """Whether this one is still the one. To be asked before each piece of work."""
        member = self._member
        assert member
        if self._wanted or member.generation != self._generation:
            return False
        now = time.monotonic()
        if now - self._asked_at >= _ASK_EVERY:
            if not await member.confirm(self._generation):
                return False
            self._asked_at = now
        return True

    def rest(self) -> None:
        """All that was begun is done with."""
        self._rests.set()

    async def _give_way(self) -> Mapping[TopicPartition, int]:
        self._wanted = True
        try:
            async with asyncio.timeout(_GIVE_WAY_SECONDS):
                await self._rests.wait()
        except TimeoutError:
            log.warning(
                "this %s could not end its work within %g s; another one may begin before",
                self._who,
                _GIVE_WAY_SECONDS,
            )
        return {}
