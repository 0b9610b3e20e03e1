"""Tables that were made beside the live ones take their place.

They stand in a database of their own, which is dropped when they have moved. What is to move is
written down first, with the tables' own ids, so that a swap that was cut off is finished by
whoever opens the store next: a store is never seen half old and half new for longer than that.
"""

from __future__ import annotations

from collections.abc import Sequence

from naiad_store.alone import alone
from naiad_store.errors import StoreError
from naiad_store.store import Store

# Databases beside the live one: made from the log, and from a snapshot.
REBUILD, RESTORE = "rebuild", "restore"

_PLAN = """
CREATE TABLE IF NOT EXISTS swap (name String, id UUID)
ENGINE = MergeTree ORDER BY name
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""


def beside(store: Store, purpose: str) -> Store:
    """A fresh database next to the store's, with its tables; an earlier one is dropped. Raises
    StoreError where the store is a cluster's."""
    if store.address.cluster is not None:
        raise StoreError(
            f"the tables of {store.named} are those of a cluster, and can't be exchanged as a"
            " whole; use ClickHouse's own BACKUP and RESTORE there"
        )
    database = _database(store, purpose)
    store.command(f"DROP DATABASE IF EXISTS `{database}` SYNC")
    opened = store.beside(database)
    try:
        opened.migrate()
    except BaseException:
        opened.close()
        raise
    return opened


def discard(store: Store, purpose: str) -> None:
    if store.address.cluster is None:
        store.command(f"DROP DATABASE IF EXISTS `{_database(store, purpose)}` SYNC")


def swap(store: Store, purpose: str, tables: Sequence[str]) -> None:
    """Puts these tables of the database beside in the place of the live ones, for good."""
    database = _database(store, purpose)
    store.command(_PLAN.replace("swap (", f"`{database}`.swap (", 1))
    with alone(store):
        # One insert of one block: the plan is there as a whole or not at all.
        store.command(
            f"INSERT INTO `{database}`.swap SELECT name, uuid FROM system.tables"
            " WHERE database = {database:String} AND name IN {tables:Array(String)}",
            {"database": database, "tables": list(tables)},
        )
        _finish(store, database)


def finish_swaps(store: Store) -> None:
    """Goes on with what was cut off; nothing where nothing was."""
    for purpose in (REBUILD, RESTORE):
        database = _database(store, purpose)
        if _is_planned(store, database):
            # Two at once would exchange tables there and back.
            with alone(store):
                if _is_planned(store, database):
                    _finish(store, database)


def _is_planned(store: Store, database: str) -> bool:
    found = store.query(
        "SELECT 1 FROM system.tables WHERE database = {database:String} AND name = 'swap'",
        {"database": database},
    )
    return bool(found.num_rows)


def _finish(store: Store, database: str) -> None:
    plan = store.query(f"SELECT name, toString(id) AS id FROM `{database}`.swap").to_pylist()
    if not plan:
        # Cut off before it was decided.
        return
    live = store.query(
        "SELECT name, toString(uuid) AS id FROM system.tables WHERE database = {database:String}",
        {"database": store.database},
    )
    now = {row["name"]: row["id"] for row in live.to_pylist()}
    for entry in plan:
        if now[entry["name"]] != entry["id"]:
            name = entry["name"]
            store.command(f"EXCHANGE TABLES `{store.database}`.`{name}` AND `{database}`.`{name}`")
    store.command(f"DROP DATABASE `{database}` SYNC")


def _database(store: Store, purpose: str) -> str:
    return f"{store.database}_{purpose}"
