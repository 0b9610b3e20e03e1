"""The interface that every event log implements; tests/support_eventlog.py holds it to
account, the same suite for each engine."""

from __future__ import annotations

import abc
import enum
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from naiad_eventlog.retention import Retention


class EventLogError(Exception):
    """The log could not do what it was asked; nothing was half done."""


class EventLogFull(EventLogError):
    """The log is at its bound or its disk is full: try again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TopicPartition(NamedTuple):
    topic: str
    partition: int


class Position(NamedTuple):
    """Where a record stands. Offsets ascend within a partition and may have gaps."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic to be there. `compacted` keeps at least the newest record of each key for
    ever, and may drop older ones of the key; a newest one with an empty value says that the
    key is no more wanted, and may go too a day later."""

    name: str
    partitions: int = 1
    compacted: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    # When the log took it: milliseconds since the Unix epoch, UTC.
    timestamp: int

    @property
    def position(self) -> Position:
        return Position(self.topic, self.partition, self.offset)


class StartFrom(enum.Enum):
    """Where a group begins that has committed nothing yet, or where to begin anew."""

    # Its committed offsets; from the earliest record where it has none.
    COMMITTED = "committed"
    # The earliest record still there, whatever was committed.
    EARLIEST = "earliest"
    # Only what is appended from now on, whatever was committed.
    LATEST = "latest"


# Called before partitions may go to another member of the group, while they are still owned:
# returns how far what was polled has been dealt with (as for `commit`), which is committed at
# once, so that the next owner goes on from there. The group waits, so be done in seconds. An
# await of the subscription's own poll in it would never end.
OnRevoke = Callable[[], Awaitable[Mapping[TopicPartition, int]]]


def still_read_by(group: str) -> EventLogError:
    return EventLogError(f"group {group!r} has members that read the log now; stop them first")


def no_group(group: str) -> EventLogError:
    return EventLogError(f"no group {group!r} has committed anything; see: naiad log groups")


class Subscription(abc.ABC):
    """One member of a consumer group reading one topic. Not for use by several tasks."""

    @property
    @abc.abstractmethod
    def generation(self) -> int:
        """Rises whenever the partitions were given out anew, also when this member got the
        same ones. What `poll` returned belongs to the generation that stands right after."""

    @property
    @abc.abstractmethod
    def owned(self) -> frozenset[TopicPartition]:
        """This member's partitions, as far as it knows: it may have been taken for dead."""

    @abc.abstractmethod
    async def confirm(self, generation: int) -> bool:
        """Asks the group. True: at some moment after the call nobody else had been given the
        partitions of `generation`. False: they may be another's, or nobody answered."""

    @abc.abstractmethod
    def caught_up(self) -> dict[TopicPartition, float]:
        """The partitions owned of which everything has been handed out, and how many seconds
        ago the log was seen to hold no more."""

    @abc.abstractmethod
    async def poll(
        self, *, max_records: int = 500, max_bytes: int = 16 * 1024 * 1024, wait: float = 0.1
    ) -> list[Record]:
        """The next records of the partitions owned, in offset order within each.

        Waits up to `wait` seconds for the first one; returns at once with what there
        is. An empty list means nothing came; with `wait=0`, that the partitions owned hold
        no more. One record over `max_bytes` still comes.
        """

    @abc.abstractmethod
    async def commit(
        self, offsets: Mapping[TopicPartition, int], *, generation: int | None = None
    ) -> None:
        """Stores, for the group, the offset of the *next* record wanted per partition.

        Leaves out, silently, partitions that are another member's by now: what was polled
        of them comes again, to that one. With `generation` it leaves out all, unless that is
        the generation still: a partition that went away and came back was another's meanwhile,
        who may know better what was dealt with. Raises EventLogError when the log doesn't
        answer.
        """

    @abc.abstractmethod
    async def committed(self) -> dict[TopicPartition, int]:
        """The next offset per partition as committed; partitions without one are absent."""

    @abc.abstractmethod
    async def seek(self, partition: TopicPartition, offset: int) -> None:
        """The next poll reads from `offset`, or from the first record after it."""

    @abc.abstractmethod
    async def lag(self) -> dict[TopicPartition, int]:
        """Records between what has been committed and the end, per partition owned. About:
        on a compacted topic an engine may count records that are gone."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Gives its partitions back to the group. Idempotent; commits nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


class EventLog(abc.ABC):
    """An open event log. Safe for use by many tasks of one event loop."""

    # How long to keep records, as the URL says; `retention.Retainer` acts on it.
    retention: Retention

    @abc.abstractmethod
    async def create_topics(self, topics: Sequence[Topic]) -> None:
        """Makes the topics that are missing. One that is there with more partitions keeps
        them. Raises EventLogError when one is there with settings that can't be reconciled,
        like more partitions of a compacted one."""

    @abc.abstractmethod
    async def partitions(self, topic: str) -> int:
        """How many the topic has, as far as is known here: one that was added is known within
        seconds. Cheap. Raises EventLogError for an unknown topic."""

    @abc.abstractmethod
    async def append(
        self, topic: str, key: bytes, value: bytes, *, among: int | None = None
    ) -> Position:
        """Returns when the record is durable. Concurrent appends share one sync.

        `among`: the partition is the one that the key has among so many, where some were added
        later.

        Raises EventLogFull when there is no room now, EventLogError for an unknown topic
        or an engine that failed; in neither case is the record in the log for certain.
        """

    @abc.abstractmethod
    async def subscribe(
        self,
        topic: str,
        group: str,
        start: StartFrom = StartFrom.COMMITTED,
        on_revoke: OnRevoke | None = None,
    ) -> Subscription:
        """A new member of `group`, which has its partitions. Raises EventLogError for an
        unknown topic."""

    @abc.abstractmethod
    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """The offset that the next record of each partition would get, at the least."""

    @abc.abstractmethod
    async def start_offsets(self, topic: str) -> dict[TopicPartition, int]:
        """The offset, per partition, from which on nothing was dropped, so that who has read
        everything below it has missed nothing. 0 where nothing ever was; of no meaning on a
        compacted topic."""

    @abc.abstractmethod
    async def committed(self, topic: str, group: str) -> dict[TopicPartition, int]:
        """The next offset per partition as the group has committed it, asked from outside;
        partitions without one are absent."""

    @abc.abstractmethod
    async def members(self, topic: str, group: str) -> int:
        """How many members the group has that read the topic now."""

    @abc.abstractmethod
    async def groups(self, topic: str) -> frozenset[str]:
        """The groups that have committed something of the topic: what they have not read is
        kept for them. Raises EventLogError for an unknown topic."""

    @abc.abstractmethod
    async def forget(self, group: str) -> None:
        """Drops what the group has committed, of all topics, so that nothing is kept for it. If it
        comes again it begins as a new one. Raises EventLogError while it has members, and for
        one that has committed nothing."""

    @abc.abstractmethod
    async def retain(
        self,
        topic: str,
        *,
        before: int | None = None,
        max_bytes: int | None = None,
        needed_by: Collection[str] = (),
    ) -> int:
        """Drops the oldest records of each partition: those that the log took before `before`
        (milliseconds since the Unix epoch), then as many as it takes for about `max_bytes` to be
        left. Returns how many went.

        Never drops what a group may still ask for: what lies beyond the commits of any group
        that has committed something of the topic, and everything as long as one of `needed_by`
        has committed nothing. Raises EventLogError for a compacted or unknown topic. Appends
        and reads go on meanwhile.
        """

    @abc.abstractmethod
    async def lag(self, topic: str, group: str) -> dict[TopicPartition, int]:
        """Records between what the group has committed, or else the earliest, and the end,
        per partition. Asks without being a member, which would take partitions from others.
        About, like that of a subscription. Raises EventLogError for an unknown topic."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Waits for appends under way. Idempotent."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
