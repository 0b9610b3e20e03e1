"""The SQLite file itself: schema, statements, and one thread that writes."""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from naiad_eventlog.interface import EventLogError, EventLogFull, Topic, TopicPartition
from naiad_eventlog.sqlite import dropping

log = logging.getLogger(__name__)

# "NAIA", so that a foreign database is told from ours.
APPLICATION_ID = 0x4E414941
SCHEMA_VERSION = 2

# AUTOINCREMENT, because a plain rowid is given again once the newest rows were deleted: a
# group would then skip acknowledged data. One sequence serves all partitions, so offsets
# ascend with gaps within each.
_SCHEMA = """
CREATE TABLE topics (
    topic INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    partitions INTEGER NOT NULL,
    compacted INTEGER NOT NULL
);
CREATE TABLE records (
    offset INTEGER PRIMARY KEY AUTOINCREMENT,
    topic INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL
);
CREATE INDEX records_of_partition ON records (topic, partition);
CREATE TABLE commits (
    consumers TEXT NOT NULL,
    topic INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (consumers, topic, partition)
) WITHOUT ROWID;
"""
# Since version 2: below which offset a partition has dropped records.
_STARTS = """
CREATE TABLE starts (
    topic INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
"""

# One transaction takes what waits, up to this many bytes, so that none waits long.
_GROUP_BYTES = 32 * 1024 * 1024
_COMPACT_EVERY = 20_000
# What goes of one partition before the others are looked at again.
_TURN_BYTES = 1024 * 1024
# Milliseconds for which an empty value stays on a compacted topic, so that readers hear it.
_KEPT_EMPTY = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class TopicRow:
    number: int
    topic: Topic


@dataclass(slots=True)
class _Job:
    """A write that waits for its turn; `work` runs inside the shared transaction."""

    work: Callable[[sqlite3.Connection], object]
    bytes: int = 0
    done: Future[object] = field(default_factory=Future)


