"""The event log on a LogFile: topics, appends, groups."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from naiad_eventlog.interface import (
    EventLog,
    EventLogError,
    OnRevoke,
    Position,
    Record,
    StartFrom,
    Subscription,
    Topic,
    TopicPartition,
    no_group,
    still_read_by,
)
from naiad_eventlog.partitioning import partition_of
from naiad_eventlog.retention import DEFAULT_HOURS, Retention
from naiad_eventlog.sqlite import dropping
from naiad_eventlog.sqlite.file import LogFile, TopicRow
from naiad_eventlog.sqlite.subscription import SqliteSubscription

T = TypeVar("T")

DEFAULT_MAX_BYTES = 8 * 1024**3


class SqliteEventLog(EventLog):
    def __init__(self, file: LogFile, retention: Retention) -> None:
        self.retention = retention
        self._file = file
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="event log reader")
        self._groups: dict[tuple[str, str], list[SqliteSubscription]] = {}
        self._appends: set[asyncio.Future[object]] = set()
        self._closed = False

    @classmethod
    async def open(cls, url: str) -> SqliteEventLog:
        parts = urlsplit(url)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        bound = _whole(url, options, "max_bytes", 1024 * 1024) or DEFAULT_MAX_BYTES
        retention = Retention(
            _whole(url, options, "retention_hours", 1) or DEFAULT_HOURS,
            _whole(url, options, "retention_bytes", 1024 * 1024),
        )
        if options:
            raise EventLogError(
                f"event log {url!r} has the unknown option {sorted(options)[0]!r};"
                " there are max_bytes, retention_hours and retention_bytes"
            )
        # sqlite:////abs/path has an empty host and "//abs/path"; sqlite:///rel is relative.
        path = parts.path[1:] if parts.path.startswith("//") else parts.path
        file = LogFile(Path(path), bound)
        await asyncio.to_thread(file.open)
        opened = cls(file, retention)
        await asyncio.wrap_future(file.submit(file.compact))
        return opened

    async def create_topics(self, topics: Sequence[Topic]) -> None:
        for topic in topics:
            if topic.partitions < 1:
                raise EventLogError(f"topic {topic.name!r} needs at least one partition")
            await self._do(partial(_add_topic, self._file, topic))

    async def partitions(self, topic: str) -> int:
        return self._row(topic).topic.partitions

    async def append(
        self, topic: str, key: bytes, value: bytes, *, among: int | None = None
    ) -> Position:
        row = self._row(topic)
        count = row.topic.partitions
        partition = partition_of(key, min(among or count, count))
        file = self._file

        def add(connection: sqlite3.Connection) -> int:
            return file.add_record(connection, row, partition, key, value)

        offset = await self._do(add, len(key) + len(value) + 64)
        assert isinstance(offset, int)
        where = TopicPartition(topic, partition)
        file.ends[where] = max(file.ends[where], offset + 1)
        for (_, of_topic), members in self._groups.items():
            if of_topic == topic:
                for member in members:
                    member.wake(partition)
        return Position(topic, partition, offset)

    async def subscribe(
        self,
        topic: str,
        group: str,
        start: StartFrom = StartFrom.COMMITTED,
        on_revoke: OnRevoke | None = None,
    ) -> Subscription:
        self._row(topic)
        subscription = SqliteSubscription(self, topic, group, start, on_revoke)
        self._groups.setdefault((group, topic), []).append(subscription)
        await self.rebalance(group, topic)
        return subscription

    async def end_offsets(self, topic: str) -> dict[TopicPartition, int]:
        row = self._row(topic)
        return {
            TopicPartition(topic, partition): self._file.ends[TopicPartition(topic, partition)]
            for partition in range(row.topic.partitions)
        }

    async def start_offsets(self, topic: str) -> dict[TopicPartition, int]:
        row = self._row(topic)

        def read() -> dict[int, int]:
            return dropping.starts(self._file.connection(), row.number)

        starts = await self.read(read)
        return {
            TopicPartition(topic, partition): starts.get(partition, 0)
            for partition in range(row.topic.partitions)
        }

    async def committed(self, topic: str, group: str) -> dict[TopicPartition, int]:
        found = await self.commits(group, topic)
        return {TopicPartition(topic, partition): offset for partition, offset in found.items()}

    async def members(self, topic: str, group: str) -> int:
        self._row(topic)
        return len(self._groups.get((group, topic), []))

    async def groups(self, topic: str) -> frozenset[str]:
        number = self._row(topic).number

        def read() -> frozenset[str]:
            rows = self._file.connection().execute(
                "SELECT DISTINCT consumers FROM commits WHERE topic = ?", (number,)
            )
            return frozenset(name for (name,) in rows.fetchall())

        return await self.read(read)

    async def forget(self, group: str) -> None:
        if any(name == group and members for (name, _), members in self._groups.items()):
            raise still_read_by(group)

        def write(connection: sqlite3.Connection) -> int:
            return connection.execute("DELETE FROM commits WHERE consumers = ?", (group,)).rowcount

        if not await self._do(write):
            raise no_group(group)

    async def retain(
        self,
        topic: str,
        *,
        before: int | None = None,
        max_bytes: int | None = None,
        needed_by: Collection[str] = (),
    ) -> int:
        row = self._row(topic)
        if row.topic.compacted:
            raise EventLogError(f"topic {topic!r} is compacted: it keeps the newest of each key")
        file, gone = self._file, 0

        def drop(connection: sqlite3.Connection) -> int:
            return file.drop(connection, row, before, max_bytes, needed_by)

        # In small parts, each in a transaction with the appends that wait, so that none waits
        # long. Pages that come free are used again; the file does not shrink.
        while isinstance(part := await self._do(drop), int) and part:
            gone += part
        return gone

    @property
    def size_bytes(self) -> int:
        """What the file holds, without pages that are free to be used again; about."""
        return self._file.size

    async def lag(self, topic: str, group: str) -> dict[TopicPartition, int]:
        committed = await self.commits(group, topic)
        return {
            TopicPartition(topic, number): await self.count(topic, number, committed.get(number, 0))
            for number in range(self._row(topic).topic.partitions)
        }

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._appends:
            await asyncio.wait(self._appends)
        for members in list(self._groups.values()):
            for member in list(members):
                await member.close()
        await asyncio.to_thread(self._readers.shutdown)
        await asyncio.to_thread(self._file.close)

    # --- for subscriptions ---------------------------------------------------------------

    async def rebalance(self, group: str, topic: str) -> None:
        """Shares the topic's partitions among the group's members anew."""
        members = self._groups.get((group, topic), [])
        if not members:
            self._groups.pop((group, topic), None)
            return
        for member in members:
            await member.hand_over()
        committed = await self.commits(group, topic)
        count = self._row(topic).topic.partitions
        for number, member in enumerate(members):
            owned = range(number, count, len(members))
            member.assign({partition: committed.get(partition) for partition in owned})

    async def leave(self, subscription: SqliteSubscription, group: str, topic: str) -> None:
        members = self._groups.get((group, topic), [])
        if subscription in members:
            members.remove(subscription)
            await self.rebalance(group, topic)

    async def commits(self, group: str, topic: str) -> dict[int, int]:
        number = self._row(topic).number

        def read() -> dict[int, int]:
            rows = self._file.connection().execute(
                "SELECT partition, offset FROM commits WHERE consumers = ? AND topic = ?",
                (group, number),
            )
            return dict(rows.fetchall())

        return await self.read(read)

    async def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        number = self._row(topic).number

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO commits (consumers, topic, partition, offset) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET offset = excluded.offset",
                [(group, number, partition, offset) for partition, offset in offsets.items()],
            )

        await self._do(write)

    def end(self, topic: str, partition: int) -> int:
        return self._file.ends[TopicPartition(topic, partition)]

    async def fetch(
        self, topic: str, partition: int, offset: int, max_records: int, max_bytes: int
    ) -> list[Record]:
        number = self._row(topic).number

        def read() -> list[Record]:
            rows = self._file.connection().execute(
                "SELECT offset, timestamp, key, value FROM records"
                " WHERE topic = ? AND partition = ? AND offset >= ? ORDER BY offset LIMIT ?",
                (number, partition, offset, max_records),
            )
            found: list[Record] = []
            size = 0
            for at, timestamp, key, value in rows:
                size += len(key) + len(value)
                if found and size > max_bytes:
                    break
                found.append(Record(topic, partition, at, key, value, timestamp))
            rows.close()
            return found

        return await self.read(read)

    async def count(self, topic: str, partition: int, offset: int) -> int:
        number = self._row(topic).number

        def read() -> int:
            (found,) = self._file.connection().execute(
                "SELECT count(*) FROM records WHERE topic = ? AND partition = ? AND offset >= ?",
                (number, partition, offset),
            ).fetchone()  # fmt: skip
            return int(found)

        return await self.read(read)

    async def read(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise EventLogError("the event log is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, work)
        except sqlite3.Error as error:
            raise EventLogError(f"the event log could not be read: {error}") from error

    async def _do(self, work: Callable[[sqlite3.Connection], object], size: int = 0) -> object:
        if self._closed:
            raise EventLogError("the event log is closed")
        future = asyncio.wrap_future(self._file.submit(work, size))
        self._appends.add(future)
        future.add_done_callback(self._appends.discard)
        # Shielded: a caller that gives up must not leave others' results unknown.
        return await asyncio.shield(future)

    def _row(self, topic: str) -> TopicRow:
        try:
            return self._file.topics[topic]
        except KeyError:
            raise EventLogError(f"there is no topic {topic!r} in the event log") from None


def _whole(url: str, options: dict[str, str], name: str, least: int) -> int | None:
    """The option's value, taken out of `options`; None if it isn't there."""
    text = options.pop(name, None)
    if text is None:
        return None
    if not text.isdigit() or int(text) < least:
        raise EventLogError(f"{name}={text} of {url!r} is not a number of at least {least}")
    return int(text)


def _add_topic(file: LogFile, topic: Topic, connection: sqlite3.Connection) -> None:
    file.add_topic(connection, topic)
