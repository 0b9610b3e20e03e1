"""What the tables of a store hold, in figures that can be compared: rows, and a checksum.

The checksum is a sum over rows, so that neither order nor merges change it; of rows with one
key only the one that counts goes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from naiad_store.store import Store

# Made from the log's records, and from nothing else. `writers` first: what it calls stored has
# to be in the tables that are copied after it.
FROM_LOG = (
    "writers",
    "series",
    "runs",
    "points",
    "string_points",
    "histogram_points",
    "file_points",
    "attributes",
    "string_sets",
    "tombstones",
    "retention",
)
# What consumers decided or delivered: in no log.
OWN = ("alerts", "alert_deliveries")
# Made from other tables, and made again where they are missing: not copied, not compared, and
# emptied when those they are made from change places.
DERIVED = ("rollups", "rolled", "dirty_stretches", "rollers")
# Of the store itself, or of the moment: not copied, not compared.
PASSING = ("migrations", "listening", "owners", "discarded_files")

# Have rows of runs, by `run`: a purge goes through them.
WITH_RUNS = (
    *(name for name in FROM_LOG if name != "retention"),
    "alerts",
    "rolled",
    "dirty_stretches",
    "rollups",
)

# Columns that differ from one making of the same row to the next.
_NOT_COMPARED = {"writers": {"row_version", "freed_bytes"}}


class Content(NamedTuple):
    rows: int
    checksum: int


def columns_of(store: Store, table: str) -> list[str]:
    """In the table's order. Empty if there is no such table."""
    found = store.query(
        "SELECT name FROM system.columns WHERE database = {database:String}"
        " AND table = {table:String} ORDER BY position",
        {"database": store.database, "table": table},
    )
    return [str(name) for name in found.column(0).to_pylist()]


def hash_of(table: str, columns: Iterable[str]) -> str:
    """SQL: a number for a row."""
    compared = [name for name in columns if name not in _NOT_COMPARED.get(table, ())]
    # A tuple, since of plain arguments one NULL would make the whole hash NULL.
    return f"cityHash64(tuple({', '.join(f'`{name}`' for name in compared)}))"


def content_of(store: Store, table: str, columns: Sequence[str] | None = None) -> Content:
    """The table's figures, over these columns or all that it has."""
    columns = columns_of(store, table) if columns is None else columns
    found = store.query(
        f"SELECT count() AS rows, sum({hash_of(table, columns)}) AS checksum FROM {table} FINAL"
    ).to_pylist()[0]
    return Content(int(found["rows"]), int(found["checksum"]))