class LogFile:
    """An open log file. Reads come on any thread's own connection, writes on one thread."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.topics: dict[str, TopicRow] = {}
        # The next offset of each partition is above every one in it.
        self.ends: dict[TopicPartition, int] = {}
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._writer: threading.Thread | None = None
        self._size = 0
        self._until_compaction = _COMPACT_EVERY
        self.failure: Exception | None = None

    # --- opening and closing -----------------------------------------------------------

    def open(self) -> None:
        """Raises EventLogError when the file is not an event log or can't be opened."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = self.connection()
            self._check(connection)
            for number, name, partitions, compacted in connection.execute(
                "SELECT topic, name, partitions, compacted FROM topics"
            ):
                self._know(TopicRow(number, Topic(name, partitions, bool(compacted))))
            self._measure(connection)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise EventLogError(f"the event log {self.path} can't be opened: {error}") from error
        except EventLogError:
            self.close()
            raise
        self._writer = threading.Thread(target=self._write, name="event log writer", daemon=True)
        self._writer.start()

    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=30
            )
            # 64 KiB pages: batches are large, and small pages cost half of the speed.
            found.execute("PRAGMA page_size=65536")
            found.execute("PRAGMA journal_mode=WAL")
            found.execute("PRAGMA synchronous=FULL")
            found.execute("PRAGMA journal_size_limit=134217728")
            found.execute("PRAGMA cache_size=-16384")
            self._local.connection = found
            with self._lock:
                self._connections.append(found)
        return found

    def close(self) -> None:
        """Ends the writer after the jobs that wait. Idempotent."""
        if self._writer:
            self._jobs.put(None)
            self._writer.join()
            self._writer = None
        with self._lock:
            for connection in self._connections:
                connection.close()
            self._connections.clear()
        self._local = threading.local()

    def _check(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if application == 0 and tables == 0:
            connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} {_STARTS} PRAGMA application_id={APPLICATION_ID};"
                f" PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
            )
        elif application != APPLICATION_ID:
            raise EventLogError(f"{self.path} is an SQLite file of another program, not a log")
        elif version > SCHEMA_VERSION:
            raise EventLogError(
                f"the event log {self.path} has format {version}, made by a newer Naiad;"
                f" this one reads up to {SCHEMA_VERSION}: upgrade it"
            )
        elif version == 1:
            # Nobody has noted what was dropped: all below the first that is there may have been.
            connection.executescript(
                f"BEGIN IMMEDIATE; {_STARTS} INSERT INTO starts"
                " SELECT topic, partition, min(offset) FROM records GROUP BY topic, partition;"
                f" PRAGMA user_version={SCHEMA_VERSION}; COMMIT;"
            )

    # --- writing -----------------------------------------------------------------------

    def submit(
        self, work: Callable[[sqlite3.Connection], object], bytes: int = 0
    ) -> Future[object]:
        """Has `work` done in the writer's next transaction; its result is given when that
        is durable."""
        job = _Job(work, bytes)
        if self._writer is None:
            job.done.set_exception(EventLogError("the event log is closed"))
        else:
            self._jobs.put(job)
        return job.done

    def add_topic(self, connection: sqlite3.Connection, topic: Topic) -> None:
        known = self.topics.get(topic.name)
        if known:
            more = known.topic.partitions > topic.partitions
            if known.topic.compacted != topic.compacted or (more and topic.compacted):
                raise EventLogError(
                    f"topic {topic.name!r} is there as {known.topic}, and {topic} was asked for"
                )
            if more:
                return
            connection.execute(
                "UPDATE topics SET partitions = ? WHERE topic = ?",
                (topic.partitions, known.number),
            )
            self._know(TopicRow(known.number, topic))
            return
        number = connection.execute(
            "INSERT INTO topics (name, partitions, compacted) VALUES (?, ?, ?)",
            (topic.name, topic.partitions, int(topic.compacted)),
        ).lastrowid
        assert number is not None
        self._know(TopicRow(number, topic))

    def add_record(
        self, connection: sqlite3.Connection, row: TopicRow, partition: int, key: bytes,
        value: bytes,
    ) -> int:  # fmt: skip
        offset = connection.execute(
            "INSERT INTO records (topic, partition, timestamp, key, value) VALUES (?, ?, ?, ?, ?)",
            (row.number, partition, time.time_ns() // 1_000_000, key, value),
        ).lastrowid
        assert offset is not None
        return offset

    def _write(self) -> None:
        connection = self.connection()
        last = False
        while not last:
            jobs: list[_Job] = []
            size = 0
            job = self._jobs.get()
            while job is not None:
                jobs.append(job)
                size += job.bytes
                if size >= _GROUP_BYTES:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            last = job is None
            if jobs:
                self._transact(connection, jobs, size)

    def _transact(self, connection: sqlite3.Connection, jobs: Sequence[_Job], size: int) -> None:
        results: list[tuple[_Job, object]] = []
        try:
            if size and self._size + size > self.max_bytes:
                self._make_room(connection)
                if self._size + size > self.max_bytes:
                    raise EventLogFull(
                        f"the event log holds {self._size:,} bytes of the {self.max_bytes:,} that"
                        " it may; its readers have to catch up first"
                    )
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                try:
                    results.append((job, job.work(connection)))
                except EventLogError as error:
                    # That job's own fault; the others go on.
                    results.append((job, error))
            connection.execute("COMMIT")
        except (sqlite3.Error, EventLogError) as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            failure = error if isinstance(error, EventLogError) else _as_log_error(error)
            for job in jobs:
                if not job.done.done():
                    job.done.set_exception(failure)
            return
        self._size += size
        for job, result in results:
            if isinstance(result, EventLogError):
                job.done.set_exception(result)
            else:
                job.done.set_result(result)
        self._until_compaction -= len(jobs)
        if self._until_compaction <= 0:
            self._until_compaction = _COMPACT_EVERY
            try:
                self.compact(connection)
                self._measure(connection)
                if self._size > self.max_bytes // 2:
                    self._make_room(connection)
            except sqlite3.Error as error:
                log.warning("the event log could not be compacted: %s", error)

    # --- keeping it small --------------------------------------------------------------

    def compact(self, connection: sqlite3.Connection) -> None:
        """Drops all but the newest record of each key from compacted topics, and a newest one
        that is empty and old."""
        old = time.time_ns() // 1_000_000 - _KEPT_EMPTY
        for row in list(self.topics.values()):
            if row.topic.compacted:
                connection.execute(
                    "DELETE FROM records WHERE topic = ?1 AND (offset NOT IN"
                    " (SELECT max(offset) FROM records WHERE topic = ?1 GROUP BY partition, key)"
                    " OR length(value) = 0 AND timestamp < ?2)",
                    (row.number, old),
                )

    def _make_room(self, connection: sqlite3.Connection) -> None:
        """Drops the oldest of what every group has read, until half of the bound is free."""
        for row in list(self.topics.values()):
            if row.topic.compacted:
                continue
            for partition in range(row.topic.partitions):
                below = dropping.needed_from(connection, row.number, partition)
                while self._size > self.max_bytes // 2:
                    connection.execute("BEGIN IMMEDIATE")
                    gone = dropping.drop(connection, row.number, partition, below)
                    connection.execute("COMMIT")
                    if not gone:
                        break
                    self._measure(connection)

    def drop(
        self,
        connection: sqlite3.Connection,
        row: TopicRow,
        before: int | None,
        max_bytes: int | None,
        needed_by: Collection[str],
    ) -> int:
        """Drops a first part of what is past `before` or `max_bytes` and no group needs;
        returns how many records, 0 when nothing is left to drop."""
        oldest: tuple[int, int, int] | None = None
        for partition in range(row.topic.partitions):
            below = dropping.needed_from(connection, row.number, partition, needed_by)
            if before is not None and (
                gone := dropping.drop(connection, row.number, partition, below, before)
            ):
                self._measure(connection)
                return gone
            first = dropping.first(connection, row.number, partition)
            if first is not None and first < below and (oldest is None or first < oldest[0]):
                oldest = (first, partition, below)
        self._measure(connection)
        if max_bytes is None or self._size <= max_bytes or oldest is None:
            return 0
        # One sequence numbers all partitions, so the lowest offset is the oldest record; a little
        # from there, and then it is perhaps another's turn.
        gone = dropping.drop(
            connection, row.number, oldest[1], oldest[2],
            most_bytes=min(_TURN_BYTES, self._size - max_bytes),
        )  # fmt: skip
        self._measure(connection)
        return gone

    @property
    def size(self) -> int:
        """Bytes in use, about."""
        return self._size

    def _measure(self, connection: sqlite3.Connection) -> None:
        # Free pages are used again before the file grows.
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        self._size = (pages - free) * page_size

    def _know(self, row: TopicRow) -> None:
        self.topics[row.topic.name] = row
        for partition in range(row.topic.partitions):
            key = TopicPartition(row.topic.name, partition)
            if key not in self.ends:
                (end,) = self.connection().execute(
                    "SELECT coalesce(max(offset), 0) + 1 FROM records"
                    " WHERE topic = ? AND partition = ?",
                    (row.number, partition),
                ).fetchone()  # fmt: skip
                self.ends[key] = end


def _as_log_error(error: sqlite3.Error) -> EventLogError:
    text = str(error)
    if "full" in text:
        return EventLogFull(f"the disk of the event log is full ({text})", retry_after=5.0)
    return EventLogError(f"the event log could not be written: {text}")
