"""Which partitions are a member's, and how far each was handed out: kept right through
rebalances."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import IllegalGenerationError, KafkaError

from naiad_eventlog.interface import OnRevoke

log = logging.getLogger(__name__)

# What the others of a group wait for a member to hand over (twice: to come back at all), in
# seconds. Who takes longer is left out.
HANDING_OVER_SECONDS = 10.0
# The round in which a task's commit was begun.
_COMMITTING: ContextVar[int] = ContextVar("_COMMITTING")
# The group's offsets, asked for while it is formed anew.
_COMMITTED_SECONDS = 3.0


class Ownership(ConsumerRebalanceListener):  # type: ignore[misc]
    """Hears from aiokafka of each rebalance, in which Kafka takes all partitions from all
    members and gives them out anew.

    A partition that comes back to the same member goes on where it was, though that was not
    committed yet: nobody else had it. Unless the group's offset has moved without us, as
    after a pause so long that the group went on with another: then that counts.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        topic: str,
        begin: Mapping[int, int] | None,
        on_revoke: OnRevoke | None,
    ) -> None:
        """`begin`: where to start reading whatever was committed; None: where it was."""
        self._consumer = consumer
        self._topic = topic
        self._begin = begin
        self._on_revoke = on_revoke
        self.owned: frozenset[int] = frozenset()
        # The next offset to hand out, where it is known.
        self.positions: dict[int, int] = {}
        # Of partitions that were ours, then another's and are ours again: what the group had
        # committed when they came back. A lower offset is from before, and late.
        self.floors: dict[int, int] = {}
        self._ever: set[int] = set()
        # What the group's offset is, as far as this member knows: several while a commit is
        # under way or failed, since it may have been done.
        self._known: dict[int, set[int | None]] = {}
        # Set while the partitions stand still.
        self.settled = asyncio.Event()
        # Counts the rebalances that are over.
        self.rounds = 0
        self._over = asyncio.Event()
        self._handing_over = False

    @property
    def may_commit(self) -> bool:
        """Whether what is owned can be committed now, or only after the rebalance."""
        return self.settled.is_set() or self._handing_over

    async def next_round(self, rounds: int) -> None:
        """Returns when a rebalance after the one so numbered is over."""
        while self.rounds == rounds:
            await self._over.wait()

    def partition(self, number: int) -> TopicPartition:
        return TopicPartition(self._topic, number)

    def guard(self) -> None:
        """Has commits of a member that was left out of its group refused, also where the group
        is empty now: there, brokers take an offset from whoever has no membership. To be
        called once the consumer is started."""
        # Not public; test_kafka_groups.py tells when it changes. The request is made with the
        # membership of this very moment.
        coordinator = self._consumer._coordinator
        send = coordinator._do_commit_offsets

        async def send_as_member(assignment: Any, offsets: Any) -> None:
            # aiokafka tries again by itself, and the group may have gone on meanwhile.
            moved = _COMMITTING.get() != self.rounds or not self.may_commit
            if moved or coordinator.generation < 0:
                raise IllegalGenerationError
            await send(assignment, offsets)

        coordinator._do_commit_offsets = send_as_member

    async def confirm(self, rounds: int) -> bool:
        """Whether the group has not gone on from that round without us. Raises KafkaError."""
        # As long as the group's coordinator takes a heartbeat of a generation, the next one is
        # not formed. Not public; test_kafka_groups.py tells when it changes. The request is
        # made with the membership of this very moment: that of the round, if none begins.
        if not self._stands(rounds):
            return False
        taken = await self._consumer._coordinator._do_heartbeat()
        return bool(taken) and self._stands(rounds)

    def _stands(self, rounds: int) -> bool:
        return self.settled.is_set() and self.rounds == rounds

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Commits in this round or not at all. Raises what aiokafka raises."""
        _COMMITTING.set(self.rounds)
        for number, offset in offsets.items():
            self._known.setdefault(number, {None}).add(offset)
        await self._consumer.commit({self.partition(n): o for n, o in offsets.items()})
        for number, offset in offsets.items():
            self._known[number] = {offset}

    def seek(self, number: int, offset: int) -> None:
        self.positions[number] = offset
        self.floors.pop(number, None)
        self._consumer.seek(self.partition(number), offset)

    async def committed(self, numbers: Iterable[int]) -> dict[int, int]:
        """The group's offsets; partitions without one are absent. Raises KafkaError."""
        wanted = list(numbers)
        found = await asyncio.gather(
            *(self._consumer.committed(self.partition(number)) for number in wanted)
        )
        return {n: o for n, o in zip(wanted, found, strict=True) if o is not None}

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self.settled.clear()
        if self._on_revoke is None or not self.owned:
            return
        self._handing_over = True
        try:
            async with asyncio.timeout(HANDING_OVER_SECONDS):
                handled = {
                    where.partition: offset for where, offset in (await self._on_revoke()).items()
                }
                handled = {n: o for n, o in handled.items() if n in self.owned}
                if handled:
                    await self.commit(handled)
        except (TimeoutError, KafkaError) as error:
            # Left out of the group already, maybe: what was handled comes again, elsewhere.
            # aiokafka's own words take a page.
            log.warning(
                "what was handled of %s could not be committed: %s",
                self._topic,
                type(error).__name__,
            )
        finally:
            self._handing_over = False

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        before, self.owned = self.owned, frozenset(where.partition for where in assigned)
        committed: dict[int, int] | None = None
        try:
            async with asyncio.timeout(_COMMITTED_SECONDS):
                committed = await self.committed(self.owned)
        except (TimeoutError, KafkaError) as error:
            # aiokafka asks for them again, as it would without us.
            log.warning("the offsets of %s could not be read: %r", self._topic, error)
        positions: dict[int, int] = {}
        for number in self.owned:
            stood = self.positions.get(number) if number in before else None
            moved = committed is not None and (
                committed.get(number) not in self._known.get(number, {None})
            )
            if stood is not None and not moved:
                begin: int | None = stood
            elif self._begin is not None:
                begin = self._begin.get(number, 0)
            else:
                begin = committed.get(number) if committed else None
            if number in self._ever and (stood is None or moved):
                self.floors[number] = (committed or {}).get(number, 0)
            if begin is not None:
                positions[number] = begin
                self._consumer.seek(self.partition(number), begin)
        if committed is not None:
            self._known = {number: {committed.get(number)} for number in self.owned}
        self.positions = positions
        self._ever |= self.owned
        self.rounds += 1
        self.settled.set()
        over, self._over = self._over, asyncio.Event()
        over.set()
