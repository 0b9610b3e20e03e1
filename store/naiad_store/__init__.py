"""The store: tables, migrations, inserts, every SELECT; one SQL for chDB and ClickHouse.

Enters: Arrow tables of rows, statements with parameters. Leaves: Arrow tables.

Promised:
- `insert` returns when its rows are on disk and readable.
- Rows commute: every table is keyed naturally and of two rows with one key the higher
  version stays, so inserting anything again, in any order, changes nothing.
- Migrations are numbered, append-only and can be run again; a store made by a newer
  release is refused rather than misread.
- Any thread may call; settings of a question hold for that question alone.

chDB opens a folder in one process, once; a second process is told so (StoreBusy). A server is
asked over HTTP; on a cluster the same migrations are laid out over its servers (`layout`).
"""

from naiad_store.errors import (
    RowsRefused,
    StoreBusy,
    StoreError,
    StoreTooNew,
    StoreUnavailable,
)
from naiad_store.keys import run_key
from naiad_store.store import Store

__all__ = [
    "RowsRefused",
    "Store",
    "StoreBusy",
    "StoreError",
    "StoreTooNew",
    "StoreUnavailable",
    "run_key",
]
