"""Statements that drop old records of a partition, and know which are needed.

Topics and partitions are numbers here. What is dropped is noted in `starts`, in the same
transaction: one sequence numbers all partitions, so offsets have gaps by nature, and only this
tells a gap from a loss.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

# A part that is dropped at a time: its transaction holds up appends, and every page of a large
# record is visited.
_MOST_ROWS = 500
_MOST_BYTES = 8 * 1024 * 1024


def needed_from(
    connection: sqlite3.Connection, topic: int, partition: int, needed_by: Collection[str] = ()
) -> int:
    """The lowest offset that a group still wants; 0 where one has committed nothing."""
    groups = {
        name
        for (name,) in connection.execute(
            "SELECT DISTINCT consumers FROM commits WHERE topic = ?", (topic,)
        )
    }
    commits: dict[str, int] = dict(
        connection.execute(
            "SELECT consumers, offset FROM commits WHERE topic = ? AND partition = ?",
            (topic, partition),
        ).fetchall()
    )
    return min((commits.get(group, 0) for group in groups | set(needed_by)), default=0)


def first(connection: sqlite3.Connection, topic: int, partition: int) -> int | None:
    """The offset of the oldest record there."""
    found: int | None = connection.execute(
        "SELECT min(offset) FROM records WHERE topic = ? AND partition = ?", (topic, partition)
    ).fetchone()[0]
    return found


def drop(
    connection: sqlite3.Connection,
    topic: int,
    partition: int,
    below: int,
    before: int | None = None,
    most_bytes: int = _MOST_BYTES,
) -> int:
    """Drops the oldest records below offset `below`, taken before `before`: as many as make
    about `most_bytes`, at least one. Returns how many. Inside a transaction of the caller."""
    rows = connection.execute(
        "SELECT offset, timestamp, length(key) + length(value) FROM records"
        " WHERE topic = ? AND partition = ? AND offset < ? ORDER BY offset LIMIT ?",
        (topic, partition, below, _MOST_ROWS),
    )
    last, left = None, min(most_bytes, _MOST_BYTES)
    for offset, timestamp, size in rows:
        if (before is not None and timestamp >= before) or left <= 0:
            break
        last, left = offset, left - size
    rows.close()
    if last is None:
        return 0
    gone = connection.execute(
        "DELETE FROM records WHERE topic = ? AND partition = ? AND offset <= ?",
        (topic, partition, last),
    ).rowcount
    connection.execute(
        "INSERT INTO starts (topic, partition, offset) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET offset = excluded.offset",
        (topic, partition, last + 1),
    )
    return gone


def starts(connection: sqlite3.Connection, topic: int) -> dict[int, int]:
    """By partition, below which offset records were dropped."""
    return dict(
        connection.execute("SELECT partition, offset FROM starts WHERE topic = ?", (topic,))
    )
