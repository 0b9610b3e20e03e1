"""One process at a time changes the tables of a store.

ClickHouse has no locks to take, but making a table that is there already fails, for all but
one of those who try at once. So the table `migrating` is the lock: who could make it holds it
and drops it afterwards. One that a killed process left is taken over after a while. Statements
of migrations may run twice and at once, so that even a lock that was taken over too early
does no harm; it keeps readers from seeing an older view for a moment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from naiad_store.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from naiad_store.store import Store

log = logging.getLogger(__name__)

_TABLE_EXISTS = 57
# A lock older than this was left behind, in seconds: statements of migrations change what is
# known of tables, not their rows.
STALE_SECONDS = 120
# How long to wait for others, in seconds.
PATIENCE_SECONDS = 240
_LOOK_SECONDS = 0.2

_HELD = (
    "SELECT comment, dateDiff('second', metadata_modification_time, now()) AS age"
    " FROM system.tables WHERE database = currentDatabase() AND name = 'migrating'"
)


@contextlib.contextmanager
def alone(store: Store) -> Iterator[None]:
    """Waits for its turn. Raises StoreUnavailable when that doesn't come in time."""
    if store.url.startswith("chdb:"):
        # One process has it.
        yield
        return
    with held(store):
        yield


@contextlib.contextmanager
def held(
    store: Store, *, stale: float = STALE_SECONDS, patience: float = PATIENCE_SECONDS
) -> Iterator[None]:
    until = time.monotonic() + patience
    told = False
    while not _take(store):
        rows = store.query(_HELD).to_pylist()
        holder = rows[0]["comment"] if rows else "another process"
        if rows and rows[0]["age"] > stale:
            log.warning("the migration that %s began never ended; it is done again", holder)
            store.define("DROP TABLE IF EXISTS migrating SYNC")
            continue
        if time.monotonic() > until:
            raise StoreUnavailable(
                f"{holder} has been changing the tables for {patience:g} s; if it is no more,"
                " drop the table `migrating`"
            )
        if not told:
            log.info("waiting until %s has migrated the store", holder)
            told = True
        time.sleep(_LOOK_SECONDS)
    try:
        yield
    finally:
        store.define("DROP TABLE IF EXISTS migrating SYNC")


def _take(store: Store) -> bool:
    me = f"process {os.getpid()} on {socket.gethostname()}".replace("'", "")
    try:
        store.define(f"CREATE TABLE migrating (holder String) ENGINE = Memory COMMENT '{me}'")
    except StoreError as error:
        if error.code == _TABLE_EXISTS:
            return False
        raise
    return True
