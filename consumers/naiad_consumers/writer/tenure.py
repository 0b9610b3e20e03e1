"""Under which epoch a writer owns its partitions.

Some rows only the owner of a partition may write, because they hold what only it knows:
which records of a spool are stored. An owner can be taken for dead, by a pause or a cut
network, and wake after another one took its partitions over; it doesn't know, and what it
was about to write would be older than what is there. So each owner writes under an **epoch**
that is higher than those of all owners before it, and puts it in front of its rows' version:
of two rows the later owner's stays, whichever comes last.

Epochs are kept in the table `owners`. There are no transactions to take one with, so `take`
leans on the group: of one generation each partition has one owner, and the group knows when a
generation is over.

1. Read the highest epoch that anybody took, and take the next.
2. Insert that.
3. Have the group confirm that its generation is still the one that we took it for. If not,
   begin anew; the number is never used.

Let A own a partition and B later, and let both have come through. A's insert returned before A
was confirmed, that was before its generation was over, and B's generation began after that. So
B's read found A's epoch, and B's is higher. (Of a cluster of replicas the read has to see what
was inserted through another one: quorum inserts, or one replica for all writers.)

All partitions of a member share the number; two members of one generation may share it too,
since no row belongs to both.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Iterable, Iterator

import pyarrow as pa

from naiad_consumers.writer.columns import TIME
from naiad_eventlog import TopicPartition
from naiad_store import Store
from naiad_store.lookups import highest_epoch

# Versions were clock readings once, in nanoseconds: any epoch from here on beats those.
FIRST_EPOCH = 1 << 21
# An epoch stands above so many bits of a count.
COUNT_BITS = 40

_SCHEMA = pa.schema(
    [("log_partition", pa.uint32()), ("epoch", pa.uint64()), ("owner", pa.string()),
     ("taken_at", TIME)]
)  # fmt: skip


def take(store: Store, partitions: Iterable[TopicPartition]) -> int:
    """A new epoch for these partitions. It counts once the group has confirmed afterwards
    that they are still the taker's."""
    epoch = max(highest_epoch(store) + 1, FIRST_EPOCH)
    owner = f"{socket.gethostname()}:{os.getpid()}"
    now = time.time_ns() // 1_000_000
    rows = [
        {"log_partition": where.partition, "epoch": epoch, "owner": owner, "taken_at": now}
        for where in partitions
    ]
    store.insert("owners", pa.Table.from_pylist(rows, schema=_SCHEMA))
    return epoch


def row_versions(epoch: int) -> Iterator[int]:
    """Ascending versions of an owner's rows, above those of all owners before it."""
    return itertools.count(epoch << COUNT_BITS)
